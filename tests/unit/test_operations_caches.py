"""Caches seen and cleared (spec section 7): what is fresh goes, what denies stays for an outage, nothing older comes back."""

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from extauthz.authn import Refusals
from extauthz.authn.refusals import KeyFault
from extauthz.changes.audit import OperationTrail
from extauthz.changes.caches import CacheChanges, CacheView, ChargeCache, Cleared, KeyCache, OperatedCache, TenantCache
from extauthz.errors import NotFound, ProviderError
from extauthz.model.billing import Limits
from extauthz.model.deadline import Deadline
from extauthz.model.identity import ApiKey
from extauthz.model.protection import Charge, ChargeResult, Dimension, Exceeded
from extauthz.ports import Fetched, Unavailable
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.guard import Guard
from extauthz.resilience.policy import BreakerPolicy, CachePolicy, ChargePolicy, GuardPolicy
from extauthz.testing import in_virtual_time
from tests.back_office import CHANGE, Hung, Office, Unheard

REFUSED = ChargeResult(
    charged=False, exceeded=(Exceeded(dimension=Dimension.RATE, wait_us=5_000_000, current=1, allowed=1),)
)


def key(key_id: str, tenant_id: str) -> ApiKey:
    return ApiKey(key_id=key_id, tenant_id=tenant_id, secret_hash=b"h", mac_pepper="p", hash_pepper="p", created_at=1.0)


class Refusing:
    """A protection provider somewhere else, which refuses every charge."""

    in_process = False

    async def charge(self, _charge: Charge) -> ChargeResult:
        return REFUSED


class World:
    """The four providers behind their guards; `states` and `keys` are what two of them know, `out` makes them fail."""

    def __init__(self, store: object = None) -> None:
        self.clock = asyncio.get_running_loop().time
        self.office = Office() if store is None else Office(store=store)
        self.states: dict[str, str] = {"acme": "ACTIVE", "gone": "TERMINATED"}
        self.keys: dict[str, ApiKey] = {}
        self.out = False
        self.delay = 0.0
        self.lifecycle = self.guard("lifecycle", self.find_state)
        self.credentials = self.guard("credentials", self.find_key)
        self.refusals = Refusals(clock=self.clock)
        self.protection = ChargeGuard(
            provider=Refusing(),  # type: ignore[arg-type]  # nothing but a charge is asked of it here
            policy=ChargePolicy(timeout=0.1),
            breaker=self.breaker("protection"),
            observer=Unheard(),
            clock=self.clock,
        )
        caches: Mapping[str, OperatedCache] = {
            "credentials": KeyCache(self.credentials, self.refusals, 100),
            "lifecycle": TenantCache("lifecycle", self.lifecycle, 100),
            "protection": ChargeCache(self.protection, 1000),
        }
        self.caches = CacheChanges(OperationTrail(self.office.desk()), caches)

    def breaker(self, name: str) -> Breaker:
        policy = BreakerPolicy(failures=3, window=10.0, reset=30.0)
        return Breaker(provider=name, policy=policy, clock=self.clock, observer=Unheard())

    def guard(self, name: str, load):  # type: ignore[no-untyped-def]  # noqa: ANN001 - of either
        return Guard(
            operation=f"find_{name}",
            load=load,
            policy=GuardPolicy(timeout=0.5, cache=CachePolicy(ttl=5.0, max_stale=3600.0), max_in_flight=None),
            breaker=self.breaker(name),
            observer=Unheard(),
            clock=self.clock,
            denies=lambda value: value == "TERMINATED",
        )

    async def find_state(self, tenant_id: str) -> str | None:
        state = self.states.get(tenant_id)
        await asyncio.sleep(self.delay)
        if self.out:
            raise ProviderError("gone")
        return state

    async def find_key(self, key_id: str) -> ApiKey | None:
        return self.keys.get(key_id)

    async def look(self, tenant_id: str) -> Fetched[str | None]:
        found: Fetched[str | None] = await self.lifecycle.get(tenant_id, Deadline.after(1.0, self.clock))
        return found

    async def charge(self, tenant_id: str) -> None:
        charge = Charge(tenant_id=tenant_id, limits=Limits(rate=1), blocking=frozenset({Dimension.RATE}), cost=0)
        await self.protection.charge(charge, Deadline.after(1.0, self.clock))

    def view(self, provider: str, number: int = 0) -> CacheView:
        return [view for view in self.caches.all() if view.provider == provider][number]


@in_virtual_time
async def test_cleared_the_provider_is_asked_anew() -> None:
    world = World()
    assert (await world.look("acme")).value == "ACTIVE"
    world.states["acme"] = "SUSPENDED"
    assert (await world.look("acme")).value == "ACTIVE"
    assert await world.caches.clear("lifecycle", "acme", CHANGE) == Cleared(cleared=1, kept=0)
    assert (await world.look("acme")).value == "SUSPENDED"
    assert await world.caches.clear("lifecycle", "nobody", CHANGE) == Cleared(cleared=0, kept=0)


@pytest.mark.parametrize("tenant", ["gone", None])
def test_clearing_never_brings_a_terminated_tenant_back_in_an_outage(tenant: str | None) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World()
        await world.look("gone")
        await world.look("acme")
        world.out = True
        done = await world.caches.clear("lifecycle", tenant, CHANGE)
        assert done == (Cleared(cleared=1, kept=1) if tenant else Cleared(cleared=2, kept=1))
        with pytest.raises(Unavailable) as caught:
            await world.look("gone")
        assert caught.value.last_known is not None
        assert caught.value.last_known.value == "TERMINATED"

    main()


