"""One PostgreSQL database: calls that end in time, each kind with connections of its own, on a schema that was looked at."""

import asyncio
import logging
from contextvars import Context
from typing import Final, TypeVar

import asyncpg

from extauthz.errors import ProviderError, ProviderTimeout
from extauthz.providers import postgres_schema
from extauthz.providers.postgres_dial import DIAL_LIMIT, Dialer
from extauthz.providers.postgres_lane import SERVER_GRACE, Call, Lane
from extauthz.providers.postgres_pool import Pool
from extauthz.providers.postgres_schema import Lineage
from extauthz.providers.postgres_setup import bring_up
from extauthz.providers.postgres_url import parse_target
from extauthz.providers.schema_status import SchemaState, SchemaStatus
from extauthz.resilience.bounded import within

T = TypeVar("T")

START_PATIENCE: Final = 2.0
"""Seconds that the start of the service waits for a database; the look at it goes on, and calls wait for its end."""

REHEARSAL_LIMIT: Final = 1.0
"""Seconds that the rehearsal of a new connection may take: a few round trips. One that takes longer leads nowhere."""

_log: Final = logging.getLogger(__name__)


class PostgresDatabase:
    """One database. Its schema is looked at before the first call, and set up where there is none; every lane waits for that.

    A look that takes longer than `look_limit` (seconds) is given up, and the next call makes another.
    """

    def __init__(self, url: str, lineage: Lineage, *, look_limit: float = DIAL_LIMIT) -> None:
        self.target = parse_target(url)
        self.dialer = Dialer(self.target)
        self._lineage = lineage
        self._pools: list[Pool] = []
        self._ready = False
        self._looking: asyncio.Task[None] | None = None
        self._look_limit = look_limit
        self._first_look = self._pool(size=1, timeout=look_limit, patience=look_limit)

    def lane(
        self, *, size: int, timeout: float, patience: float | None = None, rehearsal: Call[object] | None = None
    ) -> Lane:
        """Connections (at most `size`) for calls that end in `timeout` seconds.

        While all are in use calls wait, unless none has come back for `patience` seconds (None: half of `timeout`). A server that
        stops for a moment is no reason to answer without it, least of all for auth.

        `rehearsal` is made once on every new connection, which then knows the statement: a first call takes several round trips.
        """
        patience = timeout / 2 if patience is None else patience
        pool = self._pool(size=size, timeout=timeout, patience=patience, rehearsal=rehearsal)
        return Lane(pool, self.require_ready, timeout=timeout, pooled=self.target.pooled)

    def _pool(self, *, size: int, timeout: float, patience: float, rehearsal: Call[object] | None = None) -> Pool:
        async def dial() -> asyncpg.Connection:
            connection = await self.dialer.dial(timeout + SERVER_GRACE)
            if rehearsal is not None and not self.target.pooled:  # a pooler gives each call another server
                await _rehearsed(connection, rehearsal)
            return connection

        pool = Pool(self.target.place, dial, size=size, patience=patience)
        self._pools.append(pool)
        return pool

    async def start(self) -> None:
        """Look at the schema, and set it up where there is none. A database that can't be reached is only logged.

        Raises:
            SchemaMismatch: the schema is another program's, or of another version.
        """
        try:
            await within(START_PATIENCE, self.require_ready())
        except ProviderError as error:
            _log.warning("database not reachable at start, trying again on each call: %s", error)

    @property
    def ready(self) -> bool:
        """Whether the schema was found to be ours."""
        return self._ready

    async def close(self) -> None:
        """End all connections; later calls raise ProviderError."""
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.gather(*(pool.close() for pool in self._pools))

    async def require_ready(self) -> None:
        """Wait until the schema was found to be ours; one look serves all who wait.

        Raises:
            SchemaMismatch: it is another program's, or of another version.
            ProviderError: the database gives no answer.
        """
        if self._ready:
            return
        if self._looking is None:
            # A fresh context, and a task of its own: whoever came first may leave, the others still wait.
            self._looking = Context().run(asyncio.ensure_future, self._look())
            self._looking.add_done_callback(self._looked)
        looking = self._looking
        await asyncio.wait({looking})
        if looking.cancelled():
            raise ProviderError(f"{self.target.place}: the database is closed")
        looking.result()

    async def _look(self) -> None:
        status = await within(self._look_limit, self._first_look.run(self._status, repeatable=True))
        if status.state is SchemaState.EMPTY:
            status = await bring_up(self.target, self._lineage)
        postgres_schema.require_current(self.target.place, status)
        self._ready = True
        await self._first_look.close()

    async def _status(self, connection: asyncpg.Connection) -> SchemaStatus:
        return await postgres_schema.read_status(connection, self.target.place, self._lineage)

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # all who wanted to know may have left


async def _rehearsed(connection: asyncpg.Connection, rehearsal: Call[object]) -> None:
    """Try a new connection out. What else goes wrong here goes wrong again in the first call, which knows what to do about it.

    Raises:
        ProviderTimeout: there was no answer; the connection is ended.
    """
    try:
        await within(REHEARSAL_LIMIT, _called(rehearsal, connection))
    except ProviderTimeout:
        connection.terminate()
        raise
    except Exception as error:  # noqa: BLE001 - see above
        _log.debug("a new connection's rehearsal failed: %s", type(error).__name__)
    except BaseException:
        connection.terminate()
        raise


async def _called(call: Call[T], connection: asyncpg.Connection) -> T:
    return await call(connection)
