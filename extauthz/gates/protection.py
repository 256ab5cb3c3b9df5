"""The protection gate: should this request go on right now? (spec 3.5).

The day quota is counted in the same charge, but whether it denies is the billing gate's, and so is that denial.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from extauthz.gates.anomaly import AnomalyDetector, Signal
from extauthz.gates.base import GateControl, Stopwatch, report, settle
from extauthz.model.billing import BillingState, Limits
from extauthz.model.deadline import Deadline
from extauthz.model.decision import (
    Denial,
    Detail,
    FallbackReason,
    Gate,
    GateReport,
    LimitExceeded,
    OnFailure,
    RateLimited,
    Reason,
    Source,
)
from extauthz.model.protection import Charge, ChargeResult, Dimension, Exceeded, Outcome, RateStatus
from extauthz.ports import Charger, Unavailable

log = logging.getLogger(__name__)

_REASONS: Final = {
    Dimension.QUOTA: Reason.MAX_REQUESTS_PER_DAY,
    Dimension.RATE: Reason.RATE,
    Dimension.BURST: Reason.BURST,
    Dimension.COST: Reason.COST,
}
_BILLING: Final = Gate.BILLING
_QUOTA: Final = frozenset({Dimension.QUOTA})
_NONE: Final[frozenset[Dimension]] = frozenset()
_ANOMALY: Final = (Dimension.ANOMALY,)
# What a flood of one tenant, or a caller in a hurry, brings about. To let those through uncounted would hand everybody the
# switch of the limiter.
_COUNTED_LOCALLY: Final = frozenset({FallbackReason.BULKHEAD, FallbackReason.BUDGET})


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What exceeding a limit comes to (ABUSE-002): WARN lets through. `cost` knows REJECT and WARN only."""

    rate: Outcome = Outcome.REJECT
    burst: Outcome = Outcome.THROTTLE
    cost: Outcome = Outcome.REJECT

    def denying(self) -> frozenset[Dimension]:
        """The dimensions in which this gate denies."""
        actions = {Dimension.RATE: self.rate, Dimension.BURST: self.burst, Dimension.COST: self.cost}
        return frozenset(dimension for dimension, outcome in actions.items() if outcome is not Outcome.WARN)


class Terms(NamedTuple):
    """On which terms one request is charged.

    `cost` is in micro-units. `quota_counts`: a used-up day quota is a reason for billing to deny; `quota_blocks`: and billing
    enforces it. `plan_id` and `billing_state` are for the text of a denial. With `commit` False nothing is consumed.
    """

    tenant_id: str
    limits: Limits
    cost: int
    quota_counts: bool
    quota_blocks: bool
    plan_id: str
    billing_state: BillingState | None
    commit: bool


class Verdict(NamedTuple):
    """What a charge comes to.

    `denial` is the first exceeded dimension that blocks, `warnings` are those before it that do not. `quota` and `limit` are
    the denials that billing and protection would have made but for their modes.
    """

    denial: Denial | None = None
    quota: Denial | None = None
    limit: Denial | None = None
    warnings: tuple[Dimension, ...] = ()


class ProtectionRuling(NamedTuple):
    """`denial` is the one that stands; its gate is billing where the day quota is used up.

    `shadow_quota` is the quota's denial that billing would have made but for its mode. `rate` None: unlimited or not counted.
    """

    denial: Denial | None
    report: GateReport
    warnings: tuple[Dimension, ...] = ()
    near: tuple[Dimension, ...] = ()
    rate: RateStatus | None = None
    shadow_quota: Denial | None = None


class _Outage(NamedTuple):
    """What stood in for the provider, and why; the denial that this comes to with `on_failure: closed`."""

    source: Source
    fallback: FallbackReason | None
    closed: Denial | None


_PASSED: Final = Verdict()
_ANSWERED: Final = _Outage(Source.PROVIDER, None, None)


def decide(
    exceeded: tuple[Exceeded, ...],
    terms: Terms,
    actions: Actions,
    *,
    counts: frozenset[Dimension],
    blocks: frozenset[Dimension],
) -> Verdict:
    """What the exceeded dimensions, in the locked order, come to.

    `counts` are the dimensions that would deny if every gate enforced, `blocks` those that do.
    """
    warnings: list[Dimension] = []
    shadows: dict[Gate, Denial] = {}
    for over in exceeded:
        if over.dimension in blocks:
            denial = _denial(over, terms, actions, _longest_wait_ms(exceeded, blocks))
            return Verdict(denial, shadows.get(Gate.BILLING), shadows.get(Gate.PROTECTION), tuple(warnings))
        warnings.append(over.dimension)
        if over.dimension in counts:
            would_be = _denial(over, terms, actions, _longest_wait_ms(exceeded, counts))
            shadows.setdefault(would_be.gate, would_be)
    return Verdict(None, shadows.get(Gate.BILLING), shadows.get(Gate.PROTECTION), tuple(warnings))


