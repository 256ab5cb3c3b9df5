"""Events in PostgreSQL, capped in size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg

from extauthz.model.event import Event, EventQuery
from extauthz.providers import postgres_setup
from extauthz.providers.event_rows import EventRow, begins_after, from_row, to_row
from extauthz.providers.memory_events import ignore
from extauthz.providers.postgres_db import START_PATIENCE, PostgresDatabase
from extauthz.providers.postgres_dial import Backoff
from extauthz.providers.postgres_keep import Keeper
from extauthz.providers.postgres_schema import Lineage
from extauthz.providers.postgres_text import escaped, is_storable, unescaped
from extauthz.providers.schema_status import Migrations, SchemaStatus

LINEAGE: Final = Lineage(
    name="events",
    migrations=Migrations(directory=Path(__file__).parent / "migrations" / "postgres_events", revisions=("0001",)),
)

_COLUMNS: Final = "timestamp, event_id, tenant_id, event_type, event_source, severity, actor_type, actor_id, request_id, trace_id, payload"
_APPEND: Final = """
    SELECT extauthz.append_events(
        $1::float8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::int8, $13::int8
    )
"""
_QUERY: Final = f"""
    SELECT {_COLUMNS} FROM extauthz.events
    WHERE tenant_id = $1 AND (timestamp, event_id) > ($2, $3) AND timestamp < $4
        AND ($5::text[] IS NULL OR event_type = ANY($5)) AND ($6::text[] IS NULL OR event_source = ANY($6))
    ORDER BY timestamp, event_id LIMIT $7
"""  # noqa: S608 - a constant of ours
_SIZE: Final = "SELECT pg_total_relation_size('extauthz.events'::regclass)"

_MOST_PER_APPEND: Final = 4
"""Retention removes at most so many times the events that came in, so that no append takes long; enough to catch up."""

_PATIENCE: Final = 5.0


async def upgrade(url: str) -> SchemaStatus:
    """Bring the event tables at `url` to this version's schema; they are made where they are absent.

    Raises:
        ConfigError: the URL can't be read.
        ProviderError: the database gives no answer, or refuses.
        SchemaMismatch: the schema is another program's, or newer than this version.
    """
    return await postgres_setup.upgrade(url, LINEAGE)


async def status(url: str) -> SchemaStatus:
    """Which schema the event tables at `url` have; changes nothing.

    Raises:
        ConfigError: the URL can't be read.
        ProviderError: the database gives no answer.
        SchemaMismatch: the schema is another program's.
    """
    return await postgres_setup.status(url, LINEAGE)


class PostgresEvents:
    """Keeps events in one table, shared by any number of replicas, until it is full; then the oldest go.

    Append-only for every caller (OBSERVE-002): the schema itself refuses to change an event, and to remove one outside of
    retention. How many were removed in the life of the table stands in the table `retention`.

    Args:
        url: the database; it may be that of the tenants.
        pool_size: connections for writing, of which one is always kept ready, and as many again for reading.
        max_size: bytes that the events may have. What they occupy may be more for a while: PostgreSQL uses the space of removed
            events again when it has vacuumed the table.
        on_retention: told how many events were removed by this process, each time.
        append_timeout: seconds that writing a batch may take; whoever writes may give up sooner.
        query_timeout: seconds that a query may take.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 2,
        max_size: int = 1 << 30,
        on_retention: Callable[[int], None] = ignore,
        append_timeout: float = 5.0,
        query_timeout: float = 5.0,
    ) -> None:
        self._db = PostgresDatabase(url, LINEAGE)
        # A batch has far less time than it takes to connect: that is done before it comes.
        self._writing = self._db.lane(
            size=pool_size, timeout=append_timeout, patience=_PATIENCE, rehearsal=lambda db: _append(db, (), max_size)
        )
        self._keeper = Keeper(self._touch, Backoff(monotonic))
        self._reading = self._db.lane(size=pool_size, timeout=query_timeout, patience=_PATIENCE)
        self._max_size = max_size
        self._on_retention = on_retention

    async def start(self) -> None:
        """Look at the schema, set it up where there is none, and connect. A database that can't be reached is logged; each call tries again.

        Raises:
            SchemaMismatch: the schema is another program's, or of another version.
        """
        await self._db.start()
        await self._keeper.start(START_PATIENCE if self._db.ready else 0)

    async def _touch(self) -> None:
        async def touch(db: asyncpg.Connection) -> None:
            db.add_termination_listener(self._keeper.lost)
            await db.execute("SELECT")

        await self._writing.read(touch)

    async def close(self) -> None:
        """End all connections."""
        await self._keeper.close()
        await self._db.close()

    async def append(self, events: Sequence[Event]) -> None:
        """Store all of them or none; those that are here already are passed over.

        Raises:
            InvalidRecord: an event lacks a required field (OBSERVE-003).
            ProviderError: there was no answer in time.
            SchemaMismatch: the tables are not of our schema.
        """
        # By their ids: two batches with events in common would otherwise wait for each other. The first of equal ones stays.
        rows = sorted((_stored(to_row(event)) for event in events), key=lambda row: row.event_id)
        if rows:
            # One statement is a transaction of its own, and done twice it is as done once.
            removed = await self._writing.read(lambda db: _append(db, rows, self._max_size))
            if removed:
                self._on_retention(removed)

    async def query(self, query: EventQuery) -> Sequence[Event]:
        """At most `query.limit` events in the order of (`timestamp`, `event_id`).

        Raises:
            ProviderError: there was no answer in time.
            SchemaMismatch: the tables are not of our schema.
            InvalidRecord: an event cannot be read.
        """
        return [from_row(_read(row)) for row in await self._reading.read(lambda db: _query(db, query))]

    async def size_bytes(self) -> int:
        """What the table and its indexes occupy, in bytes.

        Raises:
            ProviderError: there was no answer in time.
            SchemaMismatch: the tables are not of our schema.
        """
        return int(await self._reading.read(lambda db: db.fetchval(_SIZE)))


async def _append(db: asyncpg.Connection, rows: Sequence[EventRow], max_size: int) -> int:
    """Insert, then remove the oldest until the rest fits, in one round trip; how many were removed."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(EventRow._fields)
    removed: int = await db.fetchval(_APPEND, *columns, max_size, _MOST_PER_APPEND * len(rows))
    return removed


async def _query(db: asyncpg.Connection, query: EventQuery) -> Sequence[asyncpg.Record]:
    after, after_id = begins_after(query)
    types = sorted(query.types) or None
    sources = sorted(query.sources) or None
    limit = max(0, query.limit)
    tenant_id = escaped(query.tenant_id)
    if not is_storable(tenant_id):
        return []
    return await db.fetch(_QUERY, tenant_id, after, escaped(after_id), query.end, types, sources, limit)


def _stored(row: EventRow) -> EventRow:
    """The payload is JSON, which has a way of its own to write NUL."""
    return EventRow._make(escaped(each) if isinstance(each, str) else each for each in row)._replace(
        payload=row.payload
    )


def _read(record: asyncpg.Record) -> EventRow:
    row = EventRow._make(tuple(record))
    return EventRow._make(unescaped(each) if isinstance(each, str) else each for each in row)._replace(
        payload=row.payload
    )
