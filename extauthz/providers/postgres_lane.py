"""Calls of one kind to a PostgreSQL database, on connections of their own, that end in time."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg

from extauthz.providers.postgres_dial import limits
from extauthz.providers.postgres_pool import Pool
from extauthz.resilience.bounded import within

T = TypeVar("T")
Call = Callable[[asyncpg.Connection], Awaitable[T]]

SERVER_GRACE: Final = 0.1
"""Seconds by which the server's own limit on a statement lies above the caller's."""


class Lane:
    """Calls of one kind: connections of their own, and one deadline (`timeout`, seconds, connecting included)."""

    def __init__(
        self, pool: Pool, ready: Callable[[], Coroutine[Any, Any, None]], *, timeout: float, pooled: bool
    ) -> None:
        self._pool = pool
        self._ready = ready
        self._timeout = timeout
        self._pooled = pooled
        self._begin = _begin(timeout) if pooled else "BEGIN"

    async def read(self, call: Call[T]) -> T:
        """What `call` returns; it reads, or may as well be done twice: it is made again where the connection was dead.

        Raises:
            ProviderBusy: all connections are in use.
            ProviderError: the database gave no answer in time.
            SchemaMismatch: it is not of our schema.
            Exception: whatever else `call` raises.
        """
        # Behind a pooler two messages of one query may meet two servers, unless they are in one transaction.
        whole = partial(self._in_transaction, call) if self._pooled else call
        return await within(self._timeout, self._run(whole, repeatable=True))

    async def write(self, call: Call[T]) -> T:
        """What `call` returns, run as one transaction: committed when it returns, rolled back when it raises.

        Where the connection is lost at the end, whether it was committed is not known.

        Raises: as `read`.
        """
        return await within(self._timeout, self._run(partial(self._in_transaction, call), repeatable=False))

    async def _run(self, call: Call[T], *, repeatable: bool) -> T:
        await self._ready()
        return await self._pool.run(call, repeatable=repeatable)

    async def _in_transaction(self, call: Call[T], connection: asyncpg.Connection) -> T:
        # asyncpg's own transactions wait for the rollback when they are cancelled; ours leave the connection to be dropped.
        await connection.execute(self._begin)
        try:
            value = await call(connection)
            await connection.execute("COMMIT")
        except Exception:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        return value


def _begin(timeout: float) -> str:
    """Begins a transaction that brings its own limits, in one message."""
    settings = (f"SET LOCAL {name} = {value}" for name, value in limits(timeout + SERVER_GRACE).items())
    return "; ".join(("BEGIN", *settings))
