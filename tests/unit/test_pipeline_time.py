"""What happens when: at once, one after the other, and with how much time (spec 4)."""

import asyncio

import pytest

from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision, FallbackReason, Gate, Mode, Reason, Source
from extauthz.model.lifecycle import LifecycleState
from extauthz.testing.builders import make_request
from extauthz.testing.clock import FakeClock, in_virtual_time
from extauthz.testing.stage import Stage, report_of

RUN = make_request("/api/v1/runs", "POST")


def stage_in_virtual_time(lifecycle: float = 0.0, billing: float = 0.0, charge: float = 0.0) -> Stage:
    """Nothing is cached; the providers take that many seconds."""
    stage = Stage(asyncio.get_running_loop().time)
    stage.lifecycle.cached = stage.billing.cached = False
    stage.lifecycle.delay, stage.billing.delay, stage.charger.delay = lifecycle, billing, charge
    return stage


def seconds_of(decision: Decision) -> dict[Gate, float]:
    return {made.gate: round(made.seconds, 6) for made in decision.reports}


def test_with_everything_cached_nothing_suspends_and_no_task_is_made() -> None:
    """Driven by hand, without any event loop: whatever waited would have to yield."""
    stage = Stage(clock := FakeClock())
    decision = stage.pipeline.decide(RUN, Deadline.after(1.0, clock))
    with pytest.raises(StopIteration) as ended:
        decision.send(None)
    assert ended.value.value.allowed
    assert not stage.lifecycle.got + stage.billing.got
    assert len(stage.charger.consumed) == 1


@in_virtual_time
async def test_lifecycle_and_billing_are_looked_up_at_the_same_time() -> None:
    stage = stage_in_virtual_time(lifecycle=0.2, billing=0.15)
    started = stage.clock()
    decision = await stage.decide(RUN)
    assert decision.allowed
    assert stage.clock() - started == pytest.approx(0.2)
    assert seconds_of(decision) == {Gate.AUTH: 0.0, Gate.LIFECYCLE: 0.2, Gate.BILLING: 0.0, Gate.PROTECTION: 0.0}


@in_virtual_time
async def test_billing_that_takes_longer_adds_the_rest() -> None:
    stage = stage_in_virtual_time(lifecycle=0.1, billing=0.25, charge=0.05)
    decision = await stage.decide(RUN)
    assert seconds_of(decision) == {Gate.AUTH: 0.0, Gate.LIFECYCLE: 0.1, Gate.BILLING: 0.15, Gate.PROTECTION: 0.05}


@in_virtual_time
async def test_a_cached_half_is_not_asked_again() -> None:
    stage = stage_in_virtual_time(lifecycle=0.1)
    stage.billing.cached = True
    assert (await stage.decide(RUN)).allowed
    assert (len(stage.billing.peeked), stage.billing.got) == (1, [])
    stage = stage_in_virtual_time(billing=0.1)
    stage.lifecycle.cached = True
    assert (await stage.decide(RUN)).allowed
    assert stage.lifecycle.got == []
    assert (len(stage.billing.peeked), len(stage.billing.got)) == (1, 1)


@in_virtual_time
async def test_a_cached_denial_of_lifecycle_spares_billing() -> None:
    stage = stage_in_virtual_time()
    stage.lifecycle.cached = True
    stage.tenant(LifecycleState.TERMINATED)
    assert (await stage.decide(RUN)).gate is Gate.LIFECYCLE
    assert not stage.billing.peeked + stage.billing.got


@in_virtual_time
async def test_a_denial_of_lifecycle_does_not_wait_for_billing_and_leaves_it_alone() -> None:
    stage = stage_in_virtual_time(lifecycle=0.1, billing=0.5)
    stage.tenant(LifecycleState.TERMINATED)
    started = stage.clock()
    assert (await stage.decide(RUN)).gate is Gate.LIFECYCLE
    assert stage.clock() - started == pytest.approx(0.1)
    assert (len(stage.billing.got), stage.billing.ended) == (1, 0)
    await asyncio.sleep(1.0)
    assert stage.billing.ended == 1  # by itself: it was not cancelled


@in_virtual_time
async def test_billing_that_is_off_is_not_looked_up_ahead() -> None:
    stage = stage_in_virtual_time(lifecycle=0.1)
    stage.set(Gate.BILLING, Mode.OFF)
    assert (await stage.decide(RUN)).allowed
    assert not stage.billing.peeked + stage.billing.got