@in_virtual_time
async def test_what_was_cleared_in_an_outage_and_permits_is_not_there_to_stand_in() -> None:
    world = World()
    await world.look("acme")
    world.out = True
    await world.caches.clear("lifecycle", None, CHANGE)
    with pytest.raises(Unavailable) as caught:
        await world.look("acme")
    assert caught.value.last_known is None


@pytest.mark.parametrize("tenant", ["acme", None])
def test_a_load_under_way_never_refills_what_was_cleared(tenant: str | None) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World()
        world.delay = 0.2
        under_way = asyncio.ensure_future(world.look("acme"))
        await asyncio.sleep(0.1)
        world.states["acme"] = "TERMINATED"
        await world.caches.clear("lifecycle", tenant, CHANGE)
        assert (await under_way).value == "TERMINATED"
        assert (await world.look("acme")).value == "TERMINATED"

    main()


@in_virtual_time
async def test_of_credentials_the_keys_of_one_tenant_go_and_every_refusal() -> None:
    world = World()
    world.keys = {"a1": key("a1", "acme"), "a2": key("a2", "acme"), "b1": key("b1", "other")}
    for key_id in ("a1", "a2", "b1", "unknown"):
        await world.credentials.get(key_id, Deadline.after(1.0, world.clock))
    world.refusals.remember(b"digest", KeyFault.UNKNOWN, world.refusals.generation)
    assert world.refusals.find(b"digest") is KeyFault.UNKNOWN
    assert (world.view("credentials", 1).entries, world.view("credentials", 1).hits) == (1, 1)
    assert await world.caches.clear("credentials", "acme", CHANGE) == Cleared(cleared=3)
    assert [world.credentials.holds(key_id) for key_id in ("a1", "a2", "b1", "unknown")] == [False, False, True, False]
    assert world.refusals.find(b"digest") is None
    assert await world.caches.clear("credentials", None, CHANGE) == Cleared(cleared=1)


@in_virtual_time
async def test_a_key_that_is_being_loaded_is_loaded_again_whosever_it_is() -> None:
    world = World()
    gate, loads = asyncio.Event(), list[str]()

    async def slowly(key_id: str) -> ApiKey | None:
        loads.append(key_id)
        found = world.keys.get(key_id)
        await gate.wait()
        return found

    guard: Guard[str, ApiKey | None] = world.guard("credentials", slowly)
    under_way = asyncio.ensure_future(guard.get("a1", Deadline.after(1.0, world.clock)))
    await asyncio.sleep(0.01)
    world.keys = {"a1": key("a1", "acme")}
    await KeyCache(guard, world.refusals, 100).clear("acme")
    gate.set()
    assert (await under_way).value == world.keys["a1"]
    assert loads == ["a1", "a1"]


@in_virtual_time
async def test_of_protection_the_remembered_refusals_go() -> None:
    world = World()
    for tenant in ("acme", "acme", "other"):
        await world.charge(tenant)
    view = world.view("protection")
    assert (view.operation, view.entries, view.max_entries, view.hits) == ("refused", 2, 1000, 1)
    assert (view.misses, view.hit_rate, view.in_flight) == (None, None, 0)
    assert await world.caches.clear("protection", "acme", CHANGE) == Cleared(cleared=1)
    assert await world.caches.clear("protection", None, CHANGE) == Cleared(cleared=1)


@in_virtual_time
async def test_a_cache_shows_its_size_and_its_hit_rate() -> None:
    world = World()
    assert world.view("lifecycle").hit_rate is None
    for _ in range(4):
        await world.look("acme")
    view = world.view("lifecycle")
    assert (view.operation, view.entries, view.max_entries) == ("find_lifecycle", 1, 100)
    assert (view.hits, view.misses, view.stale, view.hit_rate) == (3, 1, 0, 0.75)


def test_clearing_leaves_a_record_with_whom_it_concerns_and_a_line_in_the_log() -> None:
    @in_virtual_time
    async def main() -> None:
        world = World()
        await world.look("acme")
        await world.caches.clear("lifecycle", "acme", CHANGE)
        await world.caches.clear("lifecycle", None, CHANGE)
        for whose, after in (("acme", "lifecycle: 1 cleared, 0 kept"), ("_system", "lifecycle: 0 cleared, 0 kept")):
            (record,) = await world.office.store.history(whose)
            assert (record.what, record.after, record.change) == ("cache_cleared", after, CHANGE)

    with capture_logs() as logged:
        main()
    assert [(line["event"], line["tenant_id"], line["reason"]) for line in logged] == [
        ("cache_cleared", "acme", "because"),
        ("cache_cleared", None, "because"),
    ]


@in_virtual_time
async def test_it_is_done_at_once_although_the_store_of_the_records_hangs() -> None:
    world = World(store=Hung())
    await world.look("acme")
    started = world.clock()
    clearing = asyncio.ensure_future(world.caches.clear("lifecycle", None, CHANGE))
    await asyncio.sleep(0.000_001)
    assert world.view("lifecycle").entries == 0
    await clearing
    assert world.clock() - started <= 0.5


@in_virtual_time
async def test_a_cache_that_is_none_is_not_found() -> None:
    with pytest.raises(NotFound, match="credentials, lifecycle, protection"):
        await World().caches.clear("events", None, CHANGE)
