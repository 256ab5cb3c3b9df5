import asyncio
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.model.event import Event, EventQuery
from extauthz.providers.memory_events import MemoryEvents
from extauthz.testing.contracts_events import ALL, make_event, make_events


async def test_observe_002_only_retention_removes_from_memory_the_oldest_and_counted() -> None:
    removed: list[int] = []
    store = MemoryEvents(5, on_retention=removed.append)
    await store.append([make_event(number) for number in (3, 4, 5)])
    await store.append([make_event(number, tenant_id="other") for number in (1, 2)])
    assert removed == []
    await store.append([make_event(number) for number in (6, 7, 8)])
    assert removed == [3]
    assert list(await store.query(replace(ALL, tenant_id="other"))) == []
    assert list(await store.query(ALL)) == make_events(9)[4:]
    await store.append([make_event(0)])  # older than all: it is the one to go
    assert removed == [3, 1]
    await store.append([make_event(8)])
    assert removed == [3, 1]


async def test_what_memory_occupies_follows_what_it_keeps() -> None:
    store = MemoryEvents(10)
    assert await store.size_bytes() == 0
    await store.append(make_events(10))
    full = await store.size_bytes()
    await store.append(make_events(40))
    assert await store.size_bytes() == full > 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["acme", "other"]), st.integers(0, 9), st.integers(0, 30)), max_size=40),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_memory_answers_as_a_sorted_list_would(drawn: list[tuple[str, int, int]], start: int, length: int) -> None:
    events = [make_event(number, tenant_id=tenant, timestamp=float(at)) for tenant, at, number in drawn]
    first = {event.event_id: event for event in reversed(events)}.values()
    query = EventQuery(tenant_id="acme", start=float(start), end=float(start + length), limit=7)
    expected = sorted(
        (each for each in first if each.tenant_id == "acme" and start <= each.timestamp < start + length),
        key=lambda each: (each.timestamp, each.event_id),
    )

    async def main() -> list[Event]:
        store = MemoryEvents()
        for event in events:
            await store.append([event])
        return list(await store.query(query))

    assert asyncio.run(main()) == expected[:7]
