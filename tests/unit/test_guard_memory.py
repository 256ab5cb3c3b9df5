"""A guard with a memory beyond its cache: a known denial holds whatever was evicted, cleared or restarted (spec section 4)."""

import asyncio

import pytest

from extauthz.changes.blocked import BlockedTenants
from extauthz.errors import ProviderError
from extauthz.model.deadline import Deadline
from extauthz.model.decision import FallbackReason, Source
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import CacheResult, Unavailable
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.guard import Guard
from extauthz.resilience.policy import BreakerPolicy, CachePolicy, GuardPolicy
from extauthz.testing import in_virtual_time
from tests.guarded import Log

HOUR = 3600.0


class World:
    """The lifecycle of tenants, its guard and its memory. `states` is what the provider says; `down` it says nothing."""

    def __init__(self, **kept: str) -> None:
        self.clock = asyncio.get_running_loop().time
        self.states: dict[str, str] = {}
        self.down = False
        self.delay = 0.01
        self.log = Log()
        self.memory = BlockedTenants(clock=self.clock, most=1_000)
        self.memory.restore([(tenant_id, record(state), HOUR) for tenant_id, state in kept.items()])
        self.guard: Guard[str, LifecycleRecord | None] = Guard(
            operation="find",
            load=self.load,
            policy=GuardPolicy(
                timeout=0.5, cache=CachePolicy(ttl=5.0, max_stale=HOUR, max_entries=4, jitter=0.0), max_in_flight=64
            ),
            breaker=Breaker(
                provider="lifecycle",
                policy=BreakerPolicy(failures=3, window=10.0, reset=30.0),
                clock=self.clock,
                observer=self.log,
            ),
            observer=self.log,
            clock=self.clock,
            denies=lambda found: found is not None and found.state is not LifecycleState.ACTIVE,
            memory=self.memory,
        )

    async def load(self, tenant_id: str) -> LifecycleRecord | None:
        state = self.states.get(tenant_id)
        await asyncio.sleep(self.delay)
        if self.down:
            raise ProviderError("down")
        return None if state is None else record(state)

    async def state(self, tenant_id: str) -> tuple[str | None, Source, float]:
        """What is found, from where, how old; without any answer, `("", …)`."""
        try:
            found = await self.guard.get(tenant_id, Deadline.after(1.0, self.clock))
        except Unavailable as outage:
            last = outage.last_known
            if last is None:
                return "", Source.DEFAULT, 0.0
            assert isinstance(last.value, LifecycleRecord)
            return last.value.state.value, last.source, round(last.age, 3)
        return None if found.value is None else found.value.state.value, found.source, round(found.age, 3)


def record(state: str) -> LifecycleRecord:
    return LifecycleRecord(state=LifecycleState(state), onboarding=Onboarding.COMPLETE)


@in_virtual_time
async def test_cold_and_without_the_provider_who_was_kept_is_out_with_the_true_age() -> None:
    world = World(ended="TERMINATED")
    world.down = True
    assert await world.state("ended") == ("TERMINATED", Source.STALE, HOUR + 0.01)
    assert world.log.cached == [CacheResult.STALE]
    assert await world.state("somebody") == ("", Source.DEFAULT, 0.0)


@in_virtual_time
async def test_what_is_kept_is_used_only_when_the_provider_gives_no_answer() -> None:
    world = World(a="SUSPENDED")
    world.states["a"] = "ACTIVE"
    assert world.guard.peek("a") is None
    assert await world.state("a") == ("ACTIVE", Source.PROVIDER, 0.0)
    world.down = True
    await asyncio.sleep(6)
    assert await world.state("a") == ("ACTIVE", Source.STALE, 6.01)
    assert "a" not in world.memory


@in_virtual_time
async def test_a_denial_that_the_cache_had_to_evict_holds_all_the_same() -> None:
    world = World()
    for number in range(50):
        world.states[f"t{number}"] = "TERMINATED"
        await world.state(f"t{number}")
    assert len(world.memory) == 50
    world.down = True
    await asyncio.sleep(100_000)
    assert await world.state("t0") == ("TERMINATED", Source.STALE, 100_000.49 + 0.01)


