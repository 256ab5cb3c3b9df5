"""Loads overtaken by a change, a clearing, an operator (spec section 4): who waits gets a right answer, in the old one's slot."""

import asyncio
from contextlib import nullcontext

import pytest

from extauthz.model.decision import FallbackReason
from extauthz.ports import CircuitState, Unavailable
from extauthz.testing import in_virtual_time
from tests.guarded import A_MOMENT, RESET, TIMEOUT, World, answers, hangs


@pytest.mark.parametrize("change", ["forget_all", "doubt_all", "clear"])
@in_virtual_time
async def test_who_waits_while_a_cache_is_cleared_is_answered_however_full_the_bulkhead_is(change: str) -> None:
    async def slow(key: str) -> str | None:
        await asyncio.sleep(0.1)
        return f"TERMINATED {key}"

    world = World(slow, max_in_flight=64)
    callers = [asyncio.ensure_future(world.get(f"t{n}")) for n in range(60)]
    for _ in range(3):
        await asyncio.sleep(0.05)
        getattr(world.guard, change)()
    assert {fetched.value for fetched in await asyncio.gather(*callers)} == {f"TERMINATED t{n}" for n in range(60)}
    assert world.clock() == pytest.approx(1_000.25)
    assert (world.most_running, world.log.refusals) == (64, 0)
    assert not world.breaker.failing
    await asyncio.sleep(A_MOMENT)
    assert world.guard.stats().in_flight == 0


@in_virtual_time
async def test_a_tenant_with_all_of_its_share_under_way_is_looked_up_anew_in_the_slot_of_the_overtaken_load() -> None:
    world = World(hangs, max_in_flight=4)
    begun = asyncio.ensure_future(world.refused("a/1"))
    await asyncio.sleep(0.1)
    world.behaviour = answers
    world.guard.forget("a/1")
    assert (await world.get("a/1")).value == "value of a/1"
    assert world.clock() == pytest.approx(1_000.11)
    begun.cancel()
    assert (world.most_running, world.running) == (1, 0)
    assert world.guard.stats().in_flight == 0
    await asyncio.sleep(TIMEOUT)
    assert not world.breaker.failing  # it was called off, which is no verdict


@in_virtual_time
async def test_an_overtaken_load_is_not_called_off_for_one_that_the_circuit_refuses() -> None:
    world = World(hangs, max_in_flight=4)
    begun = asyncio.ensure_future(world.refused("a/1"))
    await asyncio.sleep(0.1)
    world.breaker.open()
    world.guard.forget("a/1")
    assert (await begun).reason is FallbackReason.BULKHEAD
    assert world.running == 1
    await asyncio.sleep(TIMEOUT)


# Circuits set by hand


@pytest.mark.parametrize("trip", [True, False])
def test_after_a_close_by_hand_the_next_call_reaches_the_provider_although_a_load_hangs(*, trip: bool) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World(hangs)
        if trip:
            await world.trip()
            await asyncio.sleep(RESET + 0.1)  # the key that failed last is being tried, and hangs
            assert world.state() is CircuitState.HALF_OPEN
        waits = asyncio.ensure_future(world.guard.get("trip2", world.deadline(), 0.0))
        await asyncio.sleep(0.1)
        world.behaviour = answers
        world.breaker.close()
        at = world.clock()
        assert (await world.get("trip2", max_age=0)).value == "value of trip2"
        assert world.clock() == pytest.approx(at + 0.01)
        with pytest.raises(Unavailable) if trip else nullcontext():  # who came while it was tried was refused
            assert (await waits).value == "value of trip2"
        await asyncio.sleep(TIMEOUT)
        assert not world.breaker.failing  # what hung was begun before

    main()


@in_virtual_time
async def test_a_circuit_opened_by_hand_on_a_healthy_provider_is_tried_without_traffic() -> None:
    world = World()
    await world.get("a")
    world.breaker.open()
    await asyncio.sleep(RESET - 0.01)
    assert world.loads == ["a"]
    await asyncio.sleep(0.03)
    assert world.loads == ["a", "a"]
    assert world.state() is CircuitState.CLOSED
