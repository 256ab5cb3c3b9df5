"""Refresh ahead of expiry (spec section 4): a healthy provider's latency is never seen on what is asked for all the time."""

import asyncio
from collections.abc import Callable

import pytest

from extauthz.errors import ProviderBusy
from extauthz.model.decision import FallbackReason, Source
from extauthz.ports import CacheResult, CircuitState
from extauthz.resilience.policy import CachePolicy
from extauthz.testing import in_virtual_time
from tests.guarded import CACHE, TIMEOUT, World, answers, fails, hangs

SOON = 4.6
"""Seconds after a load: past the latest moment from which on it is loaded again, and still fresh (CACHE)."""


async def in_use(world: World, seconds: float, every: float = 0.05, max_age: float | None = None) -> list[Source]:
    """Ask for `a` all the time; where each answer came from. None of them may wait for anything."""
    sources = []
    until = world.clock() + seconds
    while world.clock() < until:
        before = world.clock()
        sources.append((await world.get(max_age=max_age)).source)
        assert world.clock() == before
        await asyncio.sleep(every)
    return sources


@in_virtual_time
async def test_the_latency_of_a_healthy_provider_is_never_seen_on_a_hot_key() -> None:
    world = World()
    await world.get()
    assert set(await in_use(world, 600)) == {Source.CACHE}
    assert 600 / 5 <= len(world.loads) <= 600 / 4 + 1
    assert world.log.cached.count(CacheResult.MISS) == 1


@in_virtual_time
async def test_the_caller_gets_the_cached_answer_with_its_age_and_the_next_the_new_one() -> None:
    world = World()
    await world.get()
    await asyncio.sleep(SOON)
    fetched = world.guard.peek("a")
    assert fetched is not None
    assert (fetched.source, round(fetched.age, 6)) == (Source.CACHE, SOON)
    await asyncio.sleep(0.02)
    fetched = world.guard.peek("a")
    assert fetched is not None
    assert (fetched.source, round(fetched.age, 6)) == (Source.CACHE, 0.01)
    assert world.log.cached == [CacheResult.MISS, CacheResult.HIT, CacheResult.HIT]
    assert world.log.calls == [(0.01, True)] * 2


@in_virtual_time
async def test_a_thousand_callers_begin_one_refresh() -> None:
    world = World()
    await world.get()
    await asyncio.sleep(SOON)
    done = await asyncio.gather(*(world.get() for _ in range(1_000)))
    assert {each.source for each in done} == {Source.CACHE}
    await asyncio.sleep(0.1)
    assert world.loads == ["a", "a"]


@in_virtual_time
async def test_what_nobody_asks_for_is_not_refreshed() -> None:
    world = World()
    await world.get()
    await asyncio.sleep(3.9)
    await world.get()
    await asyncio.sleep(60)
    assert world.loads == ["a"]


@in_virtual_time
async def test_who_comes_when_the_answer_has_ended_meanwhile_waits_for_the_refresh() -> None:
    async def slow(key: str) -> str | None:
        await asyncio.sleep(0.45)
        return f"value of {key}"

    world = World(slow)
    await world.get()
    await asyncio.sleep(4.9)
    await world.get()
    await asyncio.sleep(0.2)
    assert world.guard.peek("a") is None
    assert (await world.get()).source is Source.PROVIDER
    assert world.loads == ["a", "a"]


@in_virtual_time
async def test_refreshes_that_fail_count_for_the_breaker_and_callers_do_not_notice() -> None:
    world = World(cache=CachePolicy(ttl=50.0, jitter=0.0))
    for key in "abc":
        await world.get(key)
    world.behaviour = fails
    await asyncio.sleep(46)
    for key in "abc":
        assert (await world.get(key)).source is Source.CACHE
    await asyncio.sleep(0.02)
    assert world.state() is CircuitState.OPEN
    assert world.log.refusals == 0
    assert [answered for _, answered in world.log.calls] == [True] * 3 + [False] * 3


@in_virtual_time
async def test_a_refresh_that_fails_is_no_storm() -> None:
    world = World()
    await world.get()
    world.behaviour = fails
    await asyncio.sleep(4)
    assert set(await in_use(world, 0.99, every=0.001)) == {Source.CACHE}
    assert 2 <= len(world.loads) <= 1 + 4


@in_virtual_time
async def test_a_refresh_that_hangs_ends_at_the_deadline_of_the_provider_and_counts() -> None:
    world = World(cache=CachePolicy(ttl=50.0, jitter=0.0))
    await world.get()
    world.behaviour = hangs
    await asyncio.sleep(46)
    await world.get()
    await asyncio.sleep(TIMEOUT + 0.01)
    assert world.log.calls[-1] == (TIMEOUT, False)
    assert world.breaker.view().failures == 1
    assert (await world.get()).source is Source.CACHE


@in_virtual_time
async def test_nothing_is_refreshed_while_the_circuit_is_open_and_nothing_is_counted() -> None:
    world = World()
    await world.get()
    await asyncio.sleep(4.0)
    await world.trip()
    told, calls = world.log.refusals, len(world.log.calls)
    await asyncio.sleep(0.5)
    assert (await world.get()).source is Source.CACHE
    await asyncio.sleep(0.1)
    assert (world.log.refusals, len(world.log.calls)) == (told, calls)


@in_virtual_time
async def test_a_refresh_may_be_the_one_try_of_a_circuit_whose_time_is_up() -> None:
    world = World(cache=CachePolicy(ttl=50.0, jitter=0.0))
    await world.get()
    await asyncio.sleep(16)
    world.breaker.open()
    await asyncio.sleep(30)
    assert (await world.get()).source is Source.CACHE
    await asyncio.sleep(0.02)
    assert world.state() is CircuitState.CLOSED
    assert world.loads == ["a", "a"]


