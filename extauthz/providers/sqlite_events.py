"""Events in an SQLite file of their own, capped in size."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from extauthz.model.event import Event, EventQuery
from extauthz.providers.event_rows import EventRow, begins_after, from_row, to_row
from extauthz.providers.memory_events import ignore
from extauthz.providers.sqlite_db import Migrations, SqliteDatabase
from extauthz.providers.sqlite_schema import EVENTS_APPLICATION_ID

EVENTS_MIGRATIONS: Final = Migrations(directory=Path(__file__).parent / "migrations" / "events", revisions=("0001",))

_INSERT: Final = """
    INSERT INTO events (
        timestamp, event_id, tenant_id, event_type, event_source, severity, actor_type, actor_id, request_id, trace_id, payload
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_QUERY: Final = """
    SELECT timestamp, event_id, tenant_id, event_type, event_source, severity, actor_type, actor_id, request_id, trace_id, payload
    FROM events
    WHERE tenant_id = :tenant_id AND (timestamp, event_id) > (:after, :after_id) AND timestamp < :end
        AND (:types IS NULL OR event_type IN (SELECT value FROM json_each(:types)))
        AND (:sources IS NULL OR event_source IN (SELECT value FROM json_each(:sources)))
    ORDER BY timestamp, event_id
    LIMIT :limit
"""
_DELETE_OLDEST: Final = """
    DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY timestamp, event_id LIMIT ?)
"""
_MOST_PER_APPEND: Final = 4
"""Retention removes at most so many times the events that came in, so that no append takes long; enough to catch up."""


class SqliteEvents:
    """Keeps events in one file, in the order of arrival, until the file is full; then the oldest go.

    Append-only for every caller (OBSERVE-002): the schema itself refuses to change an event, and to remove one outside of
    retention. How many were removed in the life of the file stands in its table `retention`.

    Args:
        path: the file; made, for its owner alone, where there is none.
        max_size: bytes that the file may have. Pages of removed events are used again; a file that was larger before is not
            made smaller.
        on_retention: told how many events were removed, each time.
    """

    def __init__(
        self, path: str | Path, *, max_size: int = 1 << 30, on_retention: Callable[[int], None] = ignore
    ) -> None:
        self._database = SqliteDatabase(
            path, application_id=EVENTS_APPLICATION_ID, migrations=EVENTS_MIGRATIONS, readers=1, durable=False
        )
        self._max_used = max_size - max_size // 20  # room for what one append adds before retention looks
        self._on_retention = on_retention

    async def start(self) -> None:
        """Open the file and set it up where it is empty. One that cannot be reached is only logged: each call tries again.

        Raises:
            SchemaMismatch: the file is another program's or another provider's, or of another version.
        """
        await self._database.start()

    async def close(self) -> None:
        """Finish what is queued, then close the file."""
        await self._database.close()

    async def append(self, events: Sequence[Event]) -> None:
        """Store all of them or none; those that are here already are passed over.

        Raises:
            InvalidRecord: an event lacks a required field (OBSERVE-003).
            ProviderError: the file could not be written.
            SchemaMismatch: it is not of our schema.
        """
        rows = [to_row(event) for event in events]
        if rows:
            removed = await self._database.write(partial(_append, rows, self._max_used))
            if removed:
                self._on_retention(removed)

    async def query(self, query: EventQuery) -> Sequence[Event]:
        """At most `query.limit` events in the order of (`timestamp`, `event_id`).

        Raises:
            ProviderError: the file could not be read.
            SchemaMismatch: it is not of our schema.
            InvalidRecord: an event cannot be read.
        """
        return [from_row(row) for row in await self._database.read(partial(_query, query))]

    async def size_bytes(self) -> int:
        """What the file and its write-ahead log occupy, in bytes.

        Raises:
            ProviderError: the file could not be read.
            SchemaMismatch: it is not of our schema.
        """
        return await self._database.read(lambda _: _size_on_disk(self._database.path))


def _append(rows: Sequence[EventRow], max_used: int, connection: sqlite3.Connection) -> int:
    """Insert, then remove the oldest until the file's used pages fit; how many were removed."""
    connection.executemany(_INSERT, rows)
    removed = 0
    while removed < _MOST_PER_APPEND * len(rows) and _used(connection) > max_used:
        gone = _remove_oldest(len(rows), connection)
        if not gone:
            break
        removed += gone
    return removed


def _remove_oldest(count: int, connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE retention SET running = 1")
    gone = connection.execute(_DELETE_OLDEST, (count,)).rowcount
    connection.execute("UPDATE retention SET running = 0, removed = removed + ?", (gone,))
    return gone


def _used(connection: sqlite3.Connection) -> int:
    """Bytes in pages that hold something."""
    pages, free, page_size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_size)


def _query(query: EventQuery, connection: sqlite3.Connection) -> list[EventRow]:
    after, after_id = begins_after(query)
    found = connection.execute(
        _QUERY,
        {
            "tenant_id": query.tenant_id,
            "after": after,
            "after_id": after_id,
            "end": query.end,
            "types": json.dumps(sorted(query.types)) if query.types else None,
            "sources": json.dumps(sorted(query.sources)) if query.sources else None,
            "limit": max(0, query.limit),
        },
    )
    return [EventRow._make(row) for row in found]


def _size_on_disk(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)
