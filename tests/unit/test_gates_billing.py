"""What the billing gate says of standing and plan (spec 2, 3.3, 3.4)."""

from itertools import product

import pytest

from extauthz.gates.base import Found, GateControl, GateSettings, Stopwatch
from extauthz.gates.billing import (
    SUSPENDED,
    UNLIMITED,
    BillingGate,
    BillingRuling,
    decide,
    has_a_say,
    limits_in_force,
)
from extauthz.model.billing import BillingRecord, BillingState, Limits
from extauthz.model.decision import BillingBlocked, FallbackReason, Gate, Mode, OnFailure, Reason, Source
from extauthz.model.lifecycle import Onboarding
from extauthz.ports import Fetched, Unavailable
from extauthz.testing.builders import make_plan, make_plans
from extauthz.testing.clock import FakeClock
from extauthz.testing.fakes import FakeLookup

COMPLETE, PENDING = Onboarding.COMPLETE, Onboarding.PENDING
PRO = make_plan()
PLANS = make_plans(PRO)
WHILE_ONBOARDING = Limits(rate=60, burst=10)


def judge(
    found: Found[BillingRecord | None],
    onboarding: Onboarding | None = COMPLETE,
    *,
    consulted: bool = True,
    settings: GateSettings | None = None,
) -> BillingRuling:
    lookup: FakeLookup[str, BillingRecord] = FakeLookup()
    control = GateControl(Gate.BILLING, settings)
    gate = BillingGate(lookup=lookup, control=control, plans=PLANS, plan_ttl=300.0)
    return gate.judge(found, onboarding, Stopwatch(FakeClock()), consulted=consulted)


def known(state: BillingState = BillingState.ACTIVE, plan_id: str | None = "pro") -> Fetched[BillingRecord | None]:
    return Fetched(value=BillingRecord(state=state, plan_id=plan_id), source=Source.CACHE, age=0.0)


@pytest.mark.parametrize(("state", "may_deny"), list(product(BillingState, (True, False))))
def test_only_suspended_denies_and_only_where_billing_has_a_say(state: BillingState, may_deny: bool) -> None:  # noqa: FBT001 - a row of the table
    denial = decide(state, may_deny=may_deny)
    assert (denial is not None) == (state is BillingState.SUSPENDED and may_deny)


def test_the_denial_names_the_state() -> None:
    assert (SUSPENDED.gate, SUSPENDED.reason, SUSPENDED.retry_after_ms) == (Gate.BILLING, Reason.SUSPENDED, None)
    assert SUSPENDED.detail == BillingBlocked(billing_state=BillingState.SUSPENDED)


@pytest.mark.parametrize(("onboarding", "consulted"), list(product((None, *Onboarding), (True, False))))
def test_billing_001_billing_never_blocks_onboarding(onboarding: Onboarding | None, consulted: bool) -> None:  # noqa: FBT001 - a row of the table
    assert has_a_say(onboarding, consulted=consulted) == (consulted and onboarding is COMPLETE)
    ruling = judge(known(BillingState.SUSPENDED), onboarding, consulted=consulted)
    assert (ruling.denial is SUSPENDED) == (consulted and onboarding is COMPLETE)
    assert ruling.quota_counts == (consulted and onboarding is COMPLETE)


def test_billing_002_limits_are_derived_from_the_plan() -> None:
    assert limits_in_force(PRO, COMPLETE, WHILE_ONBOARDING) is PRO.limits
    assert judge(known()).limits is PRO.limits
    assert judge(known(plan_id=None)).limits is PLANS.default.limits


@pytest.mark.parametrize("plan", [PRO, None])
def test_before_complete_rate_and_burst_of_the_default_plan_hold_and_nothing_else(plan: object) -> None:
    found = known() if plan else Unavailable(FallbackReason.TIMEOUT)
    ruling = judge(found, PENDING)
    assert ruling.limits == WHILE_ONBOARDING
    assert ruling.plan == plan


def test_where_onboarding_is_not_known_the_plan_holds() -> None:
    assert judge(known(), None).limits is PRO.limits


def test_no_record_is_an_answer_trial_on_the_default_plan() -> None:
    found: Found[BillingRecord | None] = Fetched(value=None, source=Source.PROVIDER)
    ruling = judge(found)
    assert (ruling.state, ruling.plan) == (BillingState.TRIAL, PLANS.default)
    assert ruling.report.fallback is None


