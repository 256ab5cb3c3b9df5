"""Every row of the table of spec 3.6 that the pipeline brings about, and what else a decision tells."""

from collections.abc import Callable

import pytest

from extauthz.errors import InvalidCredential
from extauthz.gates.limits import Actions
from extauthz.model.billing import BillingState
from extauthz.model.decision import (
    REASONS_BY_GATE,
    Decision,
    FallbackReason,
    Gate,
    LimitExceeded,
    Mode,
    OnFailure,
    RateLimited,
    Reason,
    Source,
)
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.model.protection import Dimension, Exceeded, Outcome, RateStatus
from extauthz.model.request import CheckRequest, Route, RouteClass
from extauthz.ports import Unavailable
from extauthz.routing import RouteKind, RouteRule
from extauthz.testing.builders import KEY, TENANT, make_plan, make_plans, make_request
from extauthz.testing.clock import FakeClock
from extauthz.testing.stage import Stage, report_of

OUT = Unavailable(FallbackReason.CIRCUIT_OPEN, retry_after_ms=30_000)
SCOPED = RouteRule(
    kind=RouteKind.EXACT,
    pattern="/scoped",
    route=Route(route_class=RouteClass.STANDARD, cost=250_000, scopes=frozenset({"s"})),
)
Prepare = Callable[[Stage], CheckRequest]
ROWS: dict[tuple[Gate, Reason], Prepare] = {}


def row(gate: Gate, reason: Reason) -> Callable[[Prepare], Prepare]:
    """Name the row of the table that the decorated function brings about."""

    def keep(prepare: Prepare) -> Prepare:
        ROWS[gate, reason] = prepare
        return prepare

    return keep


def over(dimension: Dimension) -> Exceeded:
    return Exceeded(dimension=dimension, wait_us=2_000_000, current=10, allowed=10)


@row(Gate.NONE, Reason.NONE)
def nothing_wrong(_stage: Stage) -> CheckRequest:
    return make_request()


@row(Gate.REQUEST, Reason.PATH)
def a_path_with_two_meanings(_stage: Stage) -> CheckRequest:
    return make_request("/health/..%2fapi/v1/runs")


@row(Gate.REQUEST, Reason.CONTEXT)
def a_context_that_is_nonsense(_stage: Stage) -> CheckRequest:
    return make_request(context_extensions={"extauthz.class": "banana"})


@row(Gate.AUTH, Reason.MISSING_CREDENTIALS)
def no_credential(_stage: Stage) -> CheckRequest:
    return make_request(key=None)


@row(Gate.AUTH, Reason.INVALID_CREDENTIALS)
def a_revoked_key(stage: Stage) -> CheckRequest:
    stage.key.known[KEY] = InvalidCredential("revoked")
    return make_request()


@row(Gate.AUTH, Reason.OPERATOR_REQUIRED)
def a_tenant_on_an_operators_route(_stage: Stage) -> CheckRequest:
    return make_request("/fdr")


@row(Gate.AUTH, Reason.INSUFFICIENT_SCOPE)
def a_scope_that_is_missing(_stage: Stage) -> CheckRequest:
    return make_request("/scoped")


@row(Gate.AUTH, Reason.PROVIDER_UNAVAILABLE)
def the_credential_store_is_out(stage: Stage) -> CheckRequest:
    stage.key.known[KEY] = OUT
    return make_request()


@row(Gate.LIFECYCLE, Reason.SUSPENDED)
def a_suspended_tenant_writes(stage: Stage) -> CheckRequest:
    stage.tenant(LifecycleState.SUSPENDED)
    return make_request(method="POST")


@row(Gate.LIFECYCLE, Reason.TERMINATED)
def a_terminated_tenant(stage: Stage) -> CheckRequest:
    stage.tenant(LifecycleState.TERMINATED)
    return make_request()


@row(Gate.LIFECYCLE, Reason.ARCHIVED)
def an_archived_tenant(stage: Stage) -> CheckRequest:
    stage.tenant(LifecycleState.ARCHIVED)
    return make_request()


