"""The charge of spec section 4, in virtual time: once, in time, and a flood of one tenant waits its turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest

from extauthz.errors import InvalidRecord, ProviderBusy, ProviderError
from extauthz.model.billing import Limits
from extauthz.model.deadline import Deadline
from extauthz.model.decision import FallbackReason
from extauthz.model.protection import Charge, ChargeResult, Dimension, Exceeded, Usage
from extauthz.ports import CacheResult, CircuitState, Unavailable
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.bulkhead import Bulkhead
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.policy import BreakerPolicy, ChargePolicy
from extauthz.testing import in_virtual_time

Behaviour = Callable[[Charge], Awaitable[ChargeResult]]

TIMEOUT = 0.1
RESET = 30.0
CHARGED = ChargeResult(charged=True)
DENIED = ChargeResult(
    charged=False, exceeded=(Exceeded(dimension=Dimension.RATE, wait_us=1_000_000, current=60, allowed=60),)
)


class Log:
    """A provider observer that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, bool]] = []
        self.refusals = 0

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        assert operation == "charge"
        self.calls.append((round(seconds, 6), answered))

    def refused(self, operation: str) -> None:
        assert operation == "charge"
        self.refusals += 1

    def cache(self, result: CacheResult) -> None:
        raise AssertionError(f"a charge is never cached: {result}")

    def circuit(self, state: CircuitState) -> None:
        pass


async def charges(_charge: Charge) -> ChargeResult:
    await asyncio.sleep(0.01)
    return CHARGED


async def fails(_charge: Charge) -> ChargeResult:
    await asyncio.sleep(0.01)
    raise ProviderError("no answer")


def unsent() -> ProviderError:
    error = ProviderError("not connected")
    error.asked = False
    return error


async def hangs(_charge: Charge) -> ChargeResult:
    await asyncio.Event().wait()
    raise AssertionError


class Remote:
    """A protection provider behind a network, which does what `behaviour` says."""

    in_process: ClassVar[bool] = False

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.seen: list[Charge] = []
        self.running: list[str] = []

    async def charge(self, charge: Charge) -> ChargeResult:
        self.seen.append(charge)
        self.running.append(charge.tenant_id)
        try:
            return await self.behaviour(charge)
        finally:
            self.running.remove(charge.tenant_id)

    async def usage(self, tenant_id: str) -> Usage:
        raise NotImplementedError(tenant_id)

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        raise NotImplementedError(tenant_id, cost, idempotency_key)

    async def clear(self, tenant_id: str | None) -> None:
        raise NotImplementedError(tenant_id)


class Embedded(Remote):
    in_process: ClassVar[bool] = True


class World:
    """A charge guard, its provider, and everything it tells."""

    def __init__(self, behaviour: Behaviour = charges, *, in_process: bool = False, max_in_flight: int = 8) -> None:
        self.clock = asyncio.get_running_loop().time
        self.provider = (Embedded if in_process else Remote)(behaviour)
        self.log = Log()
        self.breaker = Breaker(
            provider="protection",
            policy=BreakerPolicy(failures=3, window=10.0, reset=RESET),
            clock=self.clock,
            observer=self.log,
            spread=lambda: 1.0,
        )
        self.learnt: list[tuple[str, ChargeResult]] = []
        self.guard = ChargeGuard(
            learn=lambda charge, result: self.learnt.append((charge.tenant_id, result)),
            provider=self.provider,
            policy=ChargePolicy(timeout=TIMEOUT, max_in_flight=max_in_flight),
            breaker=self.breaker,
            observer=self.log,
            clock=self.clock,
        )

    def state(self) -> CircuitState:
        return self.breaker.state

    async def charge(
        self, tenant: str = "t", seconds: float = 1.0, *, cost: int = 0, commit: bool = True
    ) -> ChargeResult:
        blocking = frozenset({Dimension.RATE})
        charge = Charge(tenant_id=tenant, limits=Limits(rate=60), blocking=blocking, cost=cost, commit=commit)
        return await self.guard.charge(charge, Deadline.after(seconds, self.clock))

    async def refused(self, tenant: str = "t", seconds: float = 1.0) -> Unavailable:
        with pytest.raises(Unavailable) as caught:
            await self.charge(tenant, seconds)
        return caught.value


# In process


@in_virtual_time
async def test_a_provider_in_process_is_awaited_in_the_task_of_the_caller() -> None:
    tasks: list[object] = []

    async def looks(_charge: Charge) -> ChargeResult:
        tasks.append(asyncio.current_task())
        return DENIED

    world = World(looks, in_process=True)
    assert await world.charge(seconds=-1) == DENIED
    assert tasks == [asyncio.current_task()]
    assert world.log.calls == [(0.0, True)]


