"""The protection gate: should this request go on right now? (spec 3.5).

The day quota is counted in the same charge, but whether it denies is the billing gate's, and so is that denial.
"""

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from extauthz.gates.anomaly import AnomalyDetector, Signal
from extauthz.gates.base import GateControl, Stopwatch, report, settle
from extauthz.gates.limits import Actions, Terms, Verdict, decide
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Denial, FallbackReason, Gate, GateReport, OnFailure, Source
from extauthz.model.protection import Charge, ChargeResult, Dimension, RateStatus
from extauthz.ports import Charger, LocalCounter, Unavailable

log = logging.getLogger(__name__)

_BILLING: Final = Gate.BILLING
_QUOTA: Final = frozenset({Dimension.QUOTA})
_NONE: Final[frozenset[Dimension]] = frozenset()
_ANOMALY: Final = (Dimension.ANOMALY,)
# What a flood of one tenant, or a caller in a hurry, brings about. To let those through uncounted would hand everybody the
# switch of the limiter.
_COUNTED_LOCALLY: Final = frozenset({FallbackReason.BULKHEAD, FallbackReason.BUDGET})


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
        local: LocalCounter | None = None,
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
            result, outage = self._without_provider(charge, gone)
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

    def _without_provider(self, charge: Charge, gone: Unavailable) -> tuple[ChargeResult | None, _Outage]:
        """What `on_failure` says. Nothing is last known of a charge; with `local` it is counted in process instead."""
        local = self._local
        if local is not None and (self.control.on_failure is OnFailure.LOCAL or gone.reason in _COUNTED_LOCALLY):
            return local.count(charge, asked=gone.asked), _Outage(Source.LOCAL, gone.reason, None)
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
