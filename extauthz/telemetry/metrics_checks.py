"""What is counted of every decision; all of it follows from the `Decision` alone."""

from typing import Final

from extauthz.gates.anomaly import AnomalySeverity
from extauthz.model.decision import (
    FAIL_OPEN_GATES,
    REASONS_BY_GATE,
    Decision,
    Denial,
    FallbackReason,
    Gate,
    GateReport,
    LimitExceeded,
    RateLimited,
    Reason,
    Source,
)
from extauthz.model.identity import AuthMethod
from extauthz.model.protection import Dimension, Outcome
from extauthz.model.request import CheckRequest
from extauthz.telemetry.metrics_family import Counters, Histograms

NO_METHOD: Final = "none"
RESULTS: Final = ("allow", "deny", "warn", "skip")
LIMIT_NAMES: Final = {Dimension.QUOTA: "max_requests_per_day", Dimension.COST: "max_cost_per_day"}

_COUNTED: Final = frozenset({Source.PROVIDER, Source.CACHE, Source.LOCAL})
"""Where protection's answer comes from when it really looked at the dimensions, instead of answering without them."""

_ANSWERS: Final = {Source.STALE: "stale", Source.LOCAL: "local", Source.NONE: "closed"}
"""What stood in for the provider; whatever else the source says, it was the default."""

_GATES: Final = (Gate.AUTH, *FAIL_OPEN_GATES)
_ANSWERS_OF: Final = {
    Gate.AUTH: ("closed",),
    Gate.LIFECYCLE: ("stale", "default", "closed"),
    Gate.BILLING: ("stale", "default", "closed"),
    Gate.PROTECTION: ("default", "local", "closed"),
}


