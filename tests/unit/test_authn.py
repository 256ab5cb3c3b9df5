"""API keys as a way to authenticate: bad keys, caching, outages, refusals (spec 3.2)."""

import asyncio
from dataclasses import replace

import pytest

from extauthz.authn import ApiKeyMint, ApiKeys, PepperBook, Refusals
from extauthz.errors import InvalidCredential
from extauthz.model.deadline import Deadline
from extauthz.model.decision import FallbackReason
from extauthz.model.identity import ApiKey, AuthMethod, Principal
from extauthz.ports import Presented, Unavailable
from extauthz.testing.clock import FakeClock, FakeWallClock
from extauthz.testing.lookup import FakeLookup

OLD, NEW = "old-" + "o" * 40, "new-" + "n" * 40


class FakeUses:
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, float, tuple[bytes, str] | None]] = []

    def note(self, key_id: str, at: float, renewed: tuple[bytes, str] | None = None) -> None:
        self.noted.append((key_id, at, renewed))


class World:
    """One deployment: a store of keys, the clocks, the method under test."""

    def __init__(self, *peppers: str) -> None:
        self.book = PepperBook(peppers or (OLD,))
        self.clock = FakeClock()
        self.wall = FakeWallClock(clock=self.clock)
        self.lookup: FakeLookup[str, ApiKey | None] = FakeLookup(None)
        self.refusals = Refusals(clock=self.clock)
        self.uses = FakeUses()
        self.deadline = Deadline.after(1.0, self.clock)
        self.keys = ApiKeys(
            peppers=self.book, lookup=self.lookup, refusals=self.refusals, uses=self.uses, wall=self.wall
        )

    def issue(self, tenant_id: str = "acme", *, expires_in: float | None = None, book: PepperBook | None = None) -> str:
        now = self.wall()
        expires_at = None if expires_in is None else now + expires_in
        record, text = ApiKeyMint(book or self.book).mint(tenant_id, frozenset(), expires_at, now)
        self.lookup.records[record.key_id] = record
        return text

    def revoke(self, text: str) -> None:
        """As the admin port does: the cache has it at once, refusals are forgotten."""
        record = self.lookup.records[text[5:21]]
        assert record is not None
        self.lookup.put(record.key_id, replace(record, revoked_at=self.wall()))
        self.refusals.forget_all()

    async def verify(self, text: str) -> Principal:
        """As the pipeline does: what can be told now, else a look-up."""
        presented = Presented(header="x-api-key", credential=text)
        known = self.keys.verify_now(presented)
        return await self.keys.verify(presented, self.deadline) if known is None else known

    async def fault(self, text: str) -> str:
        with pytest.raises(InvalidCredential) as caught:
            await self.verify(text)
        return str(caught.value)


@pytest.fixture
def world() -> World:
    return World()


# Bad keys


async def test_a_good_key_verifies_with_one_look_up_and_is_then_answered_from_the_cache(world: World) -> None:
    key = world.issue()
    for _ in range(3):
        principal = await world.verify(key)
        assert (principal.tenant_id, principal.subject, principal.method) == ("acme", key[5:21], AuthMethod.API_KEY)
    assert world.lookup.queries == [key[5:21]]
    world.lookup.forget(key[5:21])
    await world.verify(key)
    assert world.lookup.queries == [key[5:21]] * 2


async def test_right_id_and_wrong_secret(world: World) -> None:
    key = world.issue()
    wrong = key[:-1] + ("a" if key[-1] == "q" else "q")
    assert await world.fault(wrong) == "wrong_secret"
    assert (await world.verify(key)).tenant_id == "acme"
    assert await world.fault(wrong) == "wrong_secret"


async def test_unknown_id(world: World) -> None:
    key = World().issue()
    assert await world.fault(key) == "unknown"


@pytest.mark.parametrize("at", range(5, 29))
async def test_an_id_with_a_forged_mac_is_refused_without_a_query(world: World, at: int) -> None:
    key = world.issue()
    await world.verify(key)
    forged = key[:at] + ("a" if key[at] != "a" else "b") + key[at + 1 :]
    assert await world.fault(forged) == "forged"
    with pytest.raises(InvalidCredential, match="forged"):
        await world.keys.verify(Presented(header="x-api-key", credential=forged), world.deadline)
    assert world.lookup.queries == [key[5:21]]


async def test_a_revoked_key_is_refused_at_once_although_it_was_cached(world: World) -> None:
    key = world.issue()
    await world.verify(key)
    world.revoke(key)
    assert await world.fault(key) == "revoked"


async def test_a_key_that_expires_this_second_is_refused_although_it_was_cached(world: World) -> None:
    key = world.issue(expires_in=10)
    await world.verify(key)
    world.clock.advance(9.999)
    await world.verify(key)
    world.clock.advance(0.001)
    assert await world.fault(key) == "expired"
    assert world.lookup.queries == [key[5:21]]


async def test_a_key_that_ends_while_it_is_looked_up_is_refused(world: World) -> None:
    key = world.issue(expires_in=1)
    world.lookup.hold = asyncio.Event()
    task = asyncio.create_task(world.verify(key))
    await asyncio.sleep(0)
    world.clock.advance(1)
    world.lookup.hold.set()
    with pytest.raises(InvalidCredential, match="expired"):
        await task


