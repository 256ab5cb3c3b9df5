"""Every row of the table of spec 3.1, against every lifecycle and billing state, reading and writing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from extauthz.model.billing import BillingState
from extauthz.model.decision import Decision, Gate, Reason
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.model.protection import Dimension, Exceeded
from extauthz.model.request import RouteClass
from extauthz.testing.builders import KEY, OPERATOR_KEY, TENANT, make_request
from extauthz.testing.clock import FakeClock
from extauthz.testing.stage import PLAN_TTL, Stage, report_of

ACTIVE, SUSPENDED, TERMINATED, ARCHIVED = LifecycleState
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "BREW")
READS = frozenset({"GET", "HEAD", "OPTIONS"})
QUOTA_USED_UP = Exceeded(dimension=Dimension.QUOTA, wait_us=1_000, current=10, allowed=10)
RATE_USED_UP = Exceeded(dimension=Dimension.RATE, wait_us=1_000, current=10, allowed=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table; `states` are the lifecycle states that pass (None: not asked)."""

    path: str
    key: str | None = KEY
    reads: frozenset[LifecycleState] | None = None
    writes: frozenset[LifecycleState] | None = None
    billing_asked: bool = False
    billing_denies_reads: bool = False
    billing_denies_writes: bool = False
    protection: bool = False


TABLE: Final[Mapping[RouteClass, Row]] = {
    RouteClass.PUBLIC: Row(path="/health", key=None),
    RouteClass.REFRESH: Row(
        path="/api/v1/auth/refresh", reads=frozenset({ACTIVE, SUSPENDED}), writes=frozenset({ACTIVE, SUSPENDED})
    ),
    RouteClass.ONBOARDING: Row(path="/api/v1/onboarding/x", reads=frozenset({ACTIVE}), writes=frozenset({ACTIVE})),
    RouteClass.OPERATOR: Row(path="/founder/x", key=OPERATOR_KEY),
    RouteClass.SDK: Row(
        path="/api/v1/runs",
        reads=frozenset({ACTIVE}),
        writes=frozenset({ACTIVE}),
        billing_asked=True,
        billing_denies_reads=True,
        billing_denies_writes=True,
        protection=True,
    ),
    RouteClass.STANDARD: Row(
        path="/api/v1/things",
        reads=frozenset({ACTIVE, SUSPENDED}),
        writes=frozenset({ACTIVE}),
        billing_asked=True,
        billing_denies_writes=True,
        protection=True,
    ),
}
EACH_ROW = pytest.mark.parametrize("route_class", list(RouteClass))
EACH_METHOD = pytest.mark.parametrize("method", METHODS)


def states(row: Row, method: str) -> frozenset[LifecycleState] | None:
    return row.reads if method in READS else row.writes


def billing_denies(row: Row, method: str) -> bool:
    return row.billing_denies_reads if method in READS else row.billing_denies_writes


async def ask(stage: Stage, row: Row, method: str) -> Decision:
    return await stage.decide(make_request(row.path, method, key=row.key))


def test_the_table_has_every_class() -> None:
    assert set(TABLE) == set(RouteClass)


@EACH_ROW
@EACH_METHOD
@pytest.mark.parametrize("state", list(LifecycleState))
async def test_lifecycle_states_that_pass(route_class: RouteClass, method: str, state: LifecycleState) -> None:
    stage, row = Stage(FakeClock()), TABLE[route_class]
    stage.tenant(state)
    decision = await ask(stage, row, method)
    passing = states(row, method)
    assert decision.route is not None
    assert decision.route.route_class is route_class
    assert decision.allowed == (passing is None or state in passing)
    if not decision.allowed:
        assert (decision.gate, decision.reason.value) == (Gate.LIFECYCLE, state.value.lower())
    assert bool(stage.lifecycle.peeked) == (passing is not None)
    assert decision.facts.lifecycle is (None if passing is None else state)


@EACH_ROW
@EACH_METHOD
@pytest.mark.parametrize("billing", list(BillingState))
async def test_billing_states_that_pass(route_class: RouteClass, method: str, billing: BillingState) -> None:
    stage, row = Stage(FakeClock()), TABLE[route_class]
    stage.tenant(billing=billing)
    decision = await ask(stage, row, method)
    denied = billing is BillingState.SUSPENDED and billing_denies(row, method)
    assert decision.allowed == (not denied)
    if denied:
        assert (decision.gate, decision.reason) == (Gate.BILLING, Reason.SUSPENDED)
    assert decision.facts.billing is (billing if row.billing_asked else None)
    assert bool(stage.billing.peeked) == row.billing_asked


