"""What one check has found out so far."""

from typing import Final

from extauthz.gates.base import Stopwatch, is_degraded
from extauthz.model.billing import BillingState, Plan
from extauthz.model.deadline import Clock
from extauthz.model.decision import Decision, Denial, Facts, Gate, GateReport, Mode
from extauthz.model.identity import Principal
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import Dimension, RateStatus
from extauthz.model.request import Route

AUTH_SKIPPED: Final = GateReport(gate=Gate.AUTH, verdict="skip", mode=Mode.ENFORCE.value)


class Trail(Stopwatch):
    """Filled in as the check goes on and turned into the decision at its end.

    Every gate starts as skipped, and stays so where it is not asked or a denial came before it.

    Args:
        clock: monotonic seconds.
        decision_id: of the decision to come.
        route: what the request was matched to.
        skipped: the reports of lifecycle, billing and protection as long as they were not asked.
    """

    __slots__ = (
        "auth",
        "billing",
        "billing_state",
        "decision_id",
        "lifecycle",
        "lifecycle_state",
        "near",
        "plan",
        "principal",
        "protection",
        "rate",
        "route",
        "strip",
        "tenant_id",
        "warnings",
    )

    def __init__(
        self, clock: Clock, decision_id: str, route: Route, skipped: tuple[GateReport, GateReport, GateReport]
    ) -> None:
        super().__init__(clock)
        self.decision_id = decision_id
        self.route = route
        self.auth = AUTH_SKIPPED
        self.lifecycle, self.billing, self.protection = skipped
        self.principal: Principal | None = None
        self.tenant_id = ""
        self.lifecycle_state: LifecycleState | None = None
        self.billing_state: BillingState | None = None
        self.plan: Plan | None = None
        self.rate: RateStatus | None = None
        self.near: tuple[Dimension, ...] = ()
        self.warnings: tuple[Dimension, ...] = ()
        self.strip: tuple[str, ...] = ()

    def decide(self, denial: Denial | None) -> Decision:
        """The decision: an allow where `denial` is None."""
        lifecycle, billing, protection = self.lifecycle, self.billing, self.protection
        return Decision(
            decision_id=self.decision_id,
            denial=denial,
            route=self.route,
            facts=Facts(
                principal=self.principal,
                lifecycle=self.lifecycle_state,
                billing=self.billing_state,
                plan=self.plan,
                rate=self.rate,
            ),
            reports=(self.auth, lifecycle, billing, protection),
            degraded=_degraded(lifecycle, billing, protection),
            warnings=self.warnings,
            near=self.near,
            strip=self.strip,
        )


def _degraded(lifecycle: GateReport, billing: GateReport, protection: GateReport) -> tuple[Gate, ...]:
    if lifecycle.fallback is None and billing.fallback is None and protection.fallback is None:
        return ()
    return tuple(made.gate for made in (lifecycle, billing, protection) if is_degraded(made))