@pytest.mark.parametrize("change", ["forget", "forget_all", "clear"])
def test_who_is_known_to_be_out_does_not_come_in_by_clearing_a_cache(change: str) -> None:
    @in_virtual_time
    async def cleared() -> None:
        world = World()
        world.states["a"] = "SUSPENDED"
        await world.state("a")
        world.down = True
        if change == "forget":
            world.guard.forget("a")
        else:
            getattr(world.guard, change)()
        assert world.guard.peek("a") is None
        assert (await world.state("a"))[:2] == ("SUSPENDED", Source.STALE)
        assert world.memory.doubted.is_set() is (change == "forget_all")

    cleared()


@in_virtual_time
async def test_what_is_put_is_kept_and_what_permits_ends_it() -> None:
    world = World()
    world.guard.put("a", record("TERMINATED"))
    assert "a" in world.memory
    assert world.guard.holds("a")
    world.guard.put("a", record("ACTIVE"))
    assert "a" not in world.memory


@in_virtual_time
async def test_a_tenant_that_is_kept_is_held_so_that_news_of_it_is_followed() -> None:
    """A replica reads again what another one changed only where it holds the tenant, or it is denied."""
    world = World(a="SUSPENDED")
    assert world.guard.holds("a")
    assert not world.guard.holds("b")


@in_virtual_time
async def test_a_load_begun_before_a_termination_ends_after_it_terminated_fresh_and_stale_and_kept() -> None:
    world = World()
    world.states["a"] = "ACTIVE"
    asked = asyncio.ensure_future(world.state("a"))
    await asyncio.sleep(0.005)
    world.states["a"] = "TERMINATED"
    world.guard.put("a", record("TERMINATED"))
    await asyncio.sleep(1)
    assert (await asked)[0] == "TERMINATED"
    assert (await world.state("a"))[:2] == ("TERMINATED", Source.CACHE)
    world.down = True
    await asyncio.sleep(10)
    assert (await world.state("a"))[:2] == ("TERMINATED", Source.STALE)
    assert "a" in world.memory


@in_virtual_time
async def test_a_refresh_begun_before_a_termination_ends_after_it_and_changes_nothing() -> None:
    world = World()
    world.states["a"] = "ACTIVE"
    await world.state("a")
    await asyncio.sleep(4.6)
    assert (await world.state("a"))[:2] == ("ACTIVE", Source.CACHE)  # and begins to load again
    await asyncio.sleep(0.005)
    world.guard.put("a", record("TERMINATED"))
    await asyncio.sleep(1)
    assert (await world.state("a"))[:2] == ("TERMINATED", Source.CACHE)
    assert "a" in world.memory


@in_virtual_time
async def test_whom_a_sweep_finds_to_be_out_is_out_although_the_cache_last_knew_them_in() -> None:
    world = World()
    world.states["a"] = "ACTIVE"
    await world.state("a")
    world.memory.learned("a", record("TERMINATED"))  # read from the store, past the cache
    world.down = True
    await asyncio.sleep(5)
    assert (await world.state("a"))[:2] == ("TERMINATED", Source.STALE)


@in_virtual_time
async def test_a_refusal_tells_its_reason_beside_what_is_kept() -> None:
    world = World(a="SUSPENDED")
    world.delay = 10.0
    with pytest.raises(Unavailable) as caught:
        await world.guard.get("a", Deadline.after(0.05, world.clock))
    assert caught.value.reason is FallbackReason.BUDGET
    assert caught.value.last_known is not None


@in_virtual_time
async def test_who_is_out_no_more_by_the_list_of_the_store_is_not_denied_in_the_next_outage() -> None:
    """By an import, by hand, or by another replica while this one was cut off: nobody tells of that."""
    world = World()
    world.memory.when_one_leaves(world.guard.drop)
    world.states["t"] = "SUSPENDED"
    assert (await world.state("t"))[0] == "SUSPENDED"
    world.states["t"] = "ACTIVE"
    world.guard.doubt_all()
    with world.memory.sweeping() as sweep:
        sweep.found([])
        await sweep.finish(None)
    world.down = True
    assert (await world.state("t"))[0] != "SUSPENDED"