def raises(error: BaseException) -> Behaviour:
    async def explodes(_charge: Charge) -> ChargeResult:
        raise error

    return explodes


@in_virtual_time
async def test_a_bad_record_or_a_busy_provider_in_process_is_told_as_error_and_is_no_failure() -> None:
    world = World(in_process=True)
    for error in (InvalidRecord("bad"), ProviderBusy("full")):
        world.provider.behaviour = raises(error)
        for _ in range(5):
            assert (await world.refused()).reason is FallbackReason.ERROR
    assert world.log.calls == [(0.0, True)] * 5 + [(0.0, False)] * 5
    assert not world.breaker.failing


@in_virtual_time
async def test_a_provider_in_process_that_raises_opens_its_circuit() -> None:
    world = World(raises(ValueError("boom")), in_process=True)
    told = [(await world.refused()).reason for _ in range(5)]
    assert told == [FallbackReason.ERROR] * 3 + [FallbackReason.CIRCUIT_OPEN] * 2
    assert (world.log.calls, world.log.refusals) == ([(0.0, False)] * 3, 2)
    assert (await world.refused()).retry_after_ms == RESET * 1000


@in_virtual_time
async def test_a_circuit_opened_by_hand_keeps_a_provider_in_process_from_being_charged() -> None:
    world = World(in_process=True)
    world.breaker.open()
    assert (await world.refused()).reason is FallbackReason.CIRCUIT_OPEN
    assert world.provider.seen == []
    world.breaker.close()
    assert await world.charge() == CHARGED


@in_virtual_time
async def test_a_caller_in_process_may_be_the_one_try_and_closes_the_circuit() -> None:
    world = World(in_process=True)
    world.breaker.open()
    await asyncio.sleep(RESET)
    charged, refused = await asyncio.gather(world.charge(), world.refused())
    assert (charged, refused.reason) == (CHARGED, FallbackReason.CIRCUIT_OPEN)
    assert world.state() is CircuitState.CLOSED


@in_virtual_time
async def test_a_provider_in_process_is_tried_without_traffic_too() -> None:
    world = World(raises(ValueError("boom")), in_process=True)
    for _ in range(3):
        await world.refused()
    world.provider.behaviour = charges
    await asyncio.sleep(RESET + 0.02)
    assert world.state() is CircuitState.CLOSED
    assert [charge.commit for charge in world.provider.seen] == [True, True, True, False]


