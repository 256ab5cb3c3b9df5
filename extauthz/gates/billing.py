"""The billing gate: is the tenant in good standing, and which limits hold for it? (spec 2, 3.3 and 3.4)."""

from typing import Final, NamedTuple

from extauthz.gates.base import Found, GateControl, Stopwatch, ask, report, settle
from extauthz.model.billing import BillingRecord, BillingState, Limits, Plan, PlanBook
from extauthz.model.deadline import Deadline
from extauthz.model.decision import BillingBlocked, Denial, FallbackReason, Gate, GateReport, Reason, Source
from extauthz.model.lifecycle import Onboarding
from extauthz.ports import Fetched, Lookup, Unavailable

UNLIMITED: Final = Limits()

SUSPENDED: Final = Denial(
    gate=Gate.BILLING, reason=Reason.SUSPENDED, detail=BillingBlocked(billing_state=BillingState.SUSPENDED)
)

ON_DEFAULT_PLAN: Final = BillingRecord(state=BillingState.TRIAL)
"""What a tenant is that the billing provider does not know. That is an answer; where the provider fails, only the state holds."""

_DEFAULT: Final = Source.DEFAULT
_PENDING: Final = Onboarding.PENDING
_COMPLETE: Final = Onboarding.COMPLETE


class BillingRuling(NamedTuple):
    """`denial` is the one that stands.

    `state` None: not asked. `plan` None: not known. `limits` are those in force for this request. `quota_counts` says that a
    used-up day quota is a reason for this gate to deny (whether it does is for the mode to say).
    """

    denial: Denial | None
    report: GateReport
    state: BillingState | None
    plan: Plan | None
    limits: Limits
    quota_counts: bool


def decide(state: BillingState, *, may_deny: bool) -> Denial | None:
    """PAST_DUE is a grace: usage goes on. `may_deny` is whether billing has a say in this request at all."""
    return SUSPENDED if may_deny and state is BillingState.SUSPENDED else None


def has_a_say(onboarding: Onboarding | None, *, consulted: bool) -> bool:
    """Billing never blocks onboarding (BILLING-001); where onboarding is not known it does not deny either."""
    return consulted and onboarding is _COMPLETE


def limits_in_force(plan: Plan | None, onboarding: Onboarding | None, while_onboarding: Limits) -> Limits:
    """The plan's limits (BILLING-002), none where the plan is not known; before COMPLETE those of `while_onboarding`."""
    if onboarding is _PENDING:
        return while_onboarding
    return UNLIMITED if plan is None else plan.limits


class BillingGate:
    """Looks a tenant's standing and plan up and judges the standing.

    Args:
        lookup: by tenant id; None is "no record", which is TRIAL on the default plan.
        control: the gate's settings.
        plans: the plans of the configuration.
        plan_ttl: seconds for which a cached record is good enough where only the plan is needed.
    """

    def __init__(
        self, *, lookup: Lookup[str, BillingRecord | None], control: GateControl, plans: PlanBook, plan_ttl: float
    ) -> None:
        self.control = control
        self._lookup = lookup
        self._plan_ttl = plan_ttl
        self.change_plans(plans)

    def change_plans(self, plans: PlanBook) -> None:
        """Hold `plans` from the next ruling on."""
        self.plans = plans
        limits = plans.default.limits
        # Rate and burst protect us from anybody; what costs money or counts by the day is no matter before COMPLETE.
        self._while_onboarding = Limits(rate=limits.rate, burst=limits.burst)

    def peek(self, tenant_id: str, *, plan_only: bool) -> Fetched[BillingRecord | None] | None:
        """What is known without waiting; None where the provider has to be asked."""
        return self._lookup.peek(tenant_id, self._plan_ttl if plan_only else None)

    async def ask(self, tenant_id: str, deadline: Deadline, *, plan_only: bool) -> Found[BillingRecord | None]:
        """What the provider says by `deadline`."""
        return await ask(self._lookup, tenant_id, deadline, self._plan_ttl if plan_only else None)

    def skip(self, onboarding: Onboarding | None, made: GateReport | None = None) -> BillingRuling:
        """The ruling of a gate that is not asked: no standing, no plan. `made` None: a report that took no time."""
        limits = limits_in_force(None, onboarding, self._while_onboarding)
        return BillingRuling(None, made or self.control.skipped, None, None, limits, quota_counts=False)

    def judge(
        self, found: Found[BillingRecord | None], onboarding: Onboarding | None, watch: Stopwatch, *, consulted: bool
    ) -> BillingRuling:
        """The gate's ruling on what was found. `consulted`: the request's class gives billing a say (spec 3.1)."""
        control = self.control
        if control.bypassed:  # while the provider was waited for
            return self.skip(onboarding, report(control, None, Source.NONE, 0.0, None, watch.lap())[1])
        fetched, fallback, closed = settle(control, found, None)
        record = fetched.value or ON_DEFAULT_PLAN
        plan = None if fetched.source is _DEFAULT else self.plans.find(record.plan_id)
        if plan is None and fetched.source is not _DEFAULT:
            # A plan that the configuration does not have: nobody's failure but this tenant's. The standing is known and holds.
            fetched, fallback, closed = settle(control, Unavailable(fallback or FallbackReason.ERROR), record)
        may_deny = has_a_say(onboarding, consulted=consulted)
        denial, made = report(
            control,
            decide(record.state, may_deny=may_deny) or (closed if may_deny else None),
            fetched.source,
            fetched.age,
            fallback,
            watch.lap(),
        )
        limits = limits_in_force(plan, onboarding, self._while_onboarding)
        return BillingRuling(denial, made, record.state, plan, limits, may_deny)
