"""What every event store must do (OBSERVE-005). Subclass `EventStoreContract` in a test module and say how to open one.

    class TestMine(EventStoreContract):
        @asynccontextmanager
        async def store(self) -> AsyncIterator[EventStore]:
            yield MyStore()

The suite needs no fixtures; its coroutines run under pytest-asyncio (`asyncio_mode = auto`) or any runner of the kind.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from extauthz.errors import InvalidRecord
from extauthz.model.event import Event, EventQuery, EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_TENANT, Actor, ActorType
from extauthz.ports import EventStore

__all__ = ["EventStoreContract", "make_event"]

START: Final = 1_767_268_800.0
TENANT: Final = "acme"
ALL: Final = EventQuery(tenant_id=TENANT, start=0.0, end=2 * START)


def make_event(number: int, *, tenant_id: str = TENANT, timestamp: float | None = None) -> Event:
    """The `number`th event of a tenant: one second after the one before it, with every field filled."""
    return Event(
        event_id=f"019b7a1c-0000-7000-8000-{number:012d}",
        type=EventType.PROTECTION_DECISION,
        source=EventSource.PROTECTION,
        tenant_id=tenant_id,
        timestamp=START + number if timestamp is None else timestamp,
        severity=Severity.WARN,
        actor=Actor(type=ActorType.MACHINE, id="key-1"),
        request_id="r-1",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        payload={"reason": "rate", "count": 3, "nested": {"tags": ["a", None, 1.5]}},
    )


def make_events(count: int) -> list[Event]:
    """So many events of one tenant, in order."""
    return [make_event(number) for number in range(count)]


class EventStoreContract(ABC):
    """The contract of `ports.EventStore`."""

    @abstractmethod
    def store(self) -> AbstractAsyncContextManager[EventStore]:
        """An empty store, for as long as the context lasts."""

    # What is kept

    async def test_an_event_comes_back_as_it_was(self) -> None:
        """Every field, the timestamp to the last bit, the payload as JSON has it."""
        event = replace(make_event(1), timestamp=START + 0.1 + 0.2)
        bare = Event(
            event_id="bare",
            type=EventType.CONFIG_RELOADED,
            source=EventSource.SYSTEM,
            tenant_id=TENANT,
            timestamp=START,
            severity=Severity.INFO,
            actor=Actor(type=ActorType.SYSTEM, id="extauthz"),
        )
        async with self.store() as store:
            await store.append([event, bare])
            assert list(await store.query(ALL)) == [bare, event]

    async def test_every_type_source_and_severity_can_be_kept(self) -> None:
        """Every word of the model is known."""
        events = [replace(make_event(number), type=each) for number, each in enumerate(EventType)]
        events += [replace(make_event(100 + number), source=each) for number, each in enumerate(EventSource)]
        events += [replace(make_event(200 + number), severity=each) for number, each in enumerate(Severity)]
        async with self.store() as store:
            await store.append(events)
            assert list(await store.query(ALL)) == events

    async def test_text_of_any_kind_is_kept(self) -> None:
        """Quotes, line ends, NUL, letters of all the world; what is no text at all does not lose the event."""
        text = 'it\'s "so"\r\n\0 -- ; DROP TABLE events; naïve 東京 \U0001f600'
        event = replace(make_event(1), request_id=text, payload={text: [text]})
        broken = replace(make_event(2), request_id="\udcff", payload={"raw": "\udcff"})
        async with self.store() as store:
            await store.append([event, broken])
            first, second = await store.query(ALL)
        assert first == event
        assert second.event_id == broken.event_id

    async def test_nothing_is_appended_by_an_empty_batch(self) -> None:
        """And nothing goes wrong."""
        async with self.store() as store:
            await store.append([])
            assert list(await store.query(ALL)) == []

    async def test_the_size_is_a_number_of_bytes(self) -> None:
        """0 where it is not known."""
        async with self.store() as store:
            await store.append(make_events(200))
            assert await store.size_bytes() >= 0

    # Append-only

    async def test_observe_002_an_event_is_stored_once_and_never_changed(self) -> None:
        """The first of equal ids stays, whether they come in one batch, in two, or for another tenant."""
        event = make_event(1)
        changed = replace(event, severity=Severity.INFO, timestamp=START - 5, payload={})
        async with self.store() as store:
            await store.append([event, changed])
            await store.append([changed, replace(changed, tenant_id="other"), make_event(2)])
            assert list(await store.query(ALL)) == [event, make_event(2)]
            assert list(await store.query(replace(ALL, tenant_id="other"))) == []

    async def test_observe_002_what_a_caller_does_with_an_event_does_not_reach_the_store(self) -> None:
        """Neither through the event it appended nor through the one it was given."""
        payload: dict[str, object] = {"count": 1}
        async with self.store() as store:
            await store.append([replace(make_event(1), payload=payload)])
            payload["count"] = 2
            (found,) = await store.query(ALL)
            assert found.payload == {"count": 1}
            if isinstance(found.payload, dict):
                found.payload["count"] = 3
            (again,) = await store.query(ALL)
            assert again.payload == {"count": 1}

    async def test_observe_003_an_event_without_a_tenant_is_refused_and_its_batch_with_it(self) -> None:
        """All or none: the events beside it are not stored either."""
        for bad in (
            replace(make_event(2), tenant_id=""),
            replace(make_event(2), event_id=""),
            replace(make_event(2), actor=Actor(type=ActorType.HUMAN, id="")),
            replace(make_event(2), timestamp=float("nan")),
        ):
            async with self.store() as store:
                try:
                    await store.append([make_event(1), bad, make_event(3)])
                except InvalidRecord:
                    assert list(await store.query(ALL)) == []
                else:
                    raise AssertionError(f"{bad} was stored")

    async def test_observe_003_the_systems_own_events_have_a_tenant_too(self) -> None:
        """`_system` is a tenant like any other here."""
        event = make_event(1, tenant_id=SYSTEM_TENANT)
        async with self.store() as store:
            await store.append([event])
            assert list(await store.query(replace(ALL, tenant_id=SYSTEM_TENANT))) == [event]

    # Queries

    async def test_a_query_sees_one_tenant(self) -> None:
        """And nothing of the others."""
        async with self.store() as store:
            await store.append([make_event(1), make_event(2, tenant_id="other"), make_event(3)])
            assert list(await store.query(ALL)) == [make_event(1), make_event(3)]
            assert list(await store.query(replace(ALL, tenant_id="nobody"))) == []

    async def test_the_range_includes_its_start_and_not_its_end(self) -> None:
        """`start` ≤ timestamp < `end`."""
        async with self.store() as store:
            await store.append(make_events(10))
            found = await store.query(replace(ALL, start=START + 3, end=START + 6))
            assert list(found) == make_events(10)[3:6]
            assert list(await store.query(replace(ALL, start=START + 3, end=START + 3))) == []

    async def test_order_is_by_timestamp_then_event_id_however_they_came(self) -> None:
        """Arrival plays no part."""
        at_once = [make_event(number, timestamp=START + 2.5) for number in (7, 5, 9)]
        async with self.store() as store:
            await store.append([make_event(4), *at_once])
            await store.append([make_event(1), make_event(3)])
            found = [int(event.event_id[-2:]) for event in await store.query(ALL)]
            assert found == [1, 5, 7, 9, 3, 4]

    async def test_types_and_sources_narrow_it_down(self) -> None:
        """Both at once where both are given; empty means all."""
        suspended = replace(make_event(1), type=EventType.TENANT_LIFECYCLE_TRANSITION, source=EventSource.LIFECYCLE)
        unpaid = replace(make_event(2), type=EventType.BILLING_STATE_CHANGED, source=EventSource.BILLING)
        odd = replace(make_event(3), type=EventType.BILLING_STATE_CHANGED, source=EventSource.FOUNDER)
        async with self.store() as store:
            await store.append([suspended, unpaid, odd])

            async def found(types: set[EventType], sources: set[EventSource]) -> list[Event]:
                return list(await store.query(replace(ALL, types=frozenset(types), sources=frozenset(sources))))

            assert await found({EventType.BILLING_STATE_CHANGED}, set()) == [unpaid, odd]
            assert await found({EventType.BILLING_STATE_CHANGED}, {EventSource.FOUNDER}) == [odd]
            assert await found(set(), {EventSource.LIFECYCLE, EventSource.BILLING}) == [suspended, unpaid]
            assert await found({EventType.RATE_LIMIT_RESET}, set()) == []
            assert await found(set(), set()) == [suspended, unpaid, odd]

    async def test_pages_follow_one_another_without_gap_or_overlap(self) -> None:
        """Also where events share a timestamp, and where events arrive between two pages."""
        events = [make_event(number, timestamp=START + number // 4) for number in range(23)]
        async with self.store() as store:
            await store.append(events)
            pages = [list(page) for page in await _pages(store, replace(ALL, limit=5))]
            assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
            assert [event for page in pages for event in page] == events
            last = pages[0][-1]
            await store.append([make_event(99, timestamp=START - 1)])
            after = replace(ALL, limit=5, after=(last.timestamp, last.event_id))
            assert list(await store.query(after)) == pages[1]

    async def test_a_page_never_leaves_its_range(self) -> None:
        """`after` before the start adds nothing; a limit of 0 gives nothing."""
        async with self.store() as store:
            await store.append(make_events(6))
            late = replace(ALL, start=START + 4, after=(START + 1, make_event(1).event_id))
            assert list(await store.query(late)) == make_events(6)[4:]
            assert list(await store.query(replace(ALL, limit=0))) == []

    async def test_writers_at_once_lose_nothing(self) -> None:
        """Batches that overlap are stored once each event."""
        events = make_events(120)
        async with self.store() as store:
            await asyncio.gather(*(store.append(events[start : start + 30]) for start in range(0, 110, 10)))
            assert list(await store.query(replace(ALL, limit=1_000))) == events


async def _pages(store: EventStore, query: EventQuery) -> list[Sequence[Event]]:
    pages: list[Sequence[Event]] = []
    while page := await store.query(query):
        pages.append(page)
        query = replace(query, after=(page[-1].timestamp, page[-1].event_id))
    return pages