def _longest_wait_ms(exceeded: Iterable[Exceeded], dimensions: frozenset[Dimension]) -> int:
    """Milliseconds, rounded up, until the same request would pass in all of `dimensions`."""
    return -(-max(over.wait_us for over in exceeded if over.dimension in dimensions) // 1000)


def _denial(over: Exceeded, terms: Terms, actions: Actions, retry_after_ms: int) -> Denial:
    detail: Detail
    if over.dimension is Dimension.RATE:
        detail = RateLimited(dimension=over.dimension, outcome=actions.rate)
    elif over.dimension is Dimension.BURST:
        detail = RateLimited(dimension=over.dimension, outcome=actions.burst)
    else:
        detail = LimitExceeded(
            dimension=over.dimension,
            current=over.current,
            allowed=over.allowed,
            plan_id=terms.plan_id,
            billing_state=terms.billing_state,
        )
    return Denial(
        gate=Gate.BILLING if over.dimension is Dimension.QUOTA else Gate.PROTECTION,
        reason=_REASONS[over.dimension],
        detail=detail,
        retry_after_ms=retry_after_ms,
    )


class ProtectionGate:
    """Charges a request and judges the result.

    Args:
        charger: the guarded protection provider.
        control: the gate's settings.
        actions: what exceeding a limit comes to.
        local: counts in process where the provider cannot; None: there is none, `on_failure: local` is then `open`.
        anomaly: watches for tenants that leave their baseline; None: nobody does.
        on_anomaly: told of its signals.
    """

    def __init__(
        self,
        *,
        charger: Charger,
        control: GateControl,
        actions: Actions | None = None,
        local: Charger | None = None,
        anomaly: AnomalyDetector | None = None,
        on_anomaly: Callable[[Signal], None] | None = None,
    ) -> None:
        self.control = control
        self._charger = charger
        self._local = local
        self._anomaly = anomaly
        self._on_anomaly = on_anomaly
        self.change_actions(actions or Actions())

    def change_actions(self, actions: Actions) -> None:
        """Hold `actions` from the next charge on."""
        self.actions = actions
        self._denying = actions.denying()
        self._denying_with_quota = self._denying | _QUOTA

    async def judge(self, terms: Terms, deadline: Deadline, watch: Stopwatch) -> ProtectionRuling:
        """Charge the request and rule on it."""
        charge = Charge(
            tenant_id=terms.tenant_id,
            limits=terms.limits,
            blocking=self._blocking(quota=terms.quota_blocks),
            cost=terms.cost,
            commit=terms.commit,
        )
        try:
            result: ChargeResult | None = await self._charger.charge(charge, deadline)
            outage = _ANSWERED
        except Unavailable as gone:
            result, outage = await self._without_provider(charge, gone, deadline)
        verdict = _PASSED
        if result is not None and result.exceeded:
            counts = self._denying_with_quota if terms.quota_counts else self._denying
            verdict = decide(result.exceeded, terms, self.actions, counts=counts, blocks=charge.blocking)
        if self._anomaly is not None and terms.commit and self._is_unusual(self._anomaly, terms.tenant_id, watch):
            verdict = verdict._replace(warnings=verdict.warnings + _ANOMALY)
        return self._rule(verdict, outage, result, watch)

    def _blocking(self, *, quota: bool) -> frozenset[Dimension]:
        if self.control.enforces:
            return self._denying_with_quota if quota else self._denying
        return _QUOTA if quota else _NONE

    def _rule(
        self, verdict: Verdict, outage: _Outage, result: ChargeResult | None, watch: Stopwatch
    ) -> ProtectionRuling:
        denial = verdict.denial
        of_billing = denial is not None and denial.gate is _BILLING
        own = (None if of_billing else denial) or outage.closed or verdict.limit
        warnings = verdict.warnings
        stands, made = report(
            self.control, own, outage.source, 0.0, outage.fallback, watch.lap(), warned=bool(warnings)
        )
        if of_billing:
            stands = denial
        if result is None:
            return ProtectionRuling(stands, made, warnings)
        return ProtectionRuling(stands, made, warnings, result.near, result.rate, verdict.quota)

    async def _without_provider(
        self, charge: Charge, gone: Unavailable, deadline: Deadline
    ) -> tuple[ChargeResult | None, _Outage]:
        """What `on_failure` says. Nothing is last known of a charge; with `local` it is made in process instead."""
        local = self._local
        if local is not None and (self.control.on_failure is OnFailure.LOCAL or gone.reason in _COUNTED_LOCALLY):
            try:
                result = await local.charge(_without_quota(charge), deadline)
            except Unavailable as also_gone:
                gone = also_gone
            else:
                return result, _Outage(Source.LOCAL, gone.reason, None)
        none: ChargeResult | None = None
        fetched, fallback, closed = settle(self.control, gone, none)
        return None, _Outage(fetched.source, fallback, closed)

    def _is_unusual(self, anomaly: AnomalyDetector, tenant_id: str, watch: Stopwatch) -> bool:
        """Count the request; whether it stands out. Whatever goes wrong with that, no request suffers (ABUSE-003)."""
        try:
            signal = anomaly.observe(tenant_id, watch.clock())
            if signal is not None and self._on_anomaly is not None:
                self._on_anomaly(signal)
        except Exception:
            log.exception("anomaly detection failed and is switched off")
            self._anomaly = None
            return False
        return signal is not None


def _without_quota(charge: Charge) -> Charge:
    """The day quota is counted where the day is counted; while that is away it is not enforced (spec 3.4)."""
    return replace(charge, limits=replace(charge.limits, max_requests_per_day=None), blocking=charge.blocking - _QUOTA)
