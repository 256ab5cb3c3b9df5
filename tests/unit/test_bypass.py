"""The emergency bypass at the gates (spec 3.7 and 4): no provider is called, nobody is denied, nothing is degraded."""

from itertools import product

import pytest

from extauthz.gates.base import GateControl, GateSettings, Stopwatch
from extauthz.gates.billing import BillingGate
from extauthz.gates.limits import Actions
from extauthz.model.billing import BillingRecord, BillingState, Limits
from extauthz.model.deadline import Deadline
from extauthz.model.decision import FAIL_OPEN_GATES, Decision, FallbackReason, Gate, Mode, OnFailure, Reason, Source
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.model.protection import Dimension, Exceeded
from extauthz.pipeline import RuleBook
from extauthz.ports import Unavailable
from extauthz.routing import RouteTable
from extauthz.testing.builders import make_plan, make_plans, make_request
from extauthz.testing.clock import FakeClock
from extauthz.testing.fakes import FakeLookup
from extauthz.testing.stage import Stage, report_of

SETTINGS = [GateSettings(mode=mode, on_failure=failure) for mode, failure in product(Mode, OnFailure)]
OVER = Exceeded(dimension=Dimension.QUOTA, wait_us=1_000_000, current=1000, allowed=1000)


def bypassed(*gates: Gate) -> Stage:
    stage = Stage(FakeClock())
    for gate in gates:
        stage.controls[gate].bypass(active=True)
    return stage


async def run(stage: Stage, method: str = "POST") -> Decision:
    return await stage.decide(make_request("/api/v1/runs", method))


# The control


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_bypass_comes_before_the_mode_and_leaves_the_settings_alone(settings: GateSettings) -> None:
    gate = GateControl(Gate.BILLING, settings)
    gate.bypass(active=True)
    assert (gate.bypassed, gate.asked, gate.enforces, gate.mode) == (True, False, False, "bypass")
    assert (gate.skipped.verdict, gate.skipped.mode, gate.skipped.source) == ("skip", "bypass", Source.NONE)
    gate.bypass(active=False)
    assert gate.settings == settings
    assert (gate.asked, gate.enforces) == (settings.mode is not Mode.OFF, settings.mode is Mode.ENFORCE)
    assert (gate.mode, gate.skipped.mode) == (settings.mode.value, settings.mode.value)


@pytest.mark.parametrize("settings", SETTINGS)
def test_new_settings_end_no_bypass_and_hold_when_it_has_ended(settings: GateSettings) -> None:
    gate = GateControl(Gate.BILLING)
    gate.bypass(active=True)
    gate.change(settings)
    assert (gate.bypassed, gate.asked, gate.enforces, gate.mode) == (True, False, False, "bypass")
    gate.bypass(active=False)
    assert (gate.settings, gate.mode) == (settings, settings.mode.value)


# The pipeline


@pytest.mark.parametrize("gate", FAIL_OPEN_GATES)
async def test_new_rules_end_no_bypass_and_the_control_is_the_same_before_and_after(gate: Gate) -> None:
    stage = bypassed(gate)
    assert stage.pipeline.controls == stage.controls
    shadow = GateSettings(mode=Mode.SHADOW)
    plans = make_plans(make_plan())
    stage.pipeline.change(
        RuleBook(
            routes=RouteTable(),
            strip_authorization=False,
            lifecycle=shadow,
            billing=shadow,
            plans=plans,
            protection=shadow,
            actions=Actions(),
        )
    )
    assert stage.pipeline.controls == stage.controls
    modes = {each: report_of(await run(stage), each).mode for each in FAIL_OPEN_GATES}
    assert modes == {each: "bypass" if each is gate else "shadow" for each in FAIL_OPEN_GATES}
    stage.controls[gate].bypass(active=False)
    assert report_of(await run(stage), gate).mode == "shadow"


