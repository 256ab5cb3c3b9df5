"""Whether the state tables of a PostgreSQL database are sound, row by row, and which plans they name."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import asyncpg

from extauthz.providers.plan_use import PlanInUse, plans_in, plans_query
from extauthz.providers.postgres_dial import Dialer
from extauthz.providers.postgres_errors import translated
from extauthz.providers.postgres_schema import SCHEMA
from extauthz.providers.postgres_url import parse_target
from extauthz.providers.state_check import CHECKS
from extauthz.resilience.bounded import within

T = TypeVar("T")

LIMIT: Final = 600.0
"""Seconds for a whole check, and for one statement of it."""


async def check(url: str, *, tenants_here: bool = True) -> Sequence[str]:
    """What is wrong with the rows at `url`, a sentence each; empty where all is well. Changes nothing.

    `tenants_here` False where the lifecycle provider is another store. The service may run meanwhile.

    Raises:
        ConfigError: the URL can't be read.
        ProviderError: the database gives no answer.
    """
    return await _asked(url, lambda connection: _faults(connection, tenants_here=tenants_here))


async def plans_in_use(url: str) -> Sequence[PlanInUse]:
    """Every plan that somebody has.

    Raises: as `check`.
    """
    return await _asked(url, _plans)


async def _asked(url: str, ask: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    place = parse_target(url).place
    try:
        return await within(LIMIT, _on_connection(url, ask))
    except Exception as error:
        judged = translated(place, error)
        if judged is error:
            raise
        raise judged from error


async def _on_connection(url: str, ask: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    connection = await Dialer(parse_target(url)).dial(LIMIT)
    try:
        return await ask(connection)
    finally:
        connection.terminate()


async def _faults(connection: asyncpg.Connection, *, tenants_here: bool) -> Sequence[str]:
    found: list[str] = []
    # One moment, whatever the service writes meanwhile.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # LOCAL: behind a pooler the session is somebody else's afterwards.
        await connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
        for query, judge in CHECKS:
            async for row in connection.cursor(query, prefetch=1000):
                found += judge(tuple(row), tenants_here)
    return found


async def _plans(connection: asyncpg.Connection) -> Sequence[PlanInUse]:
    return plans_in(tuple(row) for row in await connection.fetch(plans_query(f"{SCHEMA}.billing")))
