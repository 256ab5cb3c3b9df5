"""Last-used times and renewed hashes: batched, coalesced, bounded, never in the way."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from extauthz.authn import KeyUses
from extauthz.errors import ProviderError
from extauthz.model.identity import KeyUse
from extauthz.testing.clock import in_virtual_time

HASH = (b"h" * 32, "pepper")
AT = 1_767_268_800.0


class FakeStore:
    """Keeps batches; can fail, and can hang and ignore that it is cancelled."""

    def __init__(self) -> None:
        self.batches: list[list[KeyUse]] = []
        self.broken = False
        self.resume: asyncio.Event | None = None
        self.begun = 0

    async def record_uses(self, uses: Sequence[KeyUse]) -> None:
        self.begun += 1
        while self.resume is not None and not self.resume.is_set():
            try:
                await self.resume.wait()
            except asyncio.CancelledError:
                continue
        if self.broken:
            raise ProviderError("gone")
        self.batches.append(list(uses))

    @property
    def uses(self) -> list[tuple[str, float, bytes | None]]:
        return [(use.key_id, use.used_at - AT, use.secret_hash) for batch in self.batches for use in batch]


class Dropped:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, count: int) -> None:
        self.count += count


@in_virtual_time
async def test_uses_are_written_in_the_background_soon_after() -> None:
    store = FakeStore()
    uses = KeyUses(store.record_uses, every=2.0)
    await uses.start()
    await uses.start()
    uses.note("a", AT)
    await asyncio.sleep(1.9)
    assert store.batches == []
    uses.note("b", AT + 1)
    await asyncio.sleep(0.2)
    assert store.uses == [("a", 0, None), ("b", 1, None)]
    assert len(store.batches) == 1
    uses.note("c", AT + 3)
    await asyncio.sleep(2.1)
    assert store.uses[2:] == [("c", 3, None)]
    await asyncio.sleep(3600)
    assert store.begun == 2
    await uses.close()


async def test_a_key_is_noted_at_most_once_a_minute() -> None:
    store = FakeStore()
    uses = KeyUses(store.record_uses)
    for second in (0, 1, 59.5, 60, 61, 119, 120.5):
        uses.note("a", AT + second)
        await uses.flush()
    assert [second for _, second, _ in store.uses] == [0, 60, 120.5]


async def test_a_calendar_that_is_set_back_does_not_stop_the_notes() -> None:
    store = FakeStore()
    uses = KeyUses(store.record_uses)
    for second in (3600, 0, 30, 60):
        uses.note("a", AT + second)
        await uses.flush()
    assert [second for _, second, _ in store.uses] == [3600, 0, 60]


async def test_a_renewed_hash_is_written_whatever_else_is_noted_of_the_key() -> None:
    store = FakeStore()
    uses = KeyUses(store.record_uses, interval=0.5)
    uses.note("a", AT)
    uses.note("a", AT, HASH)
    uses.note("a", AT + 1)
    await uses.flush()
    assert store.uses == [("a", 1, HASH[0])]
    uses.note("a", AT + 1.25, (b"x" * 32, "newer"))
    uses.note("a", AT + 1.5, HASH)
    await uses.flush()
    assert store.uses[1:] == [("a", 1.5, HASH[0])]
    assert [use.hash_pepper for batch in store.batches for use in batch] == ["pepper", "pepper"]


async def test_large_amounts_go_in_batches() -> None:
    store = FakeStore()
    uses = KeyUses(store.record_uses)
    for number in range(1_201):
        uses.note(f"key-{number}", AT)
    assert uses.pending == 1_201
    await uses.flush()
    assert [len(batch) for batch in store.batches] == [500, 500, 201]
    assert uses.pending == 0


async def test_a_write_that_fails_is_dropped_and_counted_and_the_next_one_is_made() -> None:
    store, dropped = FakeStore(), Dropped()
    uses = KeyUses(store.record_uses, dropped=dropped)
    for number in range(700):
        uses.note(f"key-{number}", AT)
    store.broken = True
    await uses.flush()
    assert (dropped.count, store.begun, uses.pending) == (700, 1, 0)
    store.broken = False
    uses.note("key-1", AT + 60)
    await uses.flush()
    assert store.uses == [("key-1", 60, None)]


async def test_more_keys_than_may_wait_are_dropped_and_counted() -> None:
    store, dropped = FakeStore(), Dropped()
    uses = KeyUses(store.record_uses, max_pending=10, dropped=dropped)
    for number in range(50_000):
        uses.note(f"key-{number}", AT)
    assert (uses.pending, dropped.count) == (10, 49_990)
    uses.note("key-1", AT + 99)
    await uses.flush()
    assert ("key-1", 99, None) in store.uses


async def test_what_is_remembered_of_last_notes_is_bounded_and_ends_with_the_minute() -> None:
    uses = KeyUses(FakeStore().record_uses, max_remembered=100, max_pending=1_000_000)
    for number in range(5_000):
        uses.note(f"key-{number}", AT)
    assert uses.remembered == 100
    uses.note("late", AT + 61)
    assert uses.remembered == 1


@in_virtual_time
async def test_a_write_that_hangs_is_left_behind_at_its_deadline() -> None:
    store, dropped = FakeStore(), Dropped()
    store.resume = asyncio.Event()
    uses = KeyUses(store.record_uses, every=1, timeout=2.0, dropped=dropped)
    await uses.start()
    uses.note("a", AT)
    await asyncio.sleep(2.9)
    assert (store.begun, dropped.count) == (1, 0)
    await asyncio.sleep(0.2)
    assert dropped.count == 1
    store.resume.set()
    uses.note("b", AT)
    await asyncio.sleep(1.1)
    assert ("b", 0, None) in store.uses
    await uses.close()


@in_virtual_time
async def test_closing_writes_what_waits() -> None:
    store = FakeStore()
    uses = KeyUses(store.record_uses)
    await uses.start()
    uses.note("a", AT)
    await uses.close()
    assert store.uses == [("a", 0, None)]
    await uses.close()
    assert store.begun == 1


@in_virtual_time
async def test_closing_in_the_middle_of_a_write_loses_nothing_and_ends_in_time() -> None:
    store, dropped = FakeStore(), Dropped()
    store.resume = asyncio.Event()
    uses = KeyUses(store.record_uses, every=1, timeout=5.0, dropped=dropped)
    await uses.start()
    uses.note("a", AT, HASH)
    uses.note("b", AT)
    await asyncio.sleep(2)
    uses.note("a", AT + 90)
    closing = asyncio.create_task(uses.close())
    await asyncio.sleep(1)
    store.resume.set()
    await closing
    assert store.uses[-2:] == [("a", 90, HASH[0]), ("b", 0, None)]
    assert (dropped.count, uses.pending) == (0, 0)
    store.resume.clear()
    uses.note("c", AT)
    before = asyncio.get_running_loop().time()
    await uses.close()
    assert (asyncio.get_running_loop().time() - before, dropped.count) == (5.0, 1)
    store.resume.set()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90)), max_size=40))
def test_no_key_is_written_oftener_than_its_interval_and_no_minute_is_left_out(notes: list[tuple[str, int]]) -> None:
    store, second = FakeStore(), 0
    expected: list[tuple[str, float, bytes | None]] = []
    last: dict[str, int] = {}

    async def note(key: str) -> None:
        uses.note(key, AT + second)
        await uses.flush()

    with asyncio.Runner() as runner:
        uses = KeyUses(store.record_uses, interval=60)
        for key, wait in notes:
            second += wait
            if key not in last or second - last[key] >= 60:
                last[key] = second
                expected.append((key, second, None))
            runner.run(note(key))
    assert store.uses == expected
