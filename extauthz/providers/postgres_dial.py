"""New connections to PostgreSQL: one try at a time while there is trouble, with a growing, jittered pause between them."""

import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import asyncpg

from extauthz.errors import ProviderError
from extauthz.model.deadline import Clock
from extauthz.providers.postgres_url import Target
from extauthz.resilience.bounded import within

DIAL_LIMIT: Final = 5.0
"""Seconds that one try may take, over all hosts. Callers wait under their own deadlines; the try goes on without them, or a
server whose handshakes take longer than a caller's deadline would never be reached."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.5
"""Seconds; below every reset time of a circuit, so that the call which tries again may really try."""


def _spread() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing


class Backoff:
    """The pause after a connection that could not be made. `spread` gives the share of it that is kept."""

    def __init__(self, clock: Clock, spread: Callable[[], float] = _spread) -> None:
        self._clock = clock
        self._spread = spread
        self._pause = 0.0
        self._until = 0.0

    @property
    def troubled(self) -> bool:
        """Whether the last try failed."""
        return self._pause > 0

    @property
    def remaining(self) -> float:
        """Seconds until the pause is over."""
        return max(0.0, self._until - self._clock()) if self.troubled else 0.0

    @property
    def resting(self) -> bool:
        """Whether the pause is not over."""
        return self.remaining > 0

    def failed(self) -> None:
        """A try failed: twice the pause of before."""
        self._pause = min(self._pause * 2, _LONGEST_PAUSE) or _FIRST_PAUSE
        self._until = self._clock() + self._pause * self._spread()

    def succeeded(self) -> None:
        """All is well."""
        self._pause = 0.0


class Dialer:
    """Connects to a database, for all who need connections to it: the host that answered one of them is the first for the next."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._first = 0

    async def dial(self, statement_timeout: float) -> asyncpg.Connection:
        """A new connection, on which the server gives up a statement after so many seconds.

        Raises: asyncpg's errors, OSError, ProviderTimeout.
        """
        hosts = self._target.hosts
        error: Exception = ProviderError("no host")
        for number in [*range(self._first, len(hosts)), *range(self._first)]:
            try:
                connection = await self._connect(hosts[number], statement_timeout)
            except Exception as failure:  # noqa: BLE001 - whatever is wrong with one host, the next may do
                error = failure
                continue
            self._first = number
            return connection
        raise error

    async def _connect(self, host: str, statement_timeout: float) -> asyncpg.Connection:
        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(
                host,
                timeout=DIAL_LIMIT,
                statement_cache_size=self._target.statement_cache_size,
                server_settings=session_settings(self._target, statement_timeout),
            )

        return await made_within(DIAL_LIMIT / len(self._target.hosts), connect)


async def made_within(
    seconds: float, make: Callable[[], Coroutine[Any, Any, asyncpg.Connection]]
) -> asyncpg.Connection:
    """The connection that `make` makes; one that comes too late, or in the very moment in which we are called off, is ended.

    Raises:
        ProviderTimeout: there was none in `seconds`.
        Exception: whatever `make` raises.
    """
    made: list[asyncpg.Connection] = []
    wanted = True

    async def keep() -> None:
        connection = await make()
        if wanted:
            made.append(connection)
        else:
            connection.terminate()

    try:
        await within(seconds, keep())
        return made.pop()
    finally:
        wanted = False
        for connection in made:
            connection.terminate()


def session_settings(target: Target, statement_timeout: float) -> dict[str, str]:
    """What the server is told for a session. A pooler takes no limits for a session: each transaction brings its own."""
    settings = {} if target.pooled else limits(statement_timeout)
    if not any("application_name=" in host for host in target.hosts):
        settings["application_name"] = "extauthz"
    return settings


def limits(seconds: float) -> dict[str, str]:
    """Settings of the server by which no backend outlives its caller, and no abandoned transaction keeps its locks."""
    milliseconds = str(round(seconds * 1000))
    return {"statement_timeout": milliseconds, "idle_in_transaction_session_timeout": milliseconds}