class CheckMetrics:
    """Counts decisions. The sums are plain additions on prepared series: a few microseconds for a typical allow."""

    def __init__(self) -> None:
        self._declare_checks()
        self._declare_auth_and_lifecycle()
        self._declare_billing()
        self._declare_protection()
        self._declare_failures()
        self._allowed = self.checks.of("allow", Gate.NONE, Reason.NONE)
        self._seconds = self.latency.of()
        self._all_within = [self.dimensions.of(dimension, Outcome.ALLOW) for dimension in Dimension]
        self.families = tuple(family for family in vars(self).values() if isinstance(family, Counters | Histograms))

    def _declare_checks(self) -> None:
        self.checks = Counters(
            "checks_total",
            "Checks answered.",
            ("decision", "gate", "reason"),
            [
                ("allow" if gate is Gate.NONE else "deny", gate, reason)
                for gate, reasons in REASONS_BY_GATE.items()
                for reason in reasons
            ],
        )
        self.degraded = Counters("checks_degraded_total", "Checks answered with at least one fallback.")
        self.latency = Histograms("check_latency_seconds", "Time from message in to answer out.")
        self.gate_latency = Histograms(
            "gate_latency_seconds", "Time a gate took, look-ups included.", ("gate",), [(gate,) for gate in _GATES]
        )

    def _declare_auth_and_lifecycle(self) -> None:
        refused = [reason for reason in REASONS_BY_GATE[Gate.AUTH] if reason is not Reason.MISSING_CREDENTIALS]
        self.auth_failures = Counters(
            "auth_failures_total",
            "Checks denied by the auth gateway; method none: nothing was presented, or no method could be told.",
            ("method", "reason"),
            [
                (NO_METHOD, Reason.MISSING_CREDENTIALS),
                *((method, reason) for method in (*AuthMethod, NO_METHOD) for reason in refused),
            ],
        )
        self.lifecycle_blocks = Counters(
            "lifecycle_gate_blocks_total",
            "Checks denied by the lifecycle gate.",
            ("reason",),
            [(reason,) for reason in REASONS_BY_GATE[Gate.LIFECYCLE]],
        )

    def _declare_billing(self) -> None:
        self.billing_checks = Counters(
            "billing_checks_total",
            "What the billing gate said; skip: off, bypassed or not asked.",
            ("result",),
            [(result,) for result in RESULTS],
        )
        self.billing_lookups = Counters(
            "billing_state_lookups_total",
            "Where the billing state came from.",
            ("source",),
            [(source,) for source in (Source.PROVIDER, Source.CACHE, Source.STALE, Source.DEFAULT)],
        )
        self.billing_blocks = Counters(
            "billing_gate_blocks_total",
            "Checks denied by the billing gate.",
            ("reason",),
            [(reason,) for reason in REASONS_BY_GATE[Gate.BILLING]],
        )
        self.limit_exceeded = Counters(
            "billing_limit_exceeded_total",
            "Checks over a day limit of the plan, denied or not.",
            ("limit_name",),
            [(name,) for name in LIMIT_NAMES.values()],
        )

    def _declare_protection(self) -> None:
        outcomes = [(dimension, outcome) for dimension in Dimension for outcome in Outcome]
        self.dimensions = Counters(
            "protection_decisions_total",
            "What each dimension said; warn: exceeded and let through.",
            ("dimension", "decision"),
            [pair for pair in outcomes if pair[0] is not Dimension.ANOMALY or pair[1] in {Outcome.ALLOW, Outcome.WARN}],
        )
        self.near = Counters(
            "protection_near_limit_total",
            "Checks above 80 % of a limit.",
            ("dimension",),
            [(dimension,) for dimension in Dimension if dimension is not Dimension.ANOMALY],
        )
        self.anomalies = Counters(
            "protection_anomaly_signals_total",
            "Tenants that left their own baseline.",
            ("severity",),
            [(severity,) for severity in AnomalySeverity],
        )

    def _declare_failures(self) -> None:
        self.fallbacks = Counters(
            "gate_fallbacks_total",
            "Gates that answered without their provider.",
            ("gate", "reason", "answer"),
            [
                (gate, reason, answer)
                for gate, answers in _ANSWERS_OF.items()
                for reason in FallbackReason
                for answer in answers
            ],
        )
        self.shadow_denials = Counters(
            "gate_shadow_denials_total",
            "What gates in shadow mode would have denied.",
            ("gate", "reason"),
            [(gate, reason) for gate in FAIL_OPEN_GATES for reason in REASONS_BY_GATE[gate]],
        )

    def checked(
        self,
        request: CheckRequest | None,  # noqa: ARG002 - what a client sends must never become a label
        decision: Decision,
        seconds: float,
    ) -> None:
        """Count one decision."""
        denial = decision.denial
        if denial is None:
            self._allowed.value += 1
        else:
            self._denied(decision, denial)
        self._seconds.observe(seconds)
        if decision.degraded:
            self.degraded.of().value += 1
        evaluated = False
        for report in decision.reports:
            self._reported(report)
            if report.gate is Gate.PROTECTION:
                evaluated = report.verdict != "skip" and report.source in _COUNTED
        self._charged(decision, evaluated=evaluated)

    def _denied(self, decision: Decision, denial: Denial) -> None:
        gate, reason = denial.gate, denial.reason
        self.checks.children["deny", gate, reason].value += 1
        if gate is Gate.AUTH:
            principal = decision.facts.principal
            method = denial.method or (principal.method if principal else NO_METHOD)
            self.auth_failures.children[method, reason].value += 1
        elif gate is Gate.LIFECYCLE:
            self.lifecycle_blocks.children[reason,].value += 1
        elif gate is Gate.BILLING:
            self.billing_blocks.children[reason,].value += 1

    def _reported(self, report: GateReport) -> None:
        gate = report.gate
        if gate is Gate.BILLING:
            self.billing_checks.children[report.verdict,].value += 1
            if report.source is not Source.NONE:
                self.billing_lookups.children[report.source,].value += 1
        if report.verdict != "skip":
            self.gate_latency.children[gate,].observe(report.seconds)
        if report.fallback is not None:
            answer = _ANSWERS.get(report.source, "default")
            self.fallbacks.children[gate, report.fallback, answer].value += 1
        if report.shadow is not None:
            self.shadow_denials.children[gate, report.shadow.reason].value += 1

    def _charged(self, decision: Decision, *, evaluated: bool) -> None:
        blocked = _blocked_dimension(decision.denial)
        if blocked is not None or decision.warnings:
            self._count_exceeded(decision, blocked)
        elif evaluated:
            for within in self._all_within:
                within.value += 1
        for dimension in decision.near:
            self.near.children[dimension,].value += 1

    def _count_exceeded(self, decision: Decision, blocked: tuple[Dimension, Outcome] | None) -> None:
        """Dimension by dimension in the locked order; what comes after the one that blocks was not evaluated."""
        for dimension in Dimension:
            outcome = Outcome.WARN if dimension in decision.warnings else Outcome.ALLOW
            if blocked is not None and blocked[0] is dimension:
                outcome = blocked[1]
            self.dimensions.children[dimension, outcome].value += 1
            if outcome is not Outcome.ALLOW:
                self._count_named(dimension)
            if outcome in {Outcome.REJECT, Outcome.THROTTLE}:
                return

    def _count_named(self, dimension: Dimension) -> None:
        if dimension in LIMIT_NAMES:
            self.limit_exceeded.of(LIMIT_NAMES[dimension]).value += 1


def _blocked_dimension(denial: Denial | None) -> tuple[Dimension, Outcome] | None:
    """The dimension that denied and how; None where none did."""
    match denial.detail if denial is not None else None:
        case RateLimited(dimension=dimension, outcome=outcome):
            return dimension, outcome
        case LimitExceeded(dimension=dimension):
            return dimension, Outcome.REJECT
        case _:
            return None
