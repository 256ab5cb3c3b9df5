"""Events in PostgreSQL beyond the contract: append-only by the schema itself, capped, shared, in time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic

import pytest

from extauthz.errors import InvalidRecord, ProviderError, ProviderTimeout
from extauthz.model.event import EventType
from extauthz.providers.postgres_events import PostgresEvents
from extauthz.testing.contracts_events import ALL, START, make_event, make_events
from tests.postgres import shared

KIB = 1024


@asynccontextmanager
async def opened(
    url: str,
    *,
    max_size: int = 1 << 30,
    on_retention: Callable[[int], None] = lambda _: None,
    limit: float = 5.0,
) -> AsyncIterator[PostgresEvents]:
    store = PostgresEvents(url, max_size=max_size, on_retention=on_retention, append_timeout=limit, query_timeout=limit)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def url() -> Iterator[str]:
    with shared().database() as url:
        yield url


UPSERT = """
    INSERT INTO extauthz.events SELECT timestamp, event_id, tenant_id, event_type, event_source, severity, actor_type, actor_id,
        request_id, trace_id, payload FROM extauthz.events
    ON CONFLICT (event_id) DO UPDATE SET payload = ''
"""


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE extauthz.events SET payload = '{}'", "append-only"),
        ("DELETE FROM extauthz.events", "append-only"),
        ("TRUNCATE extauthz.events", "append-only"),
        ("INSERT INTO extauthz.events VALUES (1, 'x', '', '', '', '', '', '', '', '', '')", "events_have_a_tenant"),
        (UPSERT, "append-only"),
    ],
)
async def test_observe_002_the_schema_itself_refuses_to_change_or_remove_an_event(
    url: str, statement: str, refusal: str
) -> None:
    async with opened(url) as store:
        await store.append(make_events(3))
        with pytest.raises(RuntimeError, match=refusal):
            shared().sql(statement, url)
        assert list(await store.query(ALL)) == make_events(3)


async def test_observe_002_the_store_keeps_below_its_size_by_removing_the_oldest_and_counts_them(url: str) -> None:
    removed: list[int] = []
    events = [replace(make_event(number), payload={"text": "x" * 500}) for number in range(2_000)]
    async with opened(url, max_size=512 * KIB, on_retention=removed.append) as store:
        for block in range(0, len(events), 100):
            for start in range(block + 80, block - 20, -20):  # not in the order of their time: age counts, not arrival
                await store.append(events[start : start + 20])
        kept = list(await store.query(replace(ALL, limit=10_000)))
        assert await store.size_bytes() > 0
    assert 300 < len(kept) < len(events)
    assert kept == events[-len(kept) :]
    assert sum(removed) == len(events) - len(kept)
    assert max(removed) <= 4 * 20
    bytes_now, removed_ever = shared().sql("SELECT bytes, removed FROM extauthz.retention", url)[0].split("|")
    assert int(removed_ever) == sum(removed)
    assert [bytes_now] == shared().sql("SELECT sum(size) FROM extauthz.events", url)
    assert int(bytes_now) <= 512 * KIB


async def test_observe_002_replicas_that_share_a_store_count_each_event_removed_once(url: str) -> None:
    removed: list[int] = []
    events = [replace(make_event(number), payload={"text": "x" * 500}) for number in range(600)]
    async with (
        opened(url, max_size=64 * KIB, on_retention=removed.append) as one,
        opened(url, max_size=64 * KIB, on_retention=removed.append) as two,
    ):
        for start in range(0, 600, 60):
            await asyncio.gather(
                *(
                    store.append(events[start + part : start + part + 30])
                    for part in (0, 30)
                    for store in (one, two)  # each event twice: from a replay, say
                )
            )
        kept = list(await one.query(replace(ALL, limit=1_000)))
    assert kept == events[-len(kept) :]
    assert sum(removed) == len(events) - len(kept) > 0


async def test_a_smaller_size_is_reached_step_by_step(url: str) -> None:
    events = [replace(make_event(number), payload={"text": "x" * 500}) for number in range(300)]
    async with opened(url) as store:
        await store.append(events)
    removed: list[int] = []
    async with opened(url, max_size=64 * KIB, on_retention=removed.append) as store:
        for number in range(100):
            await store.append([make_event(1_000 + number)])
        kept = list(await store.query(replace(ALL, limit=10_000)))
    assert removed[0] == 4
    assert 1 < len(kept) == 400 - sum(removed)
    assert kept[-1] == make_event(1_099)


async def test_a_size_below_everything_keeps_nothing_and_still_answers(url: str) -> None:
    removed: list[int] = []
    async with opened(url, max_size=1, on_retention=removed.append) as store:
        await store.append(make_events(3))
        assert list(await store.query(ALL)) == []
    assert removed == [3]


async def test_a_word_of_a_newer_version_is_named_and_is_no_failure_of_the_store(url: str) -> None:
    async with opened(url) as store:
        await store.append(make_events(1))
        shared().sql(
            "INSERT INTO extauthz.events SELECT timestamp, 'new', tenant_id, 'tenant_cloned', event_source, severity,"
            " actor_type, actor_id, request_id, trace_id, payload FROM extauthz.events",
            url,
        )
        with pytest.raises(InvalidRecord, match=r"'new'.*tenant_cloned"):
            await store.query(ALL)
        known = replace(ALL, types=frozenset({EventType.PROTECTION_DECISION}))
        assert list(await store.query(known)) == make_events(1)


async def test_any_text_can_be_a_tenant_in_a_query(url: str) -> None:
    async with opened(url) as store:
        odd = [make_event(number, tenant_id=text) for number, text in enumerate(("a\0b", "a\\0b", "a\\\\b"))]
        await store.append(odd)
        for event in odd:
            assert list(await store.query(replace(ALL, tenant_id=event.tenant_id))) == [event]
        assert list(await store.query(replace(ALL, tenant_id="\udcff"))) == []


async def test_queries_use_the_index(url: str) -> None:
    async with opened(url) as store:
        await store.append(make_events(200))
    plan = shared().sql(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN SELECT * FROM extauthz.events"
        f" WHERE tenant_id = 'acme' AND (timestamp, event_id) > ({START}, '') AND timestamp < {START + 1}"
        " ORDER BY timestamp, event_id LIMIT 100",
        url,
    )
    assert "Index Scan using events_by_tenant" in plan[1]
    assert not any("Sort" in line for line in plan)


async def test_a_frozen_server_holds_nobody_longer_than_the_deadline(url: str) -> None:
    async with opened(url, limit=0.3) as store:
        await store.append(make_events(1))
        shared().freeze()
        try:
            begin = monotonic()
            attempts = store.append(make_events(3)), store.query(ALL), store.size_bytes()
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert monotonic() - begin < 5.0
            assert {type(result) for result in results} == {ProviderTimeout}
        finally:
            shared().thaw()
        async with asyncio.timeout(20):
            while True:
                try:
                    await store.append(make_events(3))
                    break
                except ProviderError:
                    await asyncio.sleep(0.05)
        assert list(await store.query(ALL)) == make_events(3)


async def test_a_closed_store_says_so(url: str) -> None:
    async with opened(url) as store:
        await store.append(make_events(1))
    with pytest.raises(ProviderError, match="closed"):
        await store.query(ALL)