@pytest.mark.parametrize("gate", FAIL_OPEN_GATES)
async def test_a_bypassed_gate_calls_no_provider_and_says_skip_and_bypass(gate: Gate) -> None:
    stage = bypassed(gate)
    decision = await run(stage)
    asked = {
        Gate.LIFECYCLE: stage.lifecycle.peeked + stage.lifecycle.got,
        Gate.BILLING: stage.billing.peeked + stage.billing.got,
        Gate.PROTECTION: stage.charger.charges,
    }
    assert {each: bool(calls) for each, calls in asked.items()} == {each: each is not gate for each in FAIL_OPEN_GATES}
    made = report_of(decision, gate)
    assert (made.verdict, made.mode, made.source, made.fallback, made.shadow) == (
        "skip", "bypass", Source.NONE, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(("gate", "on_failure"), list(product(FAIL_OPEN_GATES, OnFailure)))
async def test_a_bypass_comes_before_the_failure_mode_and_is_not_degraded(gate: Gate, on_failure: OnFailure) -> None:
    stage = bypassed(gate)
    stage.set(gate, Mode.ENFORCE, on_failure)
    outage = Unavailable(FallbackReason.CIRCUIT_OPEN)
    if gate is Gate.LIFECYCLE:
        stage.lifecycle.outage = outage
    elif gate is Gate.BILLING:
        stage.billing.outage = outage
    else:
        stage.charger.outage = outage
    decision = await run(stage)
    assert decision.allowed
    assert decision.degraded == ()


async def test_lifecycle_bypassed_lets_a_suspended_tenant_run_and_billing_denies_nothing_meanwhile() -> None:
    stage = bypassed(Gate.LIFECYCLE)
    stage.tenant(state=LifecycleState.SUSPENDED, billing=BillingState.SUSPENDED)
    decision = await run(stage)
    assert decision.allowed  # whether onboarding is complete is not known, so billing has no say (BILLING-001)
    assert decision.facts.lifecycle is None
    stage.controls[Gate.LIFECYCLE].bypass(active=False)
    assert (await run(stage)).reason is Reason.SUSPENDED


async def test_billing_bypassed_counts_and_does_not_enforce_limits() -> None:
    stage = bypassed(Gate.BILLING)
    stage.tenant(billing=BillingState.SUSPENDED)
    decision = await run(stage)
    assert decision.allowed
    assert (decision.facts.billing, decision.facts.plan) == (None, None)
    assert [charge.limits for charge in stage.charger.consumed] == [Limits()]


async def test_billing_bypassed_keeps_rate_and_burst_before_onboarding_is_complete() -> None:
    stage = bypassed(Gate.BILLING)
    stage.tenant(onboarding=Onboarding.PENDING)
    await run(stage)
    (charge,) = stage.charger.charges
    assert charge.limits.max_requests_per_day is charge.limits.max_cost_per_day is None
    assert charge.limits.rate is not None


async def test_protection_bypassed_neither_counts_the_day_quota_nor_enforces_it() -> None:
    stage = bypassed(Gate.PROTECTION)
    stage.charger.exceeded = (OVER,)
    decision = await run(stage)
    assert decision.allowed
    assert (stage.charger.charges, stage.charger.consumed) == ([], [])
    assert decision.facts.rate is None
    stage.controls[Gate.PROTECTION].bypass(active=False)
    assert (await run(stage)).reason is Reason.MAX_REQUESTS_PER_DAY


async def test_all_three_bypassed_ask_for_nothing_but_who_it_is() -> None:
    stage = bypassed(*FAIL_OPEN_GATES)
    assert (await run(stage)).allowed
    denied = await stage.decide(make_request("/api/v1/runs", "POST", key=None))
    assert (denied.gate, denied.reason) == (Gate.AUTH, Reason.MISSING_CREDENTIALS)


@pytest.mark.parametrize("mode", Mode)
async def test_billing_bypassed_while_a_check_waits_rules_as_if_it_had_not_been_asked(mode: Mode) -> None:
    control = GateControl(Gate.BILLING, GateSettings(mode=mode))
    lookup: FakeLookup[str, BillingRecord | None] = FakeLookup({"acme": BillingRecord(state=BillingState.SUSPENDED)})
    gate = BillingGate(lookup=lookup, control=control, plans=make_plans(make_plan()), plan_ttl=300.0)
    clock = FakeClock()
    watch, deadline = Stopwatch(clock), Deadline.after(1.0, clock)
    found = await gate.ask("acme", deadline, plan_only=False)
    clock.advance(0.25)
    control.bypass(active=True)
    ruling = gate.judge(found, Onboarding.COMPLETE, watch, consulted=True)
    assert (ruling.denial, ruling.state, ruling.plan, ruling.limits, ruling.quota_counts) == (
        None, None, None, Limits(), False,
    )  # fmt: skip
    assert (ruling.report.verdict, ruling.report.shadow, ruling.report.seconds) == ("skip", None, 0.25)