@in_virtual_time
async def test_a_refresh_leaves_half_of_the_bulkhead_to_those_who_wait() -> None:
    world = World(max_in_flight=8)
    await world.get()
    await asyncio.sleep(SOON)
    world.behaviour = hangs
    held = [asyncio.ensure_future(world.refused(f"t{n}")) for n in range(4)]
    await asyncio.sleep(0.01)
    assert (await world.get()).source is Source.CACHE
    assert world.running == 4
    await asyncio.gather(*held)
    assert world.log.refusals == 0


@in_virtual_time
async def test_an_embedded_provider_is_refreshed_too() -> None:
    world = World(max_in_flight=None)
    await world.get()
    assert set(await in_use(world, 60)) == {Source.CACHE}


@in_virtual_time
async def test_a_refresh_that_finds_no_connection_is_counted_once_and_leaves_the_breaker_alone() -> None:
    async def busy(_key: str) -> str | None:
        raise ProviderBusy("all connections are in use")

    world = World()
    await world.get()
    world.behaviour = busy
    await asyncio.sleep(SOON)
    assert (await world.get()).source is Source.CACHE
    await asyncio.sleep(0.01)
    assert world.log.refusals == 1
    assert not world.breaker.failing


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda world: world.guard.put("a", "TERMINATED a"), "TERMINATED a"),
        (lambda world: world.guard.forget("a"), None),
        (lambda world: world.guard.forget_all(), None),
        (lambda world: world.guard.clear(), None),
    ],
    ids=["put", "forget", "forget_all", "clear"],
)
def test_a_refresh_begun_before_a_change_fills_nothing(change: Callable[[World], None], left: str | None) -> None:
    @in_virtual_time
    async def changed() -> None:
        world = World()
        await world.get()
        await asyncio.sleep(SOON)
        await world.get()
        await asyncio.sleep(0.005)
        assert world.running == 1
        change(world)
        await asyncio.sleep(0.1)
        assert world.running == 0
        fetched = world.guard.peek("a")
        assert (fetched and fetched.value) == left
        assert world.guard.holds("a") is (left is not None)

    changed()


@in_virtual_time
async def test_a_plan_is_refreshed_by_its_own_age_and_not_by_that_of_the_standing() -> None:
    """Billing: reads need the plan alone, and that is good for 5 minutes (`plan_ttl`)."""
    world = World()
    await world.get(max_age=300.0)
    assert set(await in_use(world, 239, every=1.0, max_age=300.0)) == {Source.CACHE}
    assert world.loads == ["a"]
    assert set(await in_use(world, 60, every=1.0, max_age=300.0)) == {Source.CACHE}
    assert world.loads == ["a", "a"]


@in_virtual_time
async def test_what_is_not_there_is_not_refreshed() -> None:
    async def nobody(_key: str) -> str | None:
        return None

    world = World(nobody)
    await world.get()
    await asyncio.sleep(SOON)
    assert (await world.get()).value is None
    await asyncio.sleep(0.1)
    assert world.loads == ["a"]


@in_virtual_time
async def test_where_none_is_an_answer_like_any_other_it_is_refreshed_like_any_other() -> None:
    """Billing: a tenant that the provider has no record of is TRIAL on the default plan."""

    async def nobody(_key: str) -> str | None:
        return None

    world = World(nobody, cache=CachePolicy(ttl=5.0, jitter=0.0, refresh_negatives=True))
    await world.get()
    assert set(await in_use(world, 60)) == {Source.CACHE}


@in_virtual_time
async def test_auth_never_goes_stale_a_credential_refreshed_ahead_ends_with_its_ttl_all_the_same() -> None:
    """30 s after the last time that the store vouched for it, however often it was tried in between."""
    ttl = 30.0
    world = World(cache=CachePolicy(ttl=ttl, negative_ttl=5.0, jitter=0.0), reset=15.0)
    await world.get()
    await asyncio.sleep(28)
    await world.get()  # refreshed ahead
    await asyncio.sleep(0.02)
    vouched = world.clock() - 0.01
    world.behaviour = fails
    while world.clock() < vouched + ttl - 0.001:
        assert (await world.get()).value == "value of a"
        await asyncio.sleep(0.0493)
    await asyncio.sleep(0.05)
    for _ in range(20):
        refused = await world.refused()
        assert refused.last_known is None
        assert refused.reason in (FallbackReason.ERROR, FallbackReason.CIRCUIT_OPEN)
        await asyncio.sleep(1)


@in_virtual_time
async def test_a_refresh_tells_of_a_credential_that_is_not_there_any_more() -> None:
    world = World(cache=CachePolicy(ttl=30.0, negative_ttl=5.0, jitter=0.0))
    await world.get()

    async def revoked(_key: str) -> str | None:
        return None

    world.behaviour = revoked
    await asyncio.sleep(28)
    assert (await world.get()).value == "value of a"
    await asyncio.sleep(0.02)
    assert (await world.get()).value is None


@in_virtual_time
async def test_a_closed_guard_refreshes_nothing() -> None:
    world = World()
    await world.get()
    await asyncio.sleep(SOON)
    await world.guard.close()
    assert (await world.get()).source is Source.CACHE
    await asyncio.sleep(0.1)
    assert world.loads == ["a"]


@in_virtual_time
async def test_with_a_jittered_ttl_a_hot_key_is_still_never_waited_for() -> None:
    world = World(answers, cache=CachePolicy(ttl=CACHE.ttl, max_stale=CACHE.max_stale))
    await world.get()
    assert set(await in_use(world, 600)) == {Source.CACHE}
