"""A pool of PostgreSQL connections whose every wait can be cut off at once (docs/decisions/0008-asyncpg-and-a-pool-of-our-own.md)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from time import monotonic
from typing import Any, Final, TypeVar

import asyncpg

from extauthz.errors import ProviderBusy, ProviderError
from extauthz.model.deadline import Clock
from extauthz.providers.postgres_dial import DIAL_LIMIT, Backoff, made_within
from extauthz.providers.postgres_errors import is_lost, keeps_connection, translated
from extauthz.resilience.bounded import within

T = TypeVar("T")

IDLE_LIMIT: Final = 60.0
"""Seconds after which an unused connection is not used again: what lies between may have forgotten it."""

REPEATS: Final = 2
"""How often a look-up is made again: the connection was dead, and so may be the one that was just being made."""

CLOSE_PATIENCE: Final = 1.0
"""Seconds for saying goodbye to the server."""


class Pool:
    """At most `size` connections, made when they are needed and never sooner.

    `dial` makes one, in DIAL_LIMIT, and ends what it has made when it is called off. Each is used by one call at a time. A call that is cancelled takes its connection with it, at once: nothing is waited for, no
    request to cancel is sent; the server's `statement_timeout` ends the query. A connection is made by a task of its own, which
    a caller that leaves does not take along. A call waits its turn as long as connections come back. When all are in use and none
    has come back for `patience` seconds the pool is used up: who waits is refused, and whoever comes then is refused at once.
    """

    def __init__(
        self,
        place: str,
        dial: Callable[[], Coroutine[Any, Any, asyncpg.Connection]],
        *,
        size: int,
        patience: float,
        clock: Clock = monotonic,
    ) -> None:
        self._place = place
        self._make = dial
        self._size = size
        self._patience = patience
        self._clock = clock
        self._backoff = Backoff(clock)
        self._trouble = ""
        self._idle: deque[tuple[asyncpg.Connection, float]] = deque()  # the one used last is the last
        self._used: set[asyncpg.Connection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._moved_at = 0.0  # when a connection was made, taken or given back last
        self._closed = False

    async def run(self, call: Callable[[asyncpg.Connection], Awaitable[T]], *, repeatable: bool = False) -> T:
        """What `call` returns, given a connection. One that is `repeatable` is made again where the connection was dead.

        Raises:
            ProviderBusy: all connections are in use.
            ProviderError: there is no connection, or no answer.
            Exception: whatever else `call` raises.
        """
        left = REPEATS if repeatable else 0
        while True:
            try:
                return await self._once(call)
            except Exception as error:
                if not left or not is_lost(error):
                    ours = translated(self._place, error)
                    if ours is error:
                        raise
                    raise ours from None
            left -= 1
            self._forget_idle()  # what ended one connection has probably ended all

    async def close(self) -> None:
        """End all connections, those in use too; later calls raise ProviderError."""
        self._closed = True
        dials = tuple(self._dials)
        for dial in dials:
            dial.cancel()
        connections = [connection for connection, _ in self._idle]
        self._idle.clear()
        for connection in tuple(self._used):
            connection.terminate()
        self._wake_all()
        await asyncio.gather(*dials, *map(_say_goodbye, connections), return_exceptions=True)

    async def _once(self, call: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        connection = await self._take()
        good = False
        try:
            value = await call(connection)
            good = True
        except Exception as error:
            good = keeps_connection(error)
            raise
        finally:
            self._give_back(connection, good=good)
        return value

    # Taking and giving back: no await between looking and taking

    async def _take(self) -> asyncpg.Connection:
        while True:
            if self._closed:
                raise ProviderError(f"{self._place}: the database is closed")
            connection = self._idle_one()
            if connection is not None:
                self._used.add(connection)
                self._moved_at = self._clock()
                return connection
            self._dial_if_of_use()
            connection = await self._wait()
            if connection is not None:
                return connection

    def _idle_one(self) -> asyncpg.Connection | None:
        while self._idle and self._clock() - self._idle[0][1] > IDLE_LIMIT:
            self._idle.popleft()[0].terminate()
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
            connection.terminate()
        return None

    def _give_back(self, connection: asyncpg.Connection, *, good: bool) -> None:
        self._moved_at = self._clock()
        if not good or self._closed or connection.is_closed() or connection.is_in_transaction():
            self._used.discard(connection)
            connection.terminate()
            self._wake_one()
        elif self._waiting:
            self._waiting.popleft().set_result(connection)  # it stays in use, and nobody can come first
        else:
            self._used.discard(connection)
            self._idle.append((connection, self._clock()))

    def _forget_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].terminate()

    # Waiting, first come first served: for a connection that is given back, or for the end of a try to make one

    async def _wait(self) -> asyncpg.Connection | None:
        """A connection that is now in use for the caller; None where it should look again."""
        waiter: asyncio.Future[asyncpg.Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            while not waiter.done():
                await asyncio.wait({waiter}, timeout=self._patience_left())
        except BaseException:
            self._leave(waiter)
            raise
        return waiter.result()

    def _patience_left(self) -> float | None:
        """Seconds until the pool is used up, if no connection comes back before.

        Raises:
            ProviderBusy: now.
        """
        if self._dials:
            return None  # the server keeps us waiting, so the caller's own deadline rules
        left = self._moved_at + self._patience - self._clock()
        if left <= 0:
            raise ProviderBusy(f"{self._place}: all {self._size} connections are in use")
        return left

    def _leave(self, waiter: "asyncio.Future[asyncpg.Connection | None]") -> None:
        """What was meant for the one who leaves goes to the next."""
        if not waiter.done():
            self._waiting.remove(waiter)
            return
        connection = waiter.result()
        if connection is not None:
            self._give_back(connection, good=True)
        else:
            self._wake_one()

    def _wake_one(self) -> None:
        if self._waiting:
            self._waiting.popleft().set_result(None)

    def _wake_all(self) -> None:
        while self._waiting:
            self._wake_one()

    # Making connections

    def _dial_if_of_use(self) -> None:
        """Begin a try for the caller, unless one under way will do or there is no room.

        Raises:
            ProviderError: the last try failed a moment ago, and there is nothing to wait for.
        """
        if self._backoff.resting:
            if not (self._dials or self._used):
                raise ProviderError(self._trouble)
        elif len(self._dials) + len(self._used) < self._size and self._another_helps():
            dial = Context().run(asyncio.ensure_future, self._dial())
            self._dials.add(dial)
            dial.add_done_callback(self._dialled)

    def _another_helps(self) -> bool:
        """Whether one more connection under way is of use, beside those that are.

        While there is trouble all wait for one try. Where connections come back, who waits is served by them, and the pool
        grows by one at a time: making one costs as much as many look-ups. Only a cold pool makes one for each who waits.
        """
        if self._backoff.troubled or self._used:
            return not self._dials
        return len(self._dials) <= len(self._waiting)

    async def _dial(self) -> None:
        try:
            # Whatever it hangs in: a try without an end would be the last, for one at a time is made while there is trouble.
            connection = await made_within(DIAL_LIMIT, self._make)
        except Exception as error:  # noqa: BLE001 - told to all who wait for it
            self._backoff.failed()
            self._trouble = str(translated(self._place, error))
            return
        self._backoff.succeeded()
        if self._closed:
            connection.terminate()
        else:
            self._idle.append((connection, self._clock()))

    def _dialled(self, dial: asyncio.Task[None]) -> None:
        self._dials.discard(dial)
        self._moved_at = self._clock()  # who waited for it so far has its patience from now on
        self._wake_all()


async def _say_goodbye(connection: asyncpg.Connection) -> None:
    try:
        await within(CLOSE_PATIENCE, connection.close())
    finally:
        connection.terminate()
