"""Events in memory: for tests, demos, and deployments that keep no events beyond the process."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice

from extauthz.model.event import Event, EventQuery
from extauthz.providers.event_rows import EventRow, begins_after, from_row, to_row


def ignore(_removed: int) -> None:
    """Nobody counts."""


class MemoryEvents:
    """Keeps the newest events, and nothing after the process has ended.

    Events are kept as rows of plain values: whatever a caller does with an event it appended or was given, the one in here
    stays as it was (OBSERVE-002).

    Args:
        max_events: how many are kept; beyond it the oldest are removed.
        on_retention: told how many were removed, each time.
    """

    def __init__(self, max_events: int = 100_000, *, on_retention: Callable[[int], None] = ignore) -> None:
        self._max_events = max_events
        self._on_retention = on_retention
        self._ids: set[str] = set()
        self._rows: dict[str, list[EventRow]] = {}  # by tenant, in order
        self._oldest: list[tuple[float, str, str]] = []  # a heap of (timestamp, event_id, tenant_id)
        self._size = 0

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def append(self, events: Sequence[Event]) -> None:
        """Store all of them or none; those that are here already are passed over.

        Raises:
            InvalidRecord: an event lacks a required field (OBSERVE-003).
        """
        for row in [to_row(event) for event in events]:
            self._add(row)
        removed = self._remove_oldest()
        if removed:
            self._on_retention(removed)

    async def query(self, query: EventQuery) -> Sequence[Event]:
        """At most `query.limit` events in the order of (`timestamp`, `event_id`)."""
        return [from_row(row) for row in islice(self._matching(query), max(0, query.limit))]

    async def size_bytes(self) -> int:
        """The bytes of all texts kept, without what Python needs around them."""
        return self._size

    def _add(self, row: EventRow) -> None:
        if row.event_id not in self._ids:
            self._ids.add(row.event_id)
            insort(self._rows.setdefault(row.tenant_id, []), row)
            heappush(self._oldest, (row.timestamp, row.event_id, row.tenant_id))
            self._size += _size(row)

    def _remove_oldest(self) -> int:
        removed = 0
        while len(self._ids) > self._max_events:
            _, event_id, tenant_id = heappop(self._oldest)
            self._ids.remove(event_id)
            rows = self._rows[tenant_id]
            self._size -= _size(rows.pop(0))  # the oldest of all is the oldest of its tenant
            if not rows:
                del self._rows[tenant_id]
            removed += 1
        return removed

    def _matching(self, query: EventQuery) -> Iterator[EventRow]:
        rows = self._rows.get(query.tenant_id, [])
        first = bisect_right(rows, begins_after(query), key=_position)
        last = bisect_left(rows, (query.end, ""), key=_position)
        return _of(query, rows[first:last])


def _of(query: EventQuery, rows: Iterable[EventRow]) -> Iterator[EventRow]:
    """The rows of the wanted types and sources. Their words are strings, and so are the rows'."""
    return (
        row
        for row in rows
        if (not query.types or row.event_type in query.types)
        and (not query.sources or row.event_source in query.sources)
    )


def _position(row: EventRow) -> tuple[float, str]:
    return row.timestamp, row.event_id


def _size(row: EventRow) -> int:
    return sum(len(value) if isinstance(value, str) else 8 for value in row)
