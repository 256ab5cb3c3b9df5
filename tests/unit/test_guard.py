"""The guard of spec section 4, in virtual time: an answer in time whatever the provider does, and the right circuit state."""

import asyncio
import contextvars
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from extauthz.errors import InvalidRecord, ProviderBusy, ProviderTimeout
from extauthz.model import trace
from extauthz.model.decision import FallbackReason, Source
from extauthz.ports import CacheResult, CircuitState, Fetched, Unavailable
from extauthz.resilience.policy import CachePolicy
from extauthz.testing import in_virtual_time
from tests.guarded import A_MOMENT, RESET, TIMEOUT, World, answers, deaf, denies, fails, hangs, values

# Answers


@in_virtual_time
async def test_a_miss_is_answered_by_the_provider_and_the_next_by_the_cache() -> None:
    world = World()
    assert world.guard.peek("a") is None
    assert await world.get() == Fetched(value="value of a", source=Source.PROVIDER)
    await asyncio.sleep(2)
    again = Fetched(value="value of a", source=Source.CACHE, age=2.0)
    assert world.guard.peek("a") == again
    assert await world.get() == again
    assert world.loads == ["a"]
    assert world.log.calls == [(0.01, True)]
    assert world.log.cached == [CacheResult.MISS, CacheResult.HIT, CacheResult.HIT]


@in_virtual_time
async def test_after_the_ttl_the_provider_is_asked_again() -> None:
    world = World()
    await world.get()
    await asyncio.sleep(5)
    assert world.guard.peek("a") is None
    assert (await world.get()).source is Source.PROVIDER
    assert world.loads == ["a", "a"]


@in_virtual_time
async def test_the_one_who_asks_may_set_the_age() -> None:
    world = World()
    await world.get()
    await asyncio.sleep(200)
    assert (await world.get(max_age=300.0)).source is Source.CACHE
    assert (await world.get(max_age=0.0)).source is Source.PROVIDER


@in_virtual_time
async def test_no_such_tenant_is_an_answer_and_a_success() -> None:
    async def nobody(_key: str) -> str | None:
        return None

    world = World(nobody)
    for _ in range(10):
        assert (await world.get(max_age=0.0)).value is None
    assert (await world.get()).value is None
    assert world.log.cached[-1] is CacheResult.NEGATIVE
    assert world.state() is CircuitState.CLOSED
    assert not world.breaker.failing


@in_virtual_time
async def test_an_embedded_provider_has_no_bulkhead() -> None:
    world = World(max_in_flight=None)
    results = await asyncio.gather(*(world.get(f"t/{n}") for n in range(1_000)))
    assert len(values(results)) == world.most_running == 1_000


# Failures


@in_virtual_time
async def test_an_error_of_the_provider_is_told_as_error_and_counts() -> None:
    world = World(fails)
    refused = await world.refused()
    assert refused.reason is FallbackReason.ERROR
    assert refused.last_known is None
    assert refused.retry_after_ms is None
    assert world.breaker.view().failures == 1
    assert world.log.calls == [(0.01, False)]


@pytest.mark.parametrize(
    "error", [ValueError("boom"), RecursionError(), asyncio.CancelledError(), ExceptionGroup("x", [OSError()])]
)
@in_virtual_time
async def test_whatever_a_provider_raises_never_comes_out_raw(error: BaseException) -> None:
    async def explodes(_key: str) -> str | None:
        raise error

    world = World(explodes)
    assert (await world.refused()).reason is FallbackReason.ERROR
    assert world.breaker.view().failures == 1


@in_virtual_time
async def test_a_load_that_raises_before_it_can_be_awaited_is_an_error_too() -> None:
    def explodes(_key: str) -> Awaitable[str | None]:
        raise LookupError("no coroutine")

    world = World(explodes)
    assert (await world.refused()).reason is FallbackReason.ERROR


@in_virtual_time
async def test_a_driver_that_is_cancelled_from_elsewhere_does_not_hang_its_callers() -> None:
    tasks: list[asyncio.Task[object]] = []

    async def notes_its_task(_key: str) -> str | None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        return await hangs("")

    world = World(notes_its_task)
    waiting = asyncio.ensure_future(world.refused())
    await asyncio.sleep(0.1)
    tasks[0].cancel()
    assert (await waiting).reason is FallbackReason.ERROR
    assert world.clock() == 1_000.1