@row(Gate.LIFECYCLE, Reason.TENANT_UNKNOWN)
def a_tenant_that_does_not_exist(stage: Stage) -> CheckRequest:
    del stage.lifecycle.values[TENANT]
    return make_request()


@row(Gate.LIFECYCLE, Reason.PROVIDER_UNAVAILABLE)
def lifecycle_closed(stage: Stage) -> CheckRequest:
    stage.set(Gate.LIFECYCLE, on_failure=OnFailure.CLOSED)
    stage.lifecycle.outage = OUT
    return make_request()


@row(Gate.BILLING, Reason.SUSPENDED)
def a_tenant_that_did_not_pay(stage: Stage) -> CheckRequest:
    stage.tenant(billing=BillingState.SUSPENDED)
    return make_request(method="POST")


@row(Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY)
def a_day_that_is_used_up(stage: Stage) -> CheckRequest:
    stage.charger.exceeded = (over(Dimension.QUOTA),)
    return make_request(method="POST")


@row(Gate.BILLING, Reason.PROVIDER_UNAVAILABLE)
def billing_closed(stage: Stage) -> CheckRequest:
    stage.set(Gate.BILLING, on_failure=OnFailure.CLOSED)
    stage.billing.outage = OUT
    return make_request(method="POST")


@row(Gate.PROTECTION, Reason.RATE)
def too_many_a_minute(stage: Stage) -> CheckRequest:
    stage.charger.exceeded = (over(Dimension.RATE),)
    return make_request()


@row(Gate.PROTECTION, Reason.BURST)
def too_many_a_second(stage: Stage) -> CheckRequest:
    stage.charger.exceeded = (over(Dimension.BURST),)
    return make_request()


@row(Gate.PROTECTION, Reason.COST)
def too_dear(stage: Stage) -> CheckRequest:
    stage.charger.exceeded = (over(Dimension.COST),)
    return make_request()


@row(Gate.PROTECTION, Reason.PROVIDER_UNAVAILABLE)
def protection_closed(stage: Stage) -> CheckRequest:
    stage.set(Gate.PROTECTION, on_failure=OnFailure.CLOSED)
    stage.charger.outage = OUT
    return make_request()


# Those of the message itself, of overload and of our own errors are the check's; a deadline gone by is in
# test_pipeline_time.py.
ELSEWHERE = {(Gate.REQUEST, reason) for reason in (Reason.MESSAGE, Reason.OVERLOADED, Reason.INTERNAL)}
RETRY_MS = {
    (Gate.AUTH, Reason.PROVIDER_UNAVAILABLE): 30_000,
    (Gate.LIFECYCLE, Reason.PROVIDER_UNAVAILABLE): 30_000,
    (Gate.BILLING, Reason.PROVIDER_UNAVAILABLE): 30_000,
    (Gate.PROTECTION, Reason.PROVIDER_UNAVAILABLE): 30_000,
    (Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY): 2_000,
    (Gate.PROTECTION, Reason.RATE): 2_000,
    (Gate.PROTECTION, Reason.BURST): 2_000,
    (Gate.PROTECTION, Reason.COST): 2_000,
}


def test_the_rows_are_all_there_are() -> None:
    assert set(ROWS) | ELSEWHERE == {(gate, reason) for gate, reasons in REASONS_BY_GATE.items() for reason in reasons}


async def bring_about(gate: Gate, reason: Reason) -> tuple[Stage, Decision]:
    stage = Stage(FakeClock(), rules=(SCOPED,))
    return stage, await stage.decide(ROWS[gate, reason](stage))


EACH_ROW = pytest.mark.parametrize(("gate", "reason"), list(ROWS))


@EACH_ROW
async def test_gate_and_reason(gate: Gate, reason: Reason) -> None:
    _, decision = await bring_about(gate, reason)
    assert (decision.gate, decision.reason) == (gate, reason)
    assert decision.allowed == (gate is Gate.NONE)
    assert decision.decision_id


@EACH_ROW
async def test_when_to_try_again(gate: Gate, reason: Reason) -> None:
    _, decision = await bring_about(gate, reason)
    retry = None if decision.denial is None else decision.denial.retry_after_ms
    assert retry == RETRY_MS.get((gate, reason))