async def test_a_flood_of_random_keys_makes_no_query_and_takes_no_memory(world: World) -> None:
    mint = ApiKeyMint(PepperBook([NEW]))
    real = world.issue()
    for _ in range(20_000):
        text = mint.mint("acme", frozenset(), None, 0.0)[1]
        with pytest.raises(InvalidCredential, match="forged"):
            world.keys.verify_now(Presented(header="x-api-key", credential=text))
    assert world.lookup.queries == []
    assert len(world.refusals) == 0
    assert (await world.verify(real)).tenant_id == "acme"


async def test_random_secrets_for_a_known_id_make_one_query_and_bounded_memory(world: World) -> None:
    key = world.issue()
    mint = ApiKeyMint(world.book)
    for _ in range(12_000):
        secret = mint.mint("acme", frozenset(), None, 0.0)[1][30:]
        assert await world.fault(key[:30] + secret) == "wrong_secret"
    assert world.lookup.queries == [key[5:21]]
    assert len(world.refusals) == 10_000


async def test_more_good_keys_than_are_remembered_verify_all_the_same(world: World) -> None:
    keys = [world.issue(f"tenant-{number}") for number in range(17_000)]
    for _ in range(2):
        for number, key in enumerate(keys):
            assert (await world.verify(key)).tenant_id == f"tenant-{number}"
    assert len(world.lookup.queries) == 17_000
    assert world.keys.remembered == 16_384


# Outage


async def test_while_the_store_is_down_unknown_keys_are_unavailable_and_bad_ones_stay_invalid(world: World) -> None:
    known, cold = world.issue(), world.issue()
    await world.verify(known)
    world.lookup.down = FallbackReason.CIRCUIT_OPEN
    assert (await world.verify(known)).tenant_id == "acme"
    with pytest.raises(Unavailable):
        await world.verify(cold)
    assert await world.fault(World(NEW).issue()) == "forged"
    world.lookup.forget(known[5:21])
    with pytest.raises(Unavailable):
        await world.verify(known)
    assert len(world.refusals) == 0


# Refusals


async def test_a_refusal_is_remembered_for_five_seconds_by_the_whole_key(world: World) -> None:
    key = World().issue()
    assert await world.fault(key) == "unknown"
    world.lookup.clear()
    world.clock.advance(4.999)
    assert await world.fault(key) == "unknown"
    assert world.lookup.queries == [key[5:21]]
    world.clock.advance(0.001)
    assert await world.fault(key) == "unknown"
    assert world.lookup.queries == [key[5:21]] * 2


async def test_refusals_are_dropped_when_keys_change(world: World) -> None:
    elsewhere = World()
    key = elsewhere.issue()
    assert await world.fault(key) == "unknown"
    record = elsewhere.lookup.records[key[5:21]]
    world.lookup.put(key[5:21], record)
    assert await world.fault(key) == "unknown"
    world.refusals.forget_all()
    assert (await world.verify(key)).tenant_id == "acme"


async def test_a_refusal_that_was_found_out_before_keys_changed_is_not_remembered(world: World) -> None:
    elsewhere = World()
    key = elsewhere.issue()
    world.lookup.hold = asyncio.Event()
    task = asyncio.create_task(world.fault(key))
    await asyncio.sleep(0)
    world.lookup.put(key[5:21], elsewhere.lookup.records[key[5:21]])
    world.refusals.forget_all()
    world.lookup.hold.set()
    assert await task == "unknown"
    assert len(world.refusals) == 0
    world.lookup.put(key[5:21], elsewhere.lookup.records[key[5:21]])
    assert (await world.verify(key)).tenant_id == "acme"


# Uses


async def test_every_use_that_verifies_is_noted_and_no_other(world: World) -> None:
    key = world.issue()
    await world.verify(key)
    world.clock.advance(1)
    await world.verify(key)
    world.revoke(key)
    await world.fault(key)
    await world.fault(World().issue())
    now = world.wall()
    assert world.uses.noted == [(key[5:21], now - 1, None), (key[5:21], now, None)]


async def test_a_hash_under_an_older_pepper_is_renewed_on_the_next_use() -> None:
    world = World(NEW, OLD)
    key = world.issue(book=PepperBook([OLD]))
    await world.verify(key)
    (renewed,) = [renewed for _, _, renewed in world.uses.noted if renewed is not None]
    record = world.lookup.records[key[5:21]]
    assert record is not None
    world.lookup.put(key[5:21], replace(record, secret_hash=renewed[0], hash_pepper=renewed[1]))
    await world.verify(key)
    await world.verify(key)
    assert len([renewed for _, _, renewed in world.uses.noted if renewed is not None]) == 1


async def test_a_pepper_that_was_taken_out_ends_its_keys_without_a_query() -> None:
    world = World(NEW)
    key = world.issue(book=PepperBook([OLD]))
    assert await world.fault(key) == "forged"
    assert world.lookup.queries == []