@in_virtual_time
async def test_a_cancellation_in_process_is_neither_an_error_nor_an_answer() -> None:
    world = World(hangs, in_process=True)
    caller = asyncio.ensure_future(world.charge())
    await asyncio.sleep(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert world.log.calls == []
    assert not world.breaker.failing


# Over a network


@in_virtual_time
async def test_every_charge_is_made_by_itself() -> None:
    world = World(max_in_flight=64)
    results = await asyncio.gather(*(world.charge() for _ in range(10)))
    assert results == [CHARGED] * 10
    assert len(world.provider.seen) == 10
    assert world.log.calls == [(0.01, True)] * 10


@in_virtual_time
async def test_over_the_limit_is_an_answer() -> None:
    async def denies(_charge: Charge) -> ChargeResult:
        return DENIED

    world = World(denies)
    for _ in range(10):
        assert await world.charge() == DENIED
    assert not world.breaker.failing


@in_virtual_time
async def test_a_failure_is_told_as_error_and_is_never_retried() -> None:
    world = World(fails)
    assert (await world.refused()).reason is FallbackReason.ERROR
    assert len(world.provider.seen) == 1
    assert world.breaker.view().failures == 1


@in_virtual_time
async def test_a_hung_provider_is_a_timeout_at_its_deadline_and_opens_the_circuit() -> None:
    world = World(hangs)
    refusals = [await world.refused() for _ in range(3)]
    assert [refused.reason for refused in refusals] == [FallbackReason.TIMEOUT] * 3
    assert [refused.retry_after_ms for refused in refusals] == [None, None, 30_000]
    assert world.clock() == pytest.approx(1_000.3)
    assert world.log.calls == [(0.1, False)] * 3
    assert (await world.refused()).reason is FallbackReason.CIRCUIT_OPEN
    assert world.log.refusals == 1
    assert world.clock() == pytest.approx(1_000.3)


@in_virtual_time
async def test_a_caller_who_always_gives_up_first_opens_the_circuit_all_the_same() -> None:
    world = World(hangs)
    for _ in range(3):
        assert (await world.refused(seconds=0.05)).reason is FallbackReason.BUDGET
        await asyncio.sleep(TIMEOUT)
    assert world.state() is CircuitState.OPEN


@in_virtual_time
async def test_without_budget_nothing_is_charged() -> None:
    world = World()
    assert (await world.refused(seconds=0.0)).reason is FallbackReason.BUDGET
    assert world.provider.seen == []


@in_virtual_time
async def test_a_caller_who_is_cancelled_leaves_the_charge_to_its_end() -> None:
    world = World()
    caller = asyncio.ensure_future(world.charge())
    await asyncio.sleep(0.005)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(0.01)
    assert world.log.calls == [(0.01, True)]
    assert not world.breaker.failing


@in_virtual_time
async def test_a_provider_without_a_free_connection_is_a_full_bulkhead_and_no_failure() -> None:
    async def busy(_charge: Charge) -> ChargeResult:
        raise ProviderBusy("all connections are in use")

    world = World(busy)
    for _ in range(5):
        assert (await world.refused()).reason is FallbackReason.BULKHEAD
    assert not world.breaker.failing
    assert world.log.refusals == 5


# What was refused


async def denies(_charge: Charge) -> ChargeResult:
    return DENIED


@in_virtual_time
async def test_a_refusal_is_told_again_for_a_second_without_asking() -> None:
    world = World(denies)
    assert await world.charge() == DENIED
    await asyncio.sleep(0.25)
    again = await world.charge()
    assert (again.charged, again.exceeded[0].wait_us) == (False, 750_000)
    assert len(world.provider.seen) == 1
    await asyncio.sleep(0.75)
    assert await world.charge() == DENIED
    assert len(world.provider.seen) == 2
    assert world.guard.stats().remembered == 1
    assert world.guard.stats().refused_tenants == 1


@in_virtual_time
async def test_another_tenant_cost_or_a_mere_look_is_asked_for_itself() -> None:
    world = World(denies)
    await world.charge("t")
    await world.charge("u")
    await world.charge("t", cost=1)
    await world.charge("t", commit=False)
    await world.charge("v", commit=False)
    await world.charge("v")
    assert len(world.provider.seen) == 6
    await world.charge("t")
    assert len(world.provider.seen) == 6


@in_virtual_time
async def test_an_allow_is_never_remembered() -> None:
    world = World()
    for _ in range(3):
        await world.charge()
    assert len(world.provider.seen) == 3
    assert world.guard.stats().refused_tenants == 0


@in_virtual_time
async def test_while_a_refusal_is_remembered_neither_circuit_nor_budget_matters() -> None:
    world = World(denies)
    await world.charge()
    world.breaker.open()
    assert not (await world.charge(seconds=0.0)).charged
    assert (await world.refused("u")).reason is FallbackReason.CIRCUIT_OPEN


@pytest.mark.parametrize("drop", [lambda guard: guard.forget("t"), lambda guard: guard.clear()])
@in_virtual_time
async def test_a_clearing_of_limits_or_a_plan_change_drops_what_was_refused(
    drop: Callable[[ChargeGuard], None],
) -> None:
    world = World(denies)
    await world.charge()
    drop(world.guard)
    world.provider.behaviour = charges
    assert await world.charge() == CHARGED


@in_virtual_time
async def test_a_refusal_on_its_way_while_limits_are_cleared_is_not_remembered() -> None:
    async def denies_later(_charge: Charge) -> ChargeResult:
        await asyncio.sleep(0.01)
        return DENIED

    world = World(denies_later)
    caller = asyncio.ensure_future(world.charge())
    await asyncio.sleep(0.005)
    world.guard.forget("t")
    assert await caller == DENIED
    world.provider.behaviour = charges
    assert await world.charge() == CHARGED


@in_virtual_time
async def test_who_waits_for_a_turn_is_told_what_those_before_were_told() -> None:
    async def denies_later(_charge: Charge) -> ChargeResult:
        await asyncio.sleep(0.01)
        return DENIED

    world = World(denies_later, max_in_flight=8)
    results = await asyncio.gather(*(world.charge() for _ in range(20)))
    assert {result.charged for result in results} == {False}
    assert len(world.provider.seen) == 2
    assert world.guard.stats().in_flight == 0
    assert world.guard.stats().remembered == 18


@in_virtual_time
async def test_an_embedded_provider_is_always_asked() -> None:
    world = World(denies, in_process=True)
    for _ in range(3):
        assert await world.charge() == DENIED
    assert len(world.provider.seen) == 3


# What is told to who counts in the provider's place


@in_virtual_time
async def test_answers_are_learnt_those_too_that_come_after_the_caller_has_gone() -> None:
    world = World()
    await world.charge("t")
    assert (await world.refused("u", seconds=0.005)).reason is FallbackReason.BUDGET
    assert world.learnt == [("t", CHARGED)]
    await asyncio.sleep(0.01)
    assert world.learnt == [("t", CHARGED), ("u", CHARGED)]


@in_virtual_time
async def test_a_mere_look_a_failure_and_what_was_cleared_meanwhile_teach_nothing() -> None:
    world = World()
    await world.charge(commit=False)
    caller = asyncio.ensure_future(world.charge())
    await asyncio.sleep(0.005)
    world.guard.forget("t")
    await caller
    world.provider.behaviour = fails
    await world.refused()
    assert world.learnt == []


@in_virtual_time
async def test_who_was_refused_by_ourselves_never_asked_the_provider() -> None:
    world = World(hangs, max_in_flight=4)
    held = [asyncio.ensure_future(world.refused(f"t{number}")) for number in range(4)]
    await asyncio.sleep(0.01)
    refusals = [await world.refused("t9"), await world.refused(seconds=0.0)]
    world.breaker.open()
    refusals += [await world.refused()]
    assert [each.reason for each in refusals] == [
        FallbackReason.BULKHEAD,
        FallbackReason.BUDGET,
        FallbackReason.CIRCUIT_OPEN,
    ]
    assert not any(each.asked for each in refusals)
    await asyncio.gather(*held)


@pytest.mark.parametrize(
    ("error", "asked"), [(ProviderError("connection lost"), True), (unsent(), False), (ProviderBusy("full"), False)]
)
@in_virtual_time
async def test_a_failure_says_whether_the_provider_may_have_counted_it(error: Exception, asked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def raises(_charge: Charge) -> ChargeResult:
        raise error

    assert (await World(raises).refused()).asked is asked


@in_virtual_time
async def test_who_gives_up_on_a_charge_under_way_asked() -> None:
    world = World(hangs)
    assert (await world.refused(seconds=0.05)).asked
    assert (await world.refused()).asked


# Taking turns


@in_virtual_time
async def test_a_tenant_above_its_share_waits_its_turn_and_delays_nobody_else() -> None:
    world = World(max_in_flight=8)
    flood = [asyncio.ensure_future(world.charge("greedy")) for _ in range(10)]
    await asyncio.sleep(0.005)
    assert world.provider.running == ["greedy", "greedy"]
    started = world.clock()
    assert await world.charge("other") == CHARGED
    assert world.clock() - started == pytest.approx(0.01)
    assert await asyncio.gather(*flood) == [CHARGED] * 10
    assert world.clock() == pytest.approx(1_000.05)  # five rounds of two


@in_virtual_time
async def test_who_waits_longest_comes_first() -> None:
    world = World(max_in_flight=4)
    order: list[int] = []

    async def caller(number: int) -> None:
        await world.charge("greedy")
        order.append(number)

    await asyncio.gather(*(caller(n) for n in range(8)))
    assert order == list(range(8))


@in_virtual_time
async def test_whose_turn_does_not_come_in_time_is_refused_by_the_bulkhead() -> None:
    world = World(hangs, max_in_flight=4)
    first = asyncio.ensure_future(world.refused("greedy"))
    await asyncio.sleep(0.01)
    refused = await world.refused("greedy", seconds=0.03)
    assert refused.reason is FallbackReason.BULKHEAD
    assert world.clock() == pytest.approx(1_000.04)
    assert world.log.refusals == 1
    await first
    assert world.breaker.view().failures == 1


@in_virtual_time
async def test_a_full_bulkhead_refuses_at_once() -> None:
    world = World(hangs, max_in_flight=4)
    held = [asyncio.ensure_future(world.refused(f"t{n}")) for n in range(4)]
    await asyncio.sleep(0.01)
    assert (await world.refused("t9")).reason is FallbackReason.BULKHEAD
    assert world.clock() == pytest.approx(1_000.01)
    await asyncio.gather(*held)


@in_virtual_time
async def test_who_is_cancelled_while_waiting_for_a_turn_loses_no_slot() -> None:
    world = World(max_in_flight=4)
    first = asyncio.ensure_future(world.charge("greedy"))
    await asyncio.sleep(0.005)
    waiting = [asyncio.ensure_future(world.charge("greedy")) for _ in range(3)]
    await asyncio.sleep(0.001)
    waiting[0].cancel()
    assert await asyncio.gather(first, *waiting[1:]) == [CHARGED] * 3
    assert waiting[0].cancelled()
    assert await world.charge("greedy") == CHARGED


@in_virtual_time
async def test_waiting_for_a_turn_ends_when_the_circuit_opens() -> None:
    world = World(fails, max_in_flight=4)
    reasons = [r.reason for r in await asyncio.gather(*(world.refused("greedy") for _ in range(6)))]
    assert reasons == [FallbackReason.ERROR] * 3 + [FallbackReason.CIRCUIT_OPEN] * 3
    assert len(world.provider.seen) == 3


# The bulkhead by itself


@in_virtual_time
async def test_a_slot_that_comes_together_with_a_cancellation_goes_to_the_next() -> None:
    bulkhead = Bulkhead(4)
    assert bulkhead.enter("t")
    cancelled = asyncio.ensure_future(bulkhead.enter_in_turn("t", 10))
    following = asyncio.ensure_future(bulkhead.enter_in_turn("t", 10))
    await asyncio.sleep(0)
    bulkhead.leave("t")
    cancelled.cancel()
    assert await following is True
    assert bulkhead.in_flight == 1
    bulkhead.leave("t")
    assert bulkhead.in_flight == 0


@in_virtual_time
async def test_a_slot_that_comes_as_patience_ends_is_taken() -> None:
    bulkhead = Bulkhead(4)
    assert bulkhead.enter("t")
    asyncio.get_running_loop().call_later(1.0, bulkhead.leave, "t")
    assert await bulkhead.enter_in_turn("t", 1.0) is True
    assert bulkhead.in_flight == 1


@in_virtual_time
async def test_a_turn_that_comes_after_the_deadline_charges_nothing_and_frees_the_slot() -> None:
    world = World(max_in_flight=4)
    bulkhead = world.guard._bulkhead
    assert bulkhead.enter("t")
    asyncio.get_running_loop().call_later(0.05, bulkhead.leave, "t")
    assert (await world.refused("t", seconds=0.05)).reason is FallbackReason.BUDGET
    assert world.provider.seen == []
    assert bulkhead.in_flight == 0


# The circuit


@in_virtual_time
async def test_a_circuit_without_traffic_is_tried_without_charging_anything() -> None:
    world = World(fails)
    for _ in range(3):
        await world.refused()
    world.provider.behaviour = charges
    await asyncio.sleep(RESET + 0.02)
    assert world.state() is CircuitState.CLOSED
    assert [charge.commit for charge in world.provider.seen] == [True, True, True, False]


@pytest.mark.parametrize("in_process", [False, True])
@in_virtual_time
async def test_a_circuit_opened_by_hand_on_a_healthy_provider_is_tried_without_charging_anything(
    *, in_process: bool
) -> None:
    world = World(in_process=in_process)
    await world.charge()
    world.breaker.open()
    await asyncio.sleep(RESET + 0.02)
    assert world.state() is CircuitState.CLOSED
    assert [charge.commit for charge in world.provider.seen] == [True, False]


@in_virtual_time
async def test_a_circuit_opened_by_hand_before_any_charge_waits_for_traffic() -> None:
    world = World()
    world.breaker.open()
    await asyncio.sleep(RESET * 2)
    assert world.provider.seen == []
    assert await world.charge() == CHARGED
    assert world.state() is CircuitState.CLOSED


@in_virtual_time
async def test_half_open_under_a_thousand_callers_is_exactly_one_try() -> None:
    world = World()
    world.breaker.open()
    await asyncio.sleep(RESET)
    results = await asyncio.gather(*(world.charge(f"t{n}") for n in range(1_000)), return_exceptions=True)
    assert len(world.provider.seen) == 1
    assert results.count(CHARGED) == 1
    assert sum(isinstance(r, Unavailable) and r.reason is FallbackReason.CIRCUIT_OPEN for r in results) == 999


@in_virtual_time
async def test_a_closed_guard_charges_no_more() -> None:
    world = World(hangs)
    caller = asyncio.ensure_future(world.refused())
    await asyncio.sleep(0.01)
    await world.guard.close()
    assert (await caller).reason is FallbackReason.ERROR
    assert (await world.refused()).reason is FallbackReason.ERROR
    assert len(world.provider.seen) == 1
    assert not world.breaker.failing
