"""The pipeline on fakes: every gate, every mode, no provider."""

from collections.abc import Sequence

from extauthz.gates.anomaly import AnomalyDetector, Signal
from extauthz.gates.base import GateControl, GateSettings
from extauthz.gates.billing import BillingGate
from extauthz.gates.lifecycle import LifecycleGate
from extauthz.gates.limits import Actions
from extauthz.gates.protection import ProtectionGate
from extauthz.model.billing import BillingRecord, BillingState, PlanBook
from extauthz.model.deadline import Clock, Deadline
from extauthz.model.decision import Decision, Gate, GateReport, Mode, OnFailure
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.model.request import CheckRequest
from extauthz.pipeline import Authenticator, Pipeline
from extauthz.ports import CredentialMethod
from extauthz.routing import RouteRule, RouteTable
from extauthz.testing.builders import KEY, OPERATOR_KEY, TENANT, make_operator, make_plan, make_plans, make_principal
from extauthz.testing.fakes import FakeCharger, FakeLookup, FakeMethod

PLAN_TTL = 300.0


class Stage:
    """A pipeline whose neighbours are all fakes, with one tenant in the best of health and its key.

    Args:
        clock: monotonic seconds.
        rules: routes before the built-in table.
        plans: the configured plans; `pro` and the default `free` if None.
        methods: the ways to authenticate; API keys if None, with the keys `KEY` and `OPERATOR_KEY`.
        strip_authorization: as in the configuration.
        local: what charges in process where the charger gives no answer.
        actions: what exceeding a limit comes to.
        anomaly: watches for unusual tenants.

    Attributes:
        key: the way to authenticate, as long as `methods` is None.
        lifecycle: the lifecycle look-up.
        billing: the billing look-up.
        charger: the charger.
        controls: the settings of each gate.
        signals: what the anomaly detector signalled.
        pipeline: what is tested.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        rules: Sequence[RouteRule] = (),
        plans: PlanBook | None = None,
        methods: Sequence[CredentialMethod] | None = None,
        strip_authorization: bool = False,
        local: FakeCharger | None = None,
        actions: Actions | None = None,
        anomaly: AnomalyDetector | None = None,
    ) -> None:
        self.clock = clock
        self.key = FakeMethod({KEY: make_principal(), OPERATOR_KEY: make_operator()})
        self.lifecycle: FakeLookup[str, LifecycleRecord] = FakeLookup()
        self.billing: FakeLookup[str, BillingRecord] = FakeLookup()
        self.charger = FakeCharger()
        self.controls = {gate: GateControl(gate) for gate in (Gate.LIFECYCLE, Gate.BILLING, Gate.PROTECTION)}
        self.signals: list[Signal] = []
        self.pipeline = Pipeline(
            routes=RouteTable(rules),
            authenticator=Authenticator(methods=methods or (self.key,), strip_authorization=strip_authorization),
            lifecycle=LifecycleGate(lookup=self.lifecycle, control=self.controls[Gate.LIFECYCLE]),
            billing=BillingGate(
                lookup=self.billing,
                control=self.controls[Gate.BILLING],
                plans=plans or make_plans(make_plan()),
                plan_ttl=PLAN_TTL,
            ),
            protection=ProtectionGate(
                charger=self.charger,
                control=self.controls[Gate.PROTECTION],
                actions=actions,
                local=local,
                anomaly=anomaly,
                on_anomaly=self.signals.append,
            ),
            clock=clock,
        )
        self.tenant()

    def tenant(
        self,
        state: LifecycleState = LifecycleState.ACTIVE,
        onboarding: Onboarding = Onboarding.COMPLETE,
        billing: BillingState = BillingState.ACTIVE,
        plan_id: str | None = "pro",
    ) -> None:
        """Set what the providers say of the tenant."""
        self.lifecycle.values[TENANT] = LifecycleRecord(state=state, onboarding=onboarding)
        self.billing.values[TENANT] = BillingRecord(state=billing, plan_id=plan_id)

    def set(self, gate: Gate, mode: Mode = Mode.ENFORCE, on_failure: OnFailure = OnFailure.OPEN) -> None:
        """Set a gate."""
        self.controls[gate].change(GateSettings(mode=mode, on_failure=on_failure))

    async def decide(self, request: CheckRequest, *, budget: float = 1.0) -> Decision:
        """Decide with `budget` seconds to go."""
        return await self.pipeline.decide(request, Deadline.after(budget, self.clock, margin=0.01))


def report_of(decision: Decision, gate: Gate) -> GateReport:
    """What that gate did.

    Raises:
        LookupError: the decision has no report of it.
    """
    for made in decision.reports:
        if made.gate is gate:
            return made
    raise LookupError(gate)
