"""New rules while checks are under way: who began under the old ones ends by them, whoever comes now has the new ones."""

import asyncio

import pytest

from extauthz.gates.base import GateSettings
from extauthz.gates.limits import Actions
from extauthz.model.billing import BillingState, PlanBook
from extauthz.model.decision import FallbackReason, Gate, Mode, OnFailure, Reason
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import Dimension, Exceeded, Outcome
from extauthz.model.request import Route, RouteClass
from extauthz.pipeline import RuleBook
from extauthz.ports import Unavailable
from extauthz.routing import RouteKind, RouteRule, RouteTable
from extauthz.testing.builders import TENANT, make_plan, make_plans, make_request
from extauthz.testing.clock import FakeClock, in_virtual_time
from extauthz.testing.stage import Stage, report_of

OPEN = GateSettings()
SHADOW = GateSettings(mode=Mode.SHADOW)


def book(
    *,
    routes: RouteTable | None = None,
    strip: bool = False,
    lifecycle: GateSettings = OPEN,
    billing: GateSettings = OPEN,
    plans: PlanBook | None = None,
    protection: GateSettings = OPEN,
    actions: Actions | None = None,
) -> RuleBook:
    return RuleBook(
        routes=routes or RouteTable(),
        strip_authorization=strip,
        lifecycle=lifecycle,
        billing=billing,
        plans=plans or make_plans(make_plan()),
        protection=protection,
        actions=actions or Actions(),
    )


@pytest.fixture(name="stage")
def a_stage() -> Stage:
    return Stage(FakeClock())


async def test_the_next_check_has_the_new_routes(stage: Stage) -> None:
    rule = RouteRule(kind=RouteKind.PREFIX, pattern="/open", route=Route(route_class=RouteClass.PUBLIC))
    assert (await stage.decide(make_request("/open", key=None))).reason is Reason.MISSING_CREDENTIALS
    stage.pipeline.change(book(routes=RouteTable([rule])))
    assert (await stage.decide(make_request("/open", key=None))).allowed


async def test_the_next_check_has_the_new_modes_plans_and_actions(stage: Stage) -> None:
    stage.tenant(state=LifecycleState.SUSPENDED, plan_id="new")
    stage.charger.exceeded = (Exceeded(dimension=Dimension.RATE, wait_us=1, current=1, allowed=1),)
    assert (await stage.decide(make_request(method="POST"))).gate is Gate.LIFECYCLE
    stage.pipeline.change(
        book(lifecycle=SHADOW, plans=make_plans(make_plan("new", rate=7)), actions=Actions(rate=Outcome.WARN))
    )
    decision = await stage.decide(make_request(method="POST"))
    assert decision.allowed
    assert report_of(decision, Gate.LIFECYCLE).mode == "shadow"
    assert decision.warnings == (Dimension.RATE,)
    assert stage.charger.charges[-1].limits.rate == 7


async def test_the_next_check_keeps_authorization_from_the_upstream_if_the_new_rules_say_so(stage: Stage) -> None:
    assert "authorization" not in (await stage.decide(make_request())).strip
    stage.pipeline.change(book(strip=True))
    assert "authorization" in (await stage.decide(make_request())).strip


@in_virtual_time
async def test_a_check_under_way_ends_by_the_rules_it_began_with() -> None:
    stage = Stage(asyncio.get_running_loop().time)
    stage.tenant(billing=BillingState.SUSPENDED)
    stage.lifecycle.cached, stage.lifecycle.delay = False, 0.1
    before = asyncio.create_task(stage.decide(make_request(method="POST")))
    await asyncio.sleep(0.05)
    stage.pipeline.change(
        book(billing=SHADOW, plans=make_plans(make_plan("other")), protection=GateSettings(mode=Mode.OFF))
    )
    after = asyncio.create_task(stage.decide(make_request(method="POST")))
    assert (await before).reason is Reason.SUSPENDED
    assert report_of(await before, Gate.BILLING).mode == "enforce"
    assert report_of(await after, Gate.BILLING).mode == "shadow"
    assert report_of(await after, Gate.PROTECTION).mode == "off"


@in_virtual_time
async def test_a_charge_under_way_fails_as_it_would_have_before() -> None:
    stage = Stage(asyncio.get_running_loop().time)
    stage.set(Gate.PROTECTION, on_failure=OnFailure.CLOSED)
    stage.charger.outage, stage.charger.delay = Unavailable(FallbackReason.TIMEOUT), 0.1
    before = asyncio.create_task(stage.decide(make_request()))
    await asyncio.sleep(0.05)
    stage.pipeline.change(book())
    assert (await before).reason is Reason.PROVIDER_UNAVAILABLE
    assert (await stage.decide(make_request())).allowed


async def test_whoever_holds_a_gates_control_holds_that_of_the_rules_in_force(stage: Stage) -> None:
    stage.pipeline.change(book())
    stage.set(Gate.LIFECYCLE, Mode.OFF)
    assert report_of(await stage.decide(make_request()), Gate.LIFECYCLE).mode == "off"


async def test_a_reload_neither_begins_nor_ends_a_bypass(stage: Stage) -> None:
    stage.tenant(state=LifecycleState.SUSPENDED)
    control = stage.controls[Gate.LIFECYCLE]
    control.bypass(active=True)
    stage.pipeline.change(book(lifecycle=GateSettings(on_failure=OnFailure.CLOSED)))
    assert (await stage.decide(make_request(method="POST"))).allowed
    control.bypass(active=False)
    stage.lifecycle.outage = Unavailable(FallbackReason.ERROR)
    assert (await stage.decide(make_request(method="POST"))).reason is Reason.PROVIDER_UNAVAILABLE


async def test_what_a_gate_has_learned_survives(stage: Stage) -> None:
    """Counts, caches and baselines belong to the look-ups and detectors, and those stay."""
    await stage.decide(make_request())
    stage.pipeline.change(book())
    await stage.decide(make_request())
    assert len(stage.charger.charges) == 2
    assert stage.lifecycle.peeked == [(TENANT, None)] * 2