@EACH_ROW
@EACH_METHOD
async def test_the_day_quota_denies_where_billing_has_a_say(route_class: RouteClass, method: str) -> None:
    stage, row = Stage(FakeClock()), TABLE[route_class]
    stage.charger.exceeded = (QUOTA_USED_UP,)
    decision = await ask(stage, row, method)
    denied = billing_denies(row, method)
    assert decision.allowed == (not denied)
    if denied:
        assert (decision.gate, decision.reason) == (Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY)
        assert report_of(decision, Gate.BILLING).verdict == "deny"
    assert len(stage.charger.consumed) == (row.protection and not denied)  # counted, read or write


@EACH_ROW
@EACH_METHOD
async def test_classes_that_protection_charges(route_class: RouteClass, method: str) -> None:
    stage, row = Stage(FakeClock()), TABLE[route_class]
    stage.charger.exceeded = (RATE_USED_UP,)
    decision = await ask(stage, row, method)
    assert decision.reason is (Reason.RATE if row.protection else Reason.NONE)
    assert len(stage.charger.charges) == row.protection


@EACH_ROW
async def test_gates_that_were_not_asked_say_so(route_class: RouteClass) -> None:
    stage, row = Stage(FakeClock()), TABLE[route_class]
    decision = await ask(stage, row, "GET")
    verdicts = {made.gate: made.verdict for made in decision.reports}
    assert verdicts == {
        Gate.AUTH: "skip" if row.key is None else "allow",
        Gate.LIFECYCLE: "skip" if row.reads is None else "allow",
        Gate.BILLING: "allow" if row.billing_asked else "skip",
        Gate.PROTECTION: "allow" if row.protection else "skip",
    }


@EACH_ROW
async def test_every_class_but_public_wants_a_credential(route_class: RouteClass) -> None:
    stage = Stage(FakeClock())
    decision = await stage.decide(make_request(TABLE[route_class].path, key=None))
    assert decision.reason is (Reason.NONE if route_class is RouteClass.PUBLIC else Reason.MISSING_CREDENTIALS)


@EACH_ROW
async def test_an_operator_credential_is_of_no_tenant(route_class: RouteClass) -> None:
    stage = Stage(FakeClock())
    decision = await stage.decide(make_request(TABLE[route_class].path, key=OPERATOR_KEY))
    expected = Reason.NONE if route_class in {RouteClass.PUBLIC, RouteClass.OPERATOR} else Reason.TENANT_UNKNOWN
    assert decision.reason is expected


async def test_a_tenants_credential_is_no_operators() -> None:
    decision = await Stage(FakeClock()).decide(make_request("/founder"))
    assert (decision.gate, decision.reason) == (Gate.AUTH, Reason.OPERATOR_REQUIRED)
    assert decision.facts.principal is not None
    assert decision.facts.principal.tenant_id == TENANT != SYSTEM_TENANT


async def test_a_public_request_reaches_nobody_and_keeps_its_credentials() -> None:
    stage = Stage(FakeClock())
    decision = await stage.decide(make_request("/health", key="never issued"))
    assert decision.allowed
    assert (decision.strip, decision.facts.principal) == ((), None)
    assert not stage.lifecycle.peeked + stage.billing.peeked
    assert not stage.charger.charges


@pytest.mark.parametrize(("method", "max_age"), [("GET", PLAN_TTL), ("POST", None)])
async def test_standard_reads_need_only_the_plan_which_may_be_older(method: str, max_age: float | None) -> None:
    stage = Stage(FakeClock())
    stage.billing.cached = False
    await stage.decide(make_request("/api/v1/things", method))
    assert stage.billing.peeked == [(TENANT, max_age)]
    assert stage.billing.got == [(TENANT, max_age)]


@pytest.mark.parametrize("method", METHODS)
async def test_sdk_execution_needs_the_standing_as_it_is(method: str) -> None:
    stage = Stage(FakeClock())
    await stage.decide(make_request("/api/v1/runs", method))
    assert stage.billing.peeked == [(TENANT, None)]


@pytest.mark.parametrize("state", [SUSPENDED, TERMINATED, ARCHIVED])
async def test_offboard_006_sdk_is_blocked_before_anything_is_charged(state: LifecycleState) -> None:
    stage = Stage(FakeClock())
    stage.tenant(state)
    decision = await stage.decide(make_request("/api/v1/runs", "POST"))
    assert decision.gate is Gate.LIFECYCLE
    assert stage.charger.charges == []


@EACH_ROW
@EACH_METHOD
@pytest.mark.parametrize("state", list(LifecycleState))
async def test_billing_001_billing_never_blocks_onboarding(
    route_class: RouteClass, method: str, state: LifecycleState
) -> None:
    """Before COMPLETE neither standing nor quota denies; states other than ACTIVE do, reads too."""
    stage, row = Stage(FakeClock()), TABLE[route_class]
    stage.tenant(state, Onboarding.PENDING, BillingState.SUSPENDED)
    stage.charger.exceeded = (QUOTA_USED_UP,)
    decision = await ask(stage, row, method)
    assert decision.gate is not Gate.BILLING
    assert decision.allowed == (states(row, method) is None or state is ACTIVE)