@in_virtual_time
async def test_a_record_that_cannot_be_read_is_no_failure_of_the_provider() -> None:
    async def bad_row(_key: str) -> str | None:
        raise InvalidRecord("unknown state")

    world = World(bad_row)
    for _ in range(10):
        assert (await world.refused()).reason is FallbackReason.ERROR
    assert not world.breaker.failing
    assert all(answered for _, answered in world.log.calls)


@in_virtual_time
async def test_a_bad_record_in_half_open_closes_the_circuit() -> None:
    async def bad_row(_key: str) -> str | None:
        raise InvalidRecord("unknown state")

    world = World(bad_row)
    await world.trip()
    await asyncio.sleep(RESET - 0.001)
    assert world.state() is CircuitState.OPEN
    await asyncio.sleep(0.002)
    await world.refused()
    assert world.state() is CircuitState.CLOSED


# Deadlines


@in_virtual_time
async def test_a_hung_provider_is_a_timeout_at_its_own_deadline() -> None:
    world = World(hangs)
    assert (await world.refused(seconds=5)).reason is FallbackReason.TIMEOUT
    assert world.clock() == 1_000.5
    assert world.log.calls == [(0.5, False)]
    assert world.breaker.view().last_error == "ProviderTimeout"


@in_virtual_time
async def test_a_driver_that_notices_no_cancellation_delays_nobody() -> None:
    world = World(deaf)
    assert (await world.refused(seconds=5)).reason is FallbackReason.TIMEOUT
    assert world.clock() == 1_000.5
    await asyncio.sleep(20)
    assert world.running == 0
    assert world.guard.peek("a") is None


@in_virtual_time
async def test_the_time_of_the_caller_ends_first() -> None:
    world = World(hangs)
    assert (await world.refused(seconds=0.2)).reason is FallbackReason.BUDGET
    assert world.clock() == 1_000.2
    assert world.log.calls == []


@in_virtual_time
async def test_both_deadlines_at_once_are_the_timeout_of_the_provider() -> None:
    world = World(hangs)
    assert (await world.refused(seconds=TIMEOUT)).reason is FallbackReason.TIMEOUT


@pytest.mark.parametrize("seconds", [0.0, -1.0])
@in_virtual_time
async def test_without_budget_nothing_is_begun_but_a_cached_answer_is_given(seconds: float) -> None:
    world = World()
    assert (await world.refused(seconds=seconds)).reason is FallbackReason.BUDGET
    assert world.loads == []
    await world.get()
    assert (await world.get(seconds=seconds)).source is Source.CACHE


@in_virtual_time
async def test_a_caller_who_always_gives_up_first_opens_the_circuit_all_the_same() -> None:
    world = World(hangs)
    for n in range(3):
        assert (await world.refused(f"t{n}", seconds=0.2)).reason is FallbackReason.BUDGET
        await asyncio.sleep(0.4)
    refused = await world.refused("t3", seconds=0.2)
    assert refused.reason is FallbackReason.CIRCUIT_OPEN
    assert len(world.loads) == 3