@pytest.mark.parametrize(
    ("budget", "kept"),
    [(1.0, 0.1), (0.2, 0.3 * 0.19), (10.0, 0.1)],
    ids=["the charge's own deadline", "30 % of Envoy's default", "never more than the charge can use"],
)
def test_time_is_kept_for_the_charge_however_long_the_look_ups_hang(budget: float, kept: float) -> None:
    @in_virtual_time
    async def hung() -> None:
        stage = stage_in_virtual_time(lifecycle=60.0, billing=60.0, charge=kept * 0.99)
        started = stage.clock()
        decision = await stage.decide(RUN, budget=budget)
        assert decision.allowed
        assert decision.degraded == (Gate.LIFECYCLE, Gate.BILLING)
        assert report_of(decision, Gate.LIFECYCLE).fallback is FallbackReason.BUDGET
        assert report_of(decision, Gate.LIFECYCLE).seconds == pytest.approx(budget - 0.01 - kept)
        assert report_of(decision, Gate.PROTECTION).source is Source.PROVIDER  # limits hold
        assert len(stage.charger.consumed) == 1
        assert stage.charger.deadlines[0].at == pytest.approx(started + budget - 0.01)

    hung()


@pytest.mark.parametrize("path", ["/api/v1/auth/refresh", "/api/v1/things"])
def test_nothing_is_kept_where_there_is_no_charge(path: str) -> None:
    @in_virtual_time
    async def hung() -> None:
        stage = stage_in_virtual_time(lifecycle=60.0)
        stage.set(Gate.PROTECTION, Mode.OFF)
        decision = await stage.decide(make_request(path), budget=0.2)
        assert decision.allowed
        assert report_of(decision, Gate.LIFECYCLE).seconds == pytest.approx(0.19)

    hung()


@in_virtual_time
async def test_billing_alone_keeps_time_for_the_charge_too() -> None:
    stage = stage_in_virtual_time(billing=60.0)
    stage.lifecycle.cached = True
    decision = await stage.decide(RUN, budget=1.0)
    assert report_of(decision, Gate.BILLING).seconds == pytest.approx(0.99 - 0.1)


@in_virtual_time
async def test_a_budget_that_was_gone_on_arrival_still_finds_what_is_cached() -> None:
    stage = stage_in_virtual_time()
    stage.lifecycle.cached = stage.billing.cached = True
    deadline = Deadline(stage.clock() - 0.005, stage.clock() + 0.005, stage.clock)
    decision = await stage.pipeline.decide(RUN, deadline)
    assert report_of(decision, Gate.BILLING).source is Source.CACHE
    stage.lifecycle.cached = stage.billing.cached = False
    stage.lifecycle.delay = stage.billing.delay = 0.001
    decision = await stage.pipeline.decide(RUN, deadline)
    assert report_of(decision, Gate.LIFECYCLE).fallback is FallbackReason.BUDGET


async def late(path: str = "/api/v1/runs", state: LifecycleState = LifecycleState.ACTIVE) -> Decision:
    """A check that was held up until nobody listened any more."""
    clock = FakeClock()
    stage = Stage(clock)
    stage.tenant(state)
    deadline = Deadline.after(1.0, clock)
    clock.advance(5.0)
    return await stage.pipeline.decide(make_request(path), deadline)


async def test_the_deadline_is_looked_at_again_after_the_last_gate() -> None:
    decision = await late()
    assert (decision.gate, decision.reason) == (Gate.REQUEST, Reason.OVERLOADED)
    assert decision.denial is not None
    assert decision.denial.retry_after_ms == 1000


async def test_a_denial_stays_what_it_is_however_late() -> None:
    assert (await late(state=LifecycleState.TERMINATED)).reason is Reason.TERMINATED


async def test_a_public_request_waits_for_nobody_and_is_never_late() -> None:
    assert (await late("/health")).allowed


@in_virtual_time
async def test_a_caller_that_leaves_while_it_waits_for_lifecycle_takes_nothing_down() -> None:
    stage = stage_in_virtual_time(lifecycle=0.3, billing=0.2)
    leaving = asyncio.create_task(stage.decide(RUN))
    await asyncio.sleep(0.1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.sleep(1.0)
    assert (await stage.decide(RUN)).allowed
    assert len(stage.charger.charges) == 1


@in_virtual_time
async def test_a_caller_that_leaves_while_it_waits_for_billing_takes_nothing_down() -> None:
    stage = stage_in_virtual_time(lifecycle=0.1, billing=0.3)
    leaving = asyncio.create_task(stage.decide(RUN))
    await asyncio.sleep(0.2)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await stage.decide(RUN)).allowed
    assert len(stage.charger.charges) == 1


@in_virtual_time
async def test_the_explanation_has_a_budget_of_its_own() -> None:
    stage = stage_in_virtual_time(lifecycle=60.0, billing=60.0)
    started = stage.clock()
    decision = await stage.pipeline.explain("acme", "POST", "/api/v1/runs")
    assert decision.degraded == (Gate.LIFECYCLE, Gate.BILLING)
    assert stage.clock() - started == pytest.approx(0.9)
