"""Caches cleared by an operator (spec section 7): what is told of it is so, and nobody has to wait for it."""

import asyncio
from typing import Any

import pytest

from extauthz.authn import Refusals
from extauthz.changes.blocked import BlockedTenants
from extauthz.changes.caches import Cleared, KeyCache, TenantCache
from extauthz.model.billing import BillingRecord
from extauthz.model.deadline import Deadline
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.guard import Guard
from extauthz.resilience.policy import BreakerPolicy, CachePolicy, GuardPolicy
from extauthz.resilience.slices import SLICE
from extauthz.testing import in_virtual_time
from tests.back_office import Unheard

SUSPENDED = LifecycleRecord(state=LifecycleState.SUSPENDED, onboarding=Onboarding.COMPLETE)
ACTIVE = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)


def key(tenant_id: str) -> ApiKey:
    return ApiKey(key_id="k", tenant_id=tenant_id, secret_hash=b"h", mac_pepper="p", hash_pepper="p", created_at=1.0)


class World:
    """A cache of each kind. Of keys, the first letter of the id is the tenant; looking one up takes 0.1 s."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.loads: list[str] = []
        self.blocked = BlockedTenants(clock=self.clock, most=100)
        self.lifecycle: Guard[str, LifecycleRecord | None] = self.guard(
            self.find_lifecycle, denies=lambda record: record is SUSPENDED, memory=self.blocked
        )
        self.billing: Guard[str, BillingRecord | None] = self.guard(self.find_billing)
        self.credentials: Guard[str, ApiKey | None] = self.guard(self.find_key)
        self.keys = KeyCache(self.credentials, Refusals(clock=self.clock), 100)
        self.tenants = TenantCache("lifecycle", self.lifecycle, 100)
        self.standings = TenantCache("billing", self.billing, 100, max_age=300.0)

    def guard(self, load: Any, **how: Any) -> Guard[str, Any]:  # of each kind
        policy = BreakerPolicy(failures=3, window=10.0, reset=30.0)
        return Guard(
            operation="find",
            load=load,
            policy=GuardPolicy(timeout=0.5, cache=CachePolicy(ttl=5.0, max_stale=3600.0, jitter=0.0), max_in_flight=64),
            breaker=Breaker(provider="p", policy=policy, clock=self.clock, observer=Unheard()),
            observer=Unheard(),
            clock=self.clock,
            **how,
        )

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        return SUSPENDED if tenant_id.startswith("out") else ACTIVE

    async def find_billing(self, _tenant_id: str) -> BillingRecord | None:
        return None

    async def find_key(self, key_id: str) -> ApiKey | None:
        self.loads.append(key_id)
        await asyncio.sleep(0.1)
        return None if key_id.startswith("-") else key(key_id[0])

    def deadline(self) -> Deadline:
        return Deadline.after(1.0, self.clock)


@pytest.mark.parametrize("tenant", ["out", None])
def test_only_what_was_fresh_is_cleared_and_denials_that_stay_are_told_each_time(tenant: str | None) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World()
        await world.lifecycle.get("out", world.deadline())
        assert await world.tenants.clear(tenant) == Cleared(cleared=1, kept=1)
        assert await world.tenants.clear(tenant) == Cleared(cleared=0, kept=1)
        await world.lifecycle.get("out", world.deadline())
        await asyncio.sleep(5.0)
        assert await world.tenants.clear(tenant) == Cleared(cleared=0, kept=1)  # too old to be fresh

    main()


@pytest.mark.parametrize("tenant", ["out", None])
def test_a_denial_that_only_an_earlier_process_heard_of_is_kept_and_not_cleared(tenant: str | None) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World()
        world.blocked.restore([("out", SUSPENDED, 60.0)])
        assert await world.tenants.clear(tenant) == Cleared(cleared=0, kept=1)

    main()


@in_virtual_time
async def test_a_denial_is_counted_once_where_cache_and_memory_both_have_it() -> None:
    world = World()
    for tenant in ("out1", "out2", "in"):
        await world.lifecycle.get(tenant, world.deadline())
    world.blocked.restore([("out3", SUSPENDED, 60.0)])
    world.blocked.learned("out2", ACTIVE)  # so that only the cache knows it to be out
    assert await world.tenants.clear(None) == Cleared(cleared=3, kept=3)


@pytest.mark.parametrize("tenant", ["acme", None])
def test_what_is_fresh_to_some_who_ask_counts(tenant: str | None) -> None:
    """A plan is good for 5 minutes, longer than the standing."""

    @in_virtual_time
    async def main() -> None:
        world = World()
        await world.billing.get("acme", world.deadline())
        await asyncio.sleep(299.0)
        assert await world.standings.clear(tenant) == Cleared(cleared=1)
        await world.billing.get("acme", world.deadline())
        await asyncio.sleep(301.0)
        assert await world.standings.clear(tenant) == Cleared(cleared=0)

    main()


@in_virtual_time
async def test_clearing_one_tenant_makes_nobody_else_wait_longer() -> None:
    world = World()
    callers = [asyncio.ensure_future(world.credentials.get(f"a{n}", world.deadline())) for n in range(16)]
    await asyncio.sleep(0.05)
    assert await world.keys.clear("b") == Cleared(cleared=0)
    found = await asyncio.gather(*callers)
    assert [fetched.value for fetched in found] == [key("a")] * 16
    assert len(world.loads) == 16
    assert world.credentials.peek("a0") is not None
    assert world.clock() == pytest.approx(1_000.1)


@in_virtual_time
async def test_what_is_loaded_for_the_tenant_that_is_cleared_is_loaded_again_in_the_slot_it_left() -> None:
    world = World()
    ids = [f"{tenant}{n}" for n in range(32) for tenant in "a-"]
    callers = [asyncio.ensure_future(world.credentials.get(key_id, world.deadline())) for key_id in ids]
    await asyncio.sleep(0.05)
    assert world.credentials.stats().in_flight == 64
    await world.keys.clear("a")
    late = [asyncio.ensure_future(world.credentials.get(key_id, world.deadline())) for key_id in ids]
    found = await asyncio.gather(*callers, *late)
    assert [fetched.value for fetched in found] == [key("a"), None] * 64
    assert sorted(world.loads) == sorted(ids * 2)
    assert world.clock() == pytest.approx(1_000.2)


@pytest.mark.parametrize("tenant", ["nobody", "a", None])
def test_however_much_there_is_others_have_their_turn_while_a_cache_is_cleared(tenant: str | None) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World()
        for number in range(20 * SLICE):
            world.credentials.put(f"a{number}", key("a"))
        looked: list[int] = []
        clearing = asyncio.ensure_future(world.keys.clear(tenant))
        while not clearing.done():
            await asyncio.sleep(0)
            looked.append(world.credentials.stats().entries)
        assert len(looked) >= 20
        assert await clearing == Cleared(cleared=0 if tenant == "nobody" else 20 * SLICE)
        assert looked[0] == (0 if tenant is None else 19 * SLICE if tenant == "a" else 20 * SLICE)

    main()