@in_virtual_time
async def test_callers_who_are_cancelled_are_neither_success_nor_failure_but_the_load_is() -> None:
    world = World(hangs)
    for n in range(3):
        caller = asyncio.ensure_future(world.get(f"t{n}"))
        await asyncio.sleep(0.1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    assert not world.breaker.failing
    await asyncio.sleep(TIMEOUT)
    assert world.state() is CircuitState.OPEN


@in_virtual_time
async def test_what_a_load_brings_after_its_callers_left_fills_the_cache() -> None:
    world = World()
    assert (await world.refused(seconds=0.005)).reason is FallbackReason.BUDGET
    await asyncio.sleep(0.01)
    fetched = world.guard.peek("a")
    assert fetched is not None
    assert fetched.value == "value of a"
    assert fetched.age == pytest.approx(0.005)


# Single flight


@in_virtual_time
async def test_a_hot_key_under_a_thousand_callers_is_read_once() -> None:
    world = World()
    results = await asyncio.gather(*(world.get() for _ in range(1_000)))
    assert world.loads == ["a"]
    assert values(results) == {"value of a"}
    assert {fetched.source for fetched in results} == {Source.PROVIDER}
    await asyncio.sleep(5)
    await asyncio.gather(*(world.get() for _ in range(1_000)))
    assert world.loads == ["a", "a"]


@in_virtual_time
async def test_when_the_leader_is_cancelled_the_others_are_served() -> None:
    world = World()
    callers = [asyncio.ensure_future(world.get()) for _ in range(46)]
    await asyncio.sleep(0)
    callers[0].cancel()
    results = await asyncio.gather(*callers[1:])
    assert callers[0].cancelled()
    assert values(results) == {"value of a"}
    assert world.loads == ["a"]


@in_virtual_time
async def test_callers_of_one_load_each_wait_under_their_own_deadline() -> None:
    world = World(hangs)
    waits = (0.1, 0.3, 5.0)
    reasons = [(await r).reason for r in [asyncio.ensure_future(world.refused(seconds=s)) for s in waits]]
    assert reasons == [FallbackReason.BUDGET, FallbackReason.BUDGET, FallbackReason.TIMEOUT]
    assert world.loads == ["a"]


@in_virtual_time
async def test_a_load_does_not_run_in_the_context_of_who_came_first() -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    async def looks(_key: str) -> str | None:
        seen.append(request.get())
        return "x"

    world = World(looks)
    request.set("of the first caller")
    await world.get()
    assert seen == ["none"]


@in_virtual_time
async def test_a_load_keeps_the_trace_of_the_request_that_caused_it() -> None:
    seen: list[str] = []

    async def looks(_key: str) -> str | None:
        seen.append(trace.current.get())
        return "x"

    world = World(looks)
    await world.get("a")
    with trace.tracing("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        await world.get("b")
    assert seen == ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]


# Last known


@in_virtual_time
async def test_in_an_outage_the_last_known_value_comes_with_its_age() -> None:
    world = World()
    await world.get()
    world.behaviour = fails
    await asyncio.sleep(99.99)
    refused = await world.refused()
    assert refused.last_known == Fetched(value="value of a", source=Source.STALE, age=100.0)
    assert world.log.cached[-1] is CacheResult.STALE


@in_virtual_time
async def test_the_last_known_value_is_no_older_than_max_stale_unless_it_denies() -> None:
    world = World()
    await world.get("a")
    world.behaviour = denies
    await world.get("t")
    world.behaviour = fails
    await asyncio.sleep(1_000_000)
    assert (await world.refused("a")).last_known is None
    last_known = (await world.refused("t")).last_known
    assert last_known is not None
    assert last_known.value == "TERMINATED t"


@in_virtual_time
async def test_a_provider_without_stale_answers_has_none() -> None:
    world = World(cache=CachePolicy(ttl=30.0, jitter=0.0))
    await world.get()
    world.behaviour = fails
    await asyncio.sleep(30)
    assert (await world.refused()).last_known is None
    assert world.log.cached == [CacheResult.MISS, CacheResult.MISS]


# The circuit


@in_virtual_time
async def test_an_open_circuit_refuses_at_once_and_tells_when_it_tries_again() -> None:
    world = World()
    await world.trip()
    await asyncio.sleep(10)
    refused = await world.refused("a")
    assert refused.reason is FallbackReason.CIRCUIT_OPEN
    assert refused.retry_after_ms == 20_000
    assert world.clock() == pytest.approx(1_010.03)
    assert world.loads == ["trip0", "trip1", "trip2"]
    assert world.log.refusals == 1


@in_virtual_time
async def test_the_failure_that_opens_the_circuit_tells_when_it_tries_again() -> None:
    world = World(fails)
    retries = [(await world.refused(f"t{n}")).retry_after_ms for n in range(3)]
    assert retries == [None, None, 30_000]


@in_virtual_time
async def test_half_open_under_a_thousand_callers_is_exactly_one_try() -> None:
    world = World(max_in_flight=4_000)
    await world.trip()
    world.guard.forget("trip2")
    await asyncio.sleep(RESET - 0.001)
    world.behaviour = hangs
    await asyncio.sleep(0.001)
    results = await asyncio.gather(*(world.refused(f"t{n}/x", seconds=0.4) for n in range(1_000)))
    assert len(world.loads) == 4
    reasons = [refused.reason for refused in results]
    assert reasons.count(FallbackReason.CIRCUIT_OPEN) >= 999


@in_virtual_time
async def test_half_open_the_first_of_a_thousand_callers_is_the_try() -> None:
    world = World(max_in_flight=4_000)
    world.breaker.open()
    await asyncio.sleep(RESET)
    results = await asyncio.gather(*(world.get(f"t{n}") for n in range(1_000)), return_exceptions=True)
    assert world.loads == ["t0"]
    assert isinstance(results[0], Fetched)
    refusals = [result for result in results if isinstance(result, Unavailable)]
    assert len(refusals) == 999
    assert {(r.reason, r.retry_after_ms) for r in refusals} == {(FallbackReason.CIRCUIT_OPEN, 0)}
    assert world.state() is CircuitState.CLOSED


@in_virtual_time
async def test_nobody_waits_for_a_try_or_for_a_load_that_was_begun_before_the_circuit_opened() -> None:
    world = World()
    await world.get("a")
    world.behaviour = hangs
    await asyncio.sleep(10)
    begun = asyncio.ensure_future(world.refused("a"))
    await asyncio.sleep(0.1)
    world.breaker.open()
    at = world.clock()
    joining = await world.refused("a")
    assert (joining.reason, world.clock()) == (FallbackReason.CIRCUIT_OPEN, at)
    assert joining.last_known is not None
    assert (await begun).reason is FallbackReason.TIMEOUT
    await asyncio.sleep(RESET)
    assert world.state() is CircuitState.HALF_OPEN
    at = world.clock()
    joining = await world.refused("a")  # it is this key that is being tried
    assert (joining.reason, world.clock()) == (FallbackReason.CIRCUIT_OPEN, at)


@in_virtual_time
async def test_a_try_that_hangs_frees_its_permit_at_the_deadline() -> None:
    world = World(hangs)
    await world.trip()
    await asyncio.sleep(RESET + 0.1)
    assert world.state() is CircuitState.HALF_OPEN
    await asyncio.sleep(TIMEOUT)
    assert world.state() is CircuitState.OPEN
    world.behaviour = answers
    await asyncio.sleep(RESET)
    assert world.state() is CircuitState.CLOSED


@in_virtual_time
async def test_a_success_after_the_trip_does_not_close() -> None:
    async def slow(_key: str) -> str | None:
        await asyncio.sleep(0.4)
        return "late"

    world = World(slow)
    late = asyncio.ensure_future(world.get("late"))
    await asyncio.sleep(0.1)
    await world.trip()
    assert (await late).value == "late"
    assert world.state() is CircuitState.OPEN


@in_virtual_time
async def test_failures_after_the_trip_do_not_lengthen_it() -> None:
    world = World(hangs)
    late = [asyncio.ensure_future(world.refused(f"late{n}")) for n in range(10)]
    await asyncio.sleep(0.1)
    await world.trip()
    retry_in = world.breaker.retry_in
    await asyncio.gather(*late)
    assert retry_in == RESET
    assert world.breaker.retry_in == pytest.approx(RESET - 0.37)


@in_virtual_time
async def test_a_circuit_without_traffic_is_tried_by_the_guard_itself() -> None:
    world = World()
    await world.trip()
    await asyncio.sleep(RESET + 0.02)
    assert world.state() is CircuitState.CLOSED
    assert world.loads[3:] == ["trip2"]
    assert world.log.states == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED]
    assert world.log.refusals == 0