@EACH_ROW
async def test_a_denied_request_consumed_nothing(gate: Gate, reason: Reason) -> None:
    stage, decision = await bring_about(gate, reason)
    assert len(stage.charger.consumed) == decision.allowed


@EACH_ROW
async def test_the_first_denial_wins_and_the_gates_behind_it_say_skip(gate: Gate, reason: Reason) -> None:
    _, decision = await bring_about(gate, reason)
    gates = [made.gate for made in decision.reports]
    if gate is Gate.REQUEST:
        assert gates == []
        return
    assert gates == [Gate.AUTH, Gate.LIFECYCLE, Gate.BILLING, Gate.PROTECTION]
    denying = [made.gate for made in decision.reports if made.verdict == "deny"]
    assert denying == ([] if gate is Gate.NONE else [gate])
    if denying and reason is not Reason.MAX_REQUESTS_PER_DAY:  # that one is found out by the charge
        behind = decision.reports[gates.index(gate) + 1 :]
        assert [made.verdict for made in behind] == ["skip"] * len(behind)


@EACH_ROW
async def test_a_gate_that_closes_is_not_degraded(gate: Gate, reason: Reason) -> None:
    _, decision = await bring_about(gate, reason)
    assert decision.degraded == ()


async def test_lifecycle_denies_before_billing_and_billing_before_the_charge() -> None:
    stage = Stage(FakeClock())
    stage.charger.exceeded = (over(Dimension.QUOTA), over(Dimension.RATE))
    stage.tenant(LifecycleState.SUSPENDED, billing=BillingState.SUSPENDED)
    assert (await stage.decide(make_request(method="POST"))).gate is Gate.LIFECYCLE
    stage.tenant(billing=BillingState.SUSPENDED)
    assert (await stage.decide(make_request(method="POST"))).reason is Reason.SUSPENDED
    stage.tenant()
    assert (await stage.decide(make_request(method="POST"))).reason is Reason.MAX_REQUESTS_PER_DAY
    assert (await stage.decide(make_request(method="GET"))).reason is Reason.RATE


async def test_an_allow_tells_all_that_became_known() -> None:
    stage = Stage(FakeClock())
    stage.tenant(billing=BillingState.PAST_DUE)
    stage.charger.rate = RateStatus(limit=600, remaining=599, reset_us=100_000)
    stage.charger.near = (Dimension.QUOTA,)
    facts = (decision := await stage.decide(make_request())).facts
    assert facts.principal is not None
    assert facts.principal.tenant_id == TENANT
    assert (facts.lifecycle, facts.billing) == (LifecycleState.ACTIVE, BillingState.PAST_DUE)
    assert facts.plan == make_plan()
    assert facts.rate == stage.charger.rate
    assert decision.near == (Dimension.QUOTA,)


async def test_past_due_is_a_grace() -> None:
    stage = Stage(FakeClock())
    stage.tenant(billing=BillingState.PAST_DUE)
    for request in (make_request(), make_request(method="POST"), make_request("/api/v1/runs", "POST")):
        decision = await stage.decide(request)
        assert decision.allowed
        assert decision.facts.billing is BillingState.PAST_DUE


async def test_the_charge_has_the_plans_limits_and_the_routes_cost() -> None:
    stage = Stage(FakeClock())
    await stage.decide(make_request("/api/v1/runs", "POST", context_extensions={"extauthz.cost": "1.25"}))
    [charge] = stage.charger.charges
    assert (charge.tenant_id, charge.limits, charge.cost) == (TENANT, make_plan().limits, 1_250_000)
    assert charge.blocking == {Dimension.QUOTA, Dimension.RATE, Dimension.BURST, Dimension.COST}
    assert charge.commit