def test_a_default_answer_is_trial_without_a_plan_and_without_limits() -> None:
    ruling = judge(Unavailable(FallbackReason.TIMEOUT))
    assert (ruling.denial, ruling.state, ruling.plan, ruling.limits) == (None, BillingState.TRIAL, None, UNLIMITED)


def test_a_last_known_plan_is_enforced() -> None:
    stale: Fetched[object] = Fetched(value=known().value, source=Source.STALE, age=60.0)
    ruling = judge(Unavailable(FallbackReason.ERROR, stale))
    assert (ruling.plan, ruling.limits, ruling.report.source) == (PRO, PRO.limits, Source.STALE)


@pytest.mark.parametrize("state", BillingState)
def test_a_plan_that_is_not_configured_is_a_fallback_for_that_tenant_and_its_standing_holds(
    state: BillingState,
) -> None:
    ruling = judge(known(state, "gone"))
    assert (ruling.state, ruling.plan, ruling.limits) == (state, None, UNLIMITED)
    assert (ruling.report.fallback, ruling.report.source) == (FallbackReason.ERROR, Source.DEFAULT)
    assert (ruling.denial is SUSPENDED) == (state is BillingState.SUSPENDED)


def test_a_last_known_plan_that_is_not_configured_keeps_the_reason_of_the_outage() -> None:
    stale: Fetched[object] = Fetched(value=known(plan_id="gone").value, source=Source.STALE, age=60.0)
    made = judge(Unavailable(FallbackReason.TIMEOUT, stale)).report
    assert (made.fallback, made.source) == (FallbackReason.TIMEOUT, Source.DEFAULT)


def test_closed_does_not_do_without_a_plan_but_the_standing_comes_first() -> None:
    closed = GateSettings(on_failure=OnFailure.CLOSED)
    denial = judge(known(plan_id="gone"), settings=closed).denial
    assert denial is not None
    assert denial.reason is Reason.PROVIDER_UNAVAILABLE
    assert judge(known(BillingState.SUSPENDED, "gone"), settings=closed).denial is SUSPENDED


@pytest.mark.parametrize(("onboarding", "consulted"), [(PENDING, True), (None, True), (COMPLETE, False)])
def test_closed_denies_only_where_billing_has_a_say(onboarding: Onboarding | None, consulted: bool) -> None:  # noqa: FBT001 - a row of the table
    closed = GateSettings(on_failure=OnFailure.CLOSED)
    ruling = judge(Unavailable(FallbackReason.TIMEOUT), onboarding, consulted=consulted, settings=closed)
    assert ruling.denial is None
    assert (ruling.report.source, ruling.report.fallback) == (Source.DEFAULT, FallbackReason.TIMEOUT)


def test_the_quota_counts_in_shadow_too_which_the_mode_then_keeps_from_denying() -> None:
    assert judge(known(), settings=GateSettings(mode=Mode.SHADOW)).quota_counts


async def test_the_plan_alone_may_be_older() -> None:
    lookup: FakeLookup[str, BillingRecord] = FakeLookup()
    gate = BillingGate(lookup=lookup, control=GateControl(Gate.BILLING), plans=PLANS, plan_ttl=300.0)
    gate.peek("acme", plan_only=True)
    gate.peek("acme", plan_only=False)
    assert lookup.peeked == [("acme", 300.0), ("acme", None)]


@pytest.mark.parametrize(
    ("onboarding", "limits"), [(PENDING, WHILE_ONBOARDING), (COMPLETE, UNLIMITED), (None, UNLIMITED)]
)
def test_a_gate_that_is_not_asked_knows_neither_standing_nor_plan(
    onboarding: Onboarding | None, limits: Limits
) -> None:
    lookup: FakeLookup[str, BillingRecord] = FakeLookup()
    control = GateControl(Gate.BILLING, GateSettings(mode=Mode.OFF))
    ruling = BillingGate(lookup=lookup, control=control, plans=PLANS, plan_ttl=1.0).skip(onboarding)
    assert ruling == BillingRuling(None, control.skipped, None, None, limits, quota_counts=False)