@in_virtual_time
async def test_while_the_outage_lasts_there_is_one_try_per_reset_time() -> None:
    world = World(hangs)
    await world.trip()
    await asyncio.sleep(10 * (RESET + TIMEOUT))
    assert len(world.loads) == 3 + 10


@in_virtual_time
async def test_a_closed_guard_tries_no_more() -> None:
    world = World()
    await world.trip()
    await world.guard.close()
    await asyncio.sleep(RESET * 10)
    assert len(world.loads) == 3
    assert world.state() is CircuitState.OPEN


@in_virtual_time
async def test_a_circuit_that_an_operator_closed_is_not_tried() -> None:
    world = World()
    await world.trip()
    world.breaker.close()
    await asyncio.sleep(RESET * 2)
    assert len(world.loads) == 3


@in_virtual_time
async def test_a_circuit_that_an_operator_opened_anew_is_tried_when_its_new_time_is_up() -> None:
    world = World()
    await world.trip()
    await asyncio.sleep(20)
    world.breaker.open()
    await asyncio.sleep(RESET - 0.01)
    assert len(world.loads) == 3
    await asyncio.sleep(0.03)
    assert world.state() is CircuitState.CLOSED


@in_virtual_time
async def test_a_circuit_opened_by_hand_before_anything_was_loaded_waits_for_traffic() -> None:
    world = World()
    world.breaker.open()
    await asyncio.sleep(RESET * 3)
    assert world.loads == []
    assert (await world.get()).value == "value of a"
    assert world.state() is CircuitState.CLOSED