async def test_while_onboarding_the_plan_is_told_but_the_default_plans_rate_and_burst_hold() -> None:
    stage = Stage(FakeClock())
    stage.tenant(onboarding=Onboarding.PENDING)
    decision = await stage.decide(make_request("/api/v1/runs", "POST", context_extensions={"extauthz.cost": "1"}))
    assert decision.facts.plan == make_plan()
    limits = stage.charger.charges[0].limits
    assert (limits.rate, limits.burst, limits.max_requests_per_day, limits.max_cost_per_day) == (60, 10, None, None)


async def test_while_onboarding_is_not_known_plan_limits_hold_and_the_quota_does_not() -> None:
    stage = Stage(FakeClock())
    stage.lifecycle.outage = OUT
    stage.tenant(billing=BillingState.SUSPENDED)
    stage.charger.exceeded = (over(Dimension.QUOTA),)
    decision = await stage.decide(make_request(method="POST"))
    assert decision.allowed
    assert stage.charger.charges[0].limits == make_plan().limits
    assert stage.charger.charges[0].blocking == {Dimension.RATE, Dimension.BURST, Dimension.COST}
    assert decision.warnings == (Dimension.QUOTA,)
    assert report_of(decision, Gate.BILLING).shadow is None
    stage.charger.exceeded = (over(Dimension.RATE),)
    assert (await stage.decide(make_request(method="POST"))).reason is Reason.RATE


@pytest.mark.parametrize("gate", [Gate.LIFECYCLE, Gate.BILLING])
async def test_the_default_answers_are_told_as_they_are(gate: Gate) -> None:
    stage = Stage(FakeClock())
    (stage.lifecycle if gate is Gate.LIFECYCLE else stage.billing).outage = OUT
    decision = await stage.decide(make_request())
    assert decision.allowed
    assert decision.degraded == (gate,)
    assert decision.facts.lifecycle is LifecycleState.ACTIVE
    if gate is Gate.BILLING:
        assert (decision.facts.billing, decision.facts.plan) == (BillingState.TRIAL, None)
        limits = stage.charger.charges[0].limits
        assert (limits.rate, limits.burst, limits.max_requests_per_day, limits.max_cost_per_day) == (None,) * 4


async def test_a_plan_that_is_not_configured_is_that_tenants_fallback() -> None:
    stage = Stage(FakeClock(), plans=make_plans())
    decision = await stage.decide(make_request())
    assert decision.allowed
    assert decision.degraded == (Gate.BILLING,)
    assert (decision.facts.billing, decision.facts.plan) == (BillingState.ACTIVE, None)
    made = report_of(decision, Gate.BILLING)
    assert (made.fallback, made.source) == (FallbackReason.ERROR, Source.DEFAULT)


async def test_degraded_names_the_gates_in_their_order() -> None:
    stage = Stage(FakeClock())
    stage.lifecycle.outage = stage.billing.outage = stage.charger.outage = OUT
    decision = await stage.decide(make_request())
    assert decision.allowed
    assert decision.degraded == (Gate.LIFECYCLE, Gate.BILLING, Gate.PROTECTION)


@pytest.mark.parametrize("gate", [Gate.LIFECYCLE, Gate.BILLING, Gate.PROTECTION])
async def test_a_gate_that_is_off_asks_nobody(gate: Gate) -> None:
    stage = Stage(FakeClock())
    stage.set(gate, Mode.OFF)
    stage.tenant(billing=BillingState.SUSPENDED if gate is Gate.LIFECYCLE else BillingState.ACTIVE)
    stage.charger.exceeded = (over(Dimension.QUOTA),) if gate is not Gate.BILLING else ()
    decision = await stage.decide(make_request(method="POST"))
    assert decision.allowed
    made = report_of(decision, gate)
    assert (made.verdict, made.mode, made.source) == ("skip", "off", Source.NONE)
    asked = {
        Gate.LIFECYCLE: bool(stage.lifecycle.peeked),
        Gate.BILLING: bool(stage.billing.peeked),
        Gate.PROTECTION: bool(stage.charger.charges),
    }
    assert asked == {other: other is not gate for other in asked}
    facts = decision.facts
    assert (facts.lifecycle is None) == (gate is Gate.LIFECYCLE)
    assert (facts.billing is None) == (facts.plan is None) == (gate is Gate.BILLING)


