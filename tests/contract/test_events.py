"""The embedded event stores against the one contract (OBSERVE-005), and what each does beyond it."""

import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from extauthz.errors import InvalidRecord, ProviderError, SchemaMismatch
from extauthz.model.event import EventSource, EventType
from extauthz.ports import EventStore
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.sqlite_events import SqliteEvents
from extauthz.testing.contracts_events import ALL, START, EventStoreContract, make_event, make_events

KIB = 1024


@asynccontextmanager
async def opened(
    path: Path, *, max_size: int = 1 << 30, on_retention: Callable[[int], None] = lambda _: None
) -> AsyncIterator[SqliteEvents]:
    store = SqliteEvents(path, max_size=max_size, on_retention=on_retention)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


class TestObserve005MemoryEvents(EventStoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[EventStore]:
        store = MemoryEvents()
        await store.start()
        yield store
        await store.close()


class TestObserve005SqliteEvents(EventStoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[EventStore]:
        with TemporaryDirectory() as directory:
            async with opened(Path(directory, "events.db")) as store:
                yield store


# In a file


async def test_events_survive_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "events.db") as store:
        await store.append(make_events(3))
    async with opened(tmp_path / "events.db") as store:
        await store.append([make_event(2), make_event(3)])
        assert list(await store.query(ALL)) == make_events(4)


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "events.db") as store:
        await store.append(make_events(1))
        assert modes(tmp_path) == {0o600}


def modes(directory: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


NAMELESS = """
    INSERT INTO events SELECT NULL, timestamp, 'x', '', event_type, event_source, severity, actor_type, actor_id, request_id,
        trace_id, payload FROM events
"""


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE events SET payload = '{}'", "append-only"),
        ("DELETE FROM events", "append-only"),
        (NAMELESS, "events_have_a_tenant"),
    ],
)
async def test_observe_002_the_schema_itself_refuses_to_change_or_remove_an_event(
    tmp_path: Path, statement: str, refusal: str
) -> None:
    path = tmp_path / "events.db"
    async with opened(path) as store:
        await store.append(make_events(3))
        with closing(sqlite3.connect(path)) as raw, pytest.raises(sqlite3.IntegrityError, match=refusal):
            raw.execute(statement)
        assert list(await store.query(ALL)) == make_events(3)


async def test_observe_002_an_event_cannot_be_replaced_either(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with opened(path) as store:
        await store.append(make_events(3))
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute("INSERT OR REPLACE INTO events SELECT * FROM events")
            raw.execute(
                "INSERT OR REPLACE INTO events SELECT id, timestamp, 'new', tenant_id, event_type, event_source, severity,"
                " actor_type, actor_id, request_id, trace_id, '{}' FROM events"
            )
        assert list(await store.query(ALL)) == make_events(3)


async def test_observe_002_the_file_keeps_below_its_size_by_removing_the_oldest_and_counts_them(tmp_path: Path) -> None:
    path, removed = tmp_path / "events.db", list[int]()
    events = [replace(make_event(number), payload={"text": "x" * 500}) for number in range(3_000)]
    async with opened(path, max_size=512 * KIB, on_retention=removed.append) as store:
        for block in range(0, len(events), 100):
            for start in range(block + 80, block - 20, -20):  # not in the order of their time: age counts, not arrival
                await store.append(events[start : start + 20])
            assert path.stat().st_size <= 512 * KIB
        kept = list(await store.query(replace(ALL, limit=10_000)))
        assert await store.size_bytes() >= path.stat().st_size
    assert 300 < len(kept) < len(events)
    assert kept == events[-len(kept) :]
    assert sum(removed) == len(events) - len(kept)
    assert max(removed) <= 4 * 20
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT running, removed FROM retention").fetchall() == [(0, sum(removed))]


async def test_a_smaller_size_is_reached_step_by_step(tmp_path: Path) -> None:
    events = [replace(make_event(number), payload={"text": "x" * 500}) for number in range(600)]
    async with opened(tmp_path / "events.db") as store:
        await store.append(events)
    removed: list[int] = []
    async with opened(tmp_path / "events.db", max_size=128 * KIB, on_retention=removed.append) as store:
        for number in range(200):
            await store.append([make_event(1_000 + number)])
        kept = list(await store.query(replace(ALL, limit=10_000)))
    assert removed[0] == 4
    assert 1 < len(kept) == 800 - sum(removed)
    assert kept[-1] == make_event(1_199)


async def test_a_size_below_everything_keeps_nothing_and_still_answers(tmp_path: Path) -> None:
    removed: list[int] = []
    async with opened(tmp_path / "events.db", max_size=1, on_retention=removed.append) as store:
        await store.append(make_events(3))
        assert list(await store.query(ALL)) == []
    assert removed == [3]


async def test_the_file_of_another_provider_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript("CREATE TABLE tenants (tenant_id TEXT); PRAGMA application_id = 0x45585401")
    store = SqliteEvents(path)
    with pytest.raises(SchemaMismatch, match="tenants, plans and keys"):
        await store.start()
    with pytest.raises(SchemaMismatch):
        await store.append(make_events(1))
    await store.close()


async def test_a_word_of_a_newer_version_is_named_and_is_no_failure_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with opened(path) as store:
        await store.append(make_events(1))
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(
                "INSERT INTO events SELECT NULL, timestamp, 'new', tenant_id, 'tenant_cloned', event_source, severity,"
                " actor_type, actor_id, request_id, trace_id, payload FROM events"
            )
        with pytest.raises(InvalidRecord, match=r"'new'.*tenant_cloned"):
            await store.query(ALL)
        known = replace(ALL, types=frozenset({EventType.PROTECTION_DECISION}))
        assert list(await store.query(known)) == make_events(1)


async def test_payloads_hold_what_json_can_say(tmp_path: Path) -> None:
    loop: dict[str, object] = {}
    loop["self"] = loop
    async with opened(tmp_path / "events.db") as store:
        for payload in (loop, {"cost": float("inf")}):
            with pytest.raises(InvalidRecord, match="payload"):
                await store.append([make_event(1), replace(make_event(2), payload=payload)])
        await store.append([replace(make_event(3), payload={"source": EventSource.AUTH, "path": Path("x"), 7: 8})])  # type: ignore[dict-item] # a key that JSON has no form for
        (found,) = await store.query(ALL)
    assert found.payload == {"source": "auth", "path": "x", "7": 8}


async def test_queries_use_the_index(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with opened(path) as store:
        await store.append(make_events(1))
    with closing(sqlite3.connect(path)) as raw:
        plan = raw.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM events WHERE tenant_id = 'acme' AND (timestamp, event_id) > (?, '')"
            " AND timestamp < ? ORDER BY timestamp, event_id LIMIT 100",
            (START, START + 1),
        ).fetchall()
    assert [row[-1] for row in plan] == [
        "SEARCH events USING INDEX events_by_tenant (tenant_id=? AND (timestamp,event_id)>(?,?) AND timestamp<?)"
    ]


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path / "events.db") as store:
        await store.append(make_events(1))
    with pytest.raises(ProviderError):
        await store.query(ALL)