@in_virtual_time
async def test_a_try_that_finds_the_bulkhead_full_comes_back() -> None:
    world = World(deaf, max_in_flight=4, reset=1.0)
    await asyncio.gather(*(world.refused(f"t{n}", seconds=0.1) for n in range(4)))
    world.breaker.open()
    await asyncio.sleep(5)
    assert world.guard.stats().in_flight == 4
    assert len(world.loads) == 4
    world.behaviour = answers
    await asyncio.sleep(1.1)
    assert len(world.loads) == 5
    assert world.state() is CircuitState.CLOSED
    await asyncio.sleep(10)


@in_virtual_time
async def test_a_provider_that_says_itself_that_its_time_was_up_timed_out() -> None:
    async def gives_up(_key: str) -> str | None:
        await asyncio.sleep(TIMEOUT)
        raise ProviderTimeout("no answer")

    world = World(gives_up)
    for number in range(3):
        assert (await world.refused(f"t{number}")).reason is FallbackReason.TIMEOUT
    assert world.state() is CircuitState.OPEN
    assert world.log.calls == [(TIMEOUT, False)] * 3


@in_virtual_time
async def test_an_answer_that_waited_for_a_busy_loop_is_no_time_out() -> None:
    """The loop was held up by something else from before the answer came until after the deadline."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[str] = loop.create_future()

    async def answers_in_time(_key: str) -> str | None:
        text = await arrived
        await asyncio.sleep(0)  # a driver's own hop on the way up
        return text

    world = World(answers_in_time)
    # The deadline's timer is older, so it is served first; the answer is read in the same turn of the loop.
    asked = asyncio.ensure_future(world.get("a"))
    await asyncio.sleep(0)
    loop.call_at(world.clock() + TIMEOUT, arrived.set_result, "just in time")
    assert (await asked).value == "just in time"
    assert not world.breaker.failing
    assert world.log.calls == [(TIMEOUT, True)]


# Bulkhead


@in_virtual_time
async def test_a_full_bulkhead_refuses_at_once_and_leaves_the_breaker_alone() -> None:
    world = World(hangs, max_in_flight=8)
    held = [asyncio.ensure_future(world.refused(f"t{n}")) for n in range(8)]
    await asyncio.sleep(0.1)
    results = await asyncio.gather(*(world.refused(f"u{n}") for n in range(50)))
    assert {refused.reason for refused in results} == {FallbackReason.BULKHEAD}
    assert world.clock() == 1_000.1
    assert not world.breaker.failing
    assert world.log.refusals == 50
    assert world.most_running == 8
    await asyncio.gather(*held)


@in_virtual_time
async def test_a_used_up_connection_pool_is_a_full_bulkhead_and_leaves_the_breaker_alone() -> None:
    async def busy(_key: str) -> str | None:
        raise ProviderBusy("no connection is free")

    world = World(busy)
    for number in range(10):
        assert (await world.refused(f"t{number}")).reason is FallbackReason.BULKHEAD
    assert not world.breaker.failing
    assert (world.log.refusals, world.log.calls) == (10, [])


@in_virtual_time
async def test_one_tenant_gets_a_quarter_of_the_bulkhead() -> None:
    world = World(hangs, max_in_flight=8)
    held = [asyncio.ensure_future(world.refused(f"greedy/{n}")) for n in range(2)]
    await asyncio.sleep(0.1)
    assert (await world.refused("greedy/3")).reason is FallbackReason.BULKHEAD
    other = asyncio.ensure_future(world.refused("other/1"))
    await asyncio.sleep(0.1)
    assert world.running == 3
    await asyncio.gather(*held, other)


@in_virtual_time
async def test_restart_with_cold_caches_and_fifty_thousand_tenants_stays_within_the_bulkhead_without_errors() -> None:
    world = World()
    arrivals, tenants = 100, 50_000

    reasons: list[FallbackReason] = []

    async def caller(first: int) -> None:
        """Who is refused falls back at once, and asks again a moment later as traffic does."""
        for tenant in range(first, tenants, arrivals):
            while True:
                try:
                    assert (await world.get(f"t{tenant}", 0.19)).value == f"value of t{tenant}"
                except Unavailable as gone:
                    reasons.append(gone.reason)
                    await asyncio.sleep(0.01)
                else:
                    break

    await asyncio.gather(*(caller(first) for first in range(arrivals)))
    assert set(reasons) == {FallbackReason.BULKHEAD}
    assert len(reasons) == world.log.refusals
    assert world.most_running == 64
    assert len(world.loads) == tenants
    assert all(answered for _, answered in world.log.calls)
    assert not world.breaker.failing


@in_virtual_time
async def test_slots_come_back_however_a_load_ends() -> None:
    world = World(max_in_flight=4)
    for behaviour in (answers, fails, hangs) * 3:
        world.behaviour = behaviour
        world.breaker.close()
        await asyncio.gather(
            *(world.guard.get(f"{n}", world.deadline(), 0.0) for n in range(4)), return_exceptions=True
        )
        assert world.most_running == 4
        await asyncio.sleep(A_MOMENT)
        assert world.guard.stats().in_flight == 0


@in_virtual_time
async def test_an_abandoned_driver_keeps_its_slot_while_it_runs_but_not_for_ever() -> None:
    async def never_ends(_key: str) -> str | None:
        while asyncio.get_running_loop().time() < 1_100:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(100)
        return None

    world = World(never_ends, max_in_flight=4)
    await world.refused()
    assert world.guard.stats().in_flight == 1
    await asyncio.sleep(TIMEOUT * 10 + 0.001)
    assert world.guard.stats().in_flight == 0
    await asyncio.sleep(200)
    assert world.guard.stats().in_flight == 0


# Changes


@in_virtual_time
async def test_a_load_begun_before_a_change_fills_neither_the_fresh_nor_the_stale_value() -> None:
    world = World()
    caller = asyncio.ensure_future(world.get())
    await asyncio.sleep(0.005)
    world.guard.put("a", "TERMINATED a")
    await asyncio.sleep(1)
    assert world.loads == ["a"]
    fetched = world.guard.peek("a")
    assert fetched is not None
    assert fetched.value == "TERMINATED a"
    assert (await caller).value == "TERMINATED a"
    world.behaviour = fails
    await asyncio.sleep(100_000)
    last_known = (await world.refused()).last_known
    assert last_known is not None
    assert last_known.value == "TERMINATED a"


@in_virtual_time
async def test_who_waits_for_a_load_gets_what_was_put_at_once() -> None:
    world = World(hangs)
    caller = asyncio.ensure_future(world.get())
    await asyncio.sleep(0.1)
    world.guard.put("a", "TERMINATED a")
    assert await caller == Fetched(value="TERMINATED a", source=Source.CACHE, age=0.0)
    assert world.clock() == 1_000.1
    await asyncio.sleep(TIMEOUT)
    assert world.breaker.view().failures == 1  # the load itself counts all the same


@pytest.mark.parametrize("change", ["forget", "doubt", "forget_all", "doubt_all", "clear"])
@in_virtual_time
async def test_after_a_change_nobody_gets_what_was_loaded_before_it(change: str) -> None:
    versions = iter(["old", "new"])

    async def versioned(_key: str) -> str | None:
        version = next(versions)
        await asyncio.sleep(0.01)
        return version

    world = World(versioned)
    before = asyncio.ensure_future(world.get())
    await asyncio.sleep(0.005)
    getattr(world.guard, change)(*(["a"] if change in {"forget", "doubt"} else []))
    after = asyncio.ensure_future(world.get())
    assert (await before).value == (await after).value == "new"
    cached = world.guard.peek("a")
    assert cached is not None
    assert cached.value == "new"
    assert world.loads == ["a", "a"]


@in_virtual_time
async def test_a_forgotten_value_stands_in_only_where_it_denies() -> None:
    world = World()
    await world.get("a")
    world.guard.put("t", "TERMINATED t")
    world.guard.forget("a")
    world.guard.forget("t")
    world.behaviour = fails
    assert (await world.refused("a")).last_known is None
    last_known = (await world.refused("t")).last_known
    assert last_known is not None
    assert last_known.value == "TERMINATED t"


@in_virtual_time
async def test_when_all_is_forgotten_what_denies_stands_in_and_nothing_is_fresh() -> None:
    world = World()
    await world.get("a")
    world.guard.put("t", "TERMINATED t")
    world.guard.forget_all()
    assert [world.guard.peek(key) for key in ("a", "t")] == [None, None]
    assert [world.guard.holds(key) for key in ("a", "t")] == [False, True]
    world.behaviour = fails
    assert (await world.refused("a")).last_known is None
    last_known = (await world.refused("t")).last_known
    assert last_known is not None
    assert last_known.value == "TERMINATED t"


@pytest.mark.parametrize("one_by_one", [False, True])
@in_virtual_time
async def test_when_changes_may_have_been_missed_nothing_is_fresh_and_what_was_known_still_stands_in(
    *, one_by_one: bool
) -> None:
    """News that were missed are found out of in the middle of an outage, too: to know nothing is worse than to know what was."""
    world = World()
    await world.get("a")
    world.guard.put("t", "TERMINATED t")
    world.guard.put("nobody", None)
    if one_by_one:
        for key in ("a", "t", "nobody"):
            world.guard.doubt(key)
    else:
        world.guard.doubt_all()
    assert [world.guard.peek(key) for key in ("a", "t", "nobody")] == [None, None, None]
    world.behaviour = fails
    known = [(await world.refused(key)).last_known for key in ("a", "t", "nobody")]
    assert [each and each.value for each in known] == ["value of a", "TERMINATED t", None]


@in_virtual_time
async def test_what_is_held_is_held_fresh_or_not_and_a_load_holds_nothing_before_it_ends() -> None:
    world = World()
    asking = asyncio.ensure_future(world.get())
    await asyncio.sleep(0.005)
    assert not world.guard.holds("a")
    await asking
    await asyncio.sleep(60)
    assert world.guard.peek("a") is None
    assert world.guard.holds("a")


@in_virtual_time
async def test_clear_drops_even_what_denies() -> None:
    world = World(fails)
    world.guard.put("t", "TERMINATED t")
    world.guard.clear()
    assert (await world.refused("t")).last_known is None


# The end


@in_virtual_time
async def test_close_calls_off_what_is_under_way_and_leaves_no_verdict() -> None:
    world = World(hangs)
    caller = asyncio.ensure_future(world.refused(seconds=10))
    await asyncio.sleep(0.1)
    await world.guard.close()
    assert (await caller).reason is FallbackReason.ERROR
    assert world.running == 0
    assert not world.breaker.failing
    assert world.clock() == 1_000.1


@in_virtual_time
async def test_close_does_not_wait_for_a_driver_that_does_not_listen() -> None:
    world = World(deaf)
    caller = asyncio.ensure_future(world.refused(seconds=10))
    await asyncio.sleep(0.1)
    await world.guard.close()
    assert world.clock() == 1_001.1
    await caller
    await asyncio.sleep(8)


@in_virtual_time
async def test_a_close_that_is_cancelled_has_answered_everyone_all_the_same() -> None:
    world = World(deaf)
    caller = asyncio.ensure_future(world.refused(seconds=10))
    await asyncio.sleep(0.1)
    closing = asyncio.ensure_future(world.guard.close())
    await asyncio.sleep(0.1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert (await caller).reason is FallbackReason.ERROR
    assert not world.breaker.failing
    assert (await world.refused("b")).reason is FallbackReason.ERROR
    await asyncio.sleep(8)
    assert world.guard.stats().in_flight == 0


@in_virtual_time
async def test_a_closed_guard_answers_from_its_cache_and_begins_nothing() -> None:
    world = World()
    await world.get()
    await world.guard.close()
    assert (await world.get()).source is Source.CACHE
    assert (await world.refused("b")).reason is FallbackReason.ERROR
    assert world.loads == ["a"]


@in_virtual_time
async def test_a_value_that_cannot_be_judged_does_not_block_its_key() -> None:
    async def a_number(_key: str) -> str | None:
        return 7  # type: ignore[return-value]  # a provider that breaks its contract

    world = World(a_number)
    loop = asyncio.get_running_loop()
    broken: list[object] = []
    loop.set_exception_handler(lambda _loop, context: broken.append(context))
    assert (await world.get()).value == 7  # type: ignore[comparison-overlap]
    assert (await world.get()).value == 7  # type: ignore[comparison-overlap]
    assert len(broken) == 2


@in_virtual_time
async def test_the_operator_sees_figures() -> None:
    world = World()
    await world.get("a")
    await world.get("b")
    await world.get("a")
    world.behaviour = fails
    await world.refused("a", max_age=0.0)
    stats = world.guard.stats()
    assert (stats.operation, stats.entries, stats.in_flight) == ("find", 2, 0)
    assert (stats.hits, stats.misses, stats.stale) == (1, 2, 1)