async def test_with_billing_off_everything_is_counted_and_nothing_limited() -> None:
    stage = Stage(FakeClock())
    stage.set(Gate.BILLING, Mode.OFF)
    await stage.decide(make_request(method="POST"))
    [charge] = stage.charger.consumed
    limits = charge.limits
    assert (limits.rate, limits.burst, limits.max_requests_per_day, limits.max_cost_per_day) == (None,) * 4


async def test_a_used_up_day_in_shadow_counts_for_the_billing_gate() -> None:
    stage = Stage(FakeClock())
    stage.set(Gate.BILLING, Mode.SHADOW)
    stage.charger.exceeded = (over(Dimension.QUOTA),)
    decision = await stage.decide(make_request(method="POST"))
    assert decision.allowed
    shadow = report_of(decision, Gate.BILLING).shadow
    assert shadow is not None
    assert (shadow.gate, shadow.reason) == (Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY)
    assert report_of(decision, Gate.PROTECTION).shadow is None
    assert len(stage.charger.consumed) == 1


async def test_what_warns_shows_in_the_decision_alone() -> None:
    stage = Stage(FakeClock(), actions=Actions(rate=Outcome.WARN))
    stage.charger.exceeded = (over(Dimension.RATE),)
    decision = await stage.decide(make_request())
    assert decision.allowed
    assert decision.warnings == (Dimension.RATE,)
    assert report_of(decision, Gate.PROTECTION).verdict == "warn"


async def test_the_denials_carry_their_figures() -> None:
    _, decision = await bring_about(Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY)
    assert decision.denial is not None
    assert decision.denial.detail == LimitExceeded(
        dimension=Dimension.QUOTA, current=10, allowed=10, plan_id="pro", billing_state=BillingState.ACTIVE
    )
    _, decision = await bring_about(Gate.PROTECTION, Reason.BURST)
    assert decision.denial is not None
    assert decision.denial.detail == RateLimited(dimension=Dimension.BURST, outcome=Outcome.THROTTLE)


async def test_every_decision_has_an_id_of_its_own() -> None:
    stage = Stage(FakeClock())
    ids = [(await stage.decide(make_request(path))).decision_id for path in ("/x", "/health", "/a\\b", "/x")]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)


# POST /check


# An explanation presents no credential and has no context.
EXPLAINED = [
    pair
    for pair in ROWS
    if (pair[0] is not Gate.AUTH and pair != (Gate.REQUEST, Reason.CONTEXT)) or pair[1] is Reason.OPERATOR_REQUIRED
]


@pytest.mark.parametrize(("gate", "reason"), EXPLAINED)
async def test_an_explanation_says_what_would_be_decided(gate: Gate, reason: Reason) -> None:
    stage = Stage(FakeClock(), rules=(SCOPED,))
    request = ROWS[gate, reason](stage)
    decision = await stage.pipeline.explain(TENANT, request.method, request.path)
    assert (decision.gate, decision.reason) == (gate, reason)
    assert stage.charger.consumed == []
    assert all(not charge.commit for charge in stage.charger.charges)
    assert stage.key.verified == []


async def test_an_explanation_has_the_steps_of_all_gates() -> None:
    stage = Stage(FakeClock())
    stage.tenant(LifecycleState.TERMINATED)
    decision = await stage.pipeline.explain(TENANT, "GET", "/api/v1/things")
    steps = {made.gate: made.verdict for made in decision.reports}
    assert steps == {Gate.AUTH: "allow", Gate.LIFECYCLE: "deny", Gate.BILLING: "skip", Gate.PROTECTION: "skip"}


async def test_an_explanation_takes_the_scopes_for_granted() -> None:
    decision = await Stage(FakeClock(), rules=(SCOPED,)).pipeline.explain(TENANT, "GET", "/scoped")
    assert decision.allowed


@pytest.mark.parametrize("path", ["/health", "/founder/x"])
async def test_an_explanation_for_the_public_and_for_operators(path: str) -> None:
    decision = await Stage(FakeClock()).pipeline.explain(SYSTEM_TENANT, "GET", path)
    assert decision.allowed
