"""Open connections to a server, or to the primary that Sentinels name."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError

from extauthz.config.redis_url import Place
from extauthz.errors import ProviderError
from extauthz.providers.redis_errors import translated
from extauthz.providers.redis_pack import packed
from extauthz.providers.redis_url import Login, RedisUrl

T = TypeVar("T")


async def dial(login: Login, place: Place, seconds: float) -> AbstractConnection:
    """An open connection to a server. Whoever is cancelled here leaves none behind."""
    connection = login.to(place, seconds)
    try:
        await connection.connect()  # type: ignore[no-untyped-call] # redis-py has no annotation there
    except BaseException:
        with suppress(Exception):
            await connection.disconnect(nowait=True)
        raise
    return connection


async def dial_primary(url: RedisUrl, seconds: float) -> AbstractConnection:
    """An open connection to the primary that the first Sentinel to answer names.

    A Sentinel may be late with a failover: the server has to say itself that it is the primary.
    """
    place = await first_answer([_named(url, sentinel, seconds) for sentinel in url.places])
    connection = await dial(url.login, place, seconds)
    try:
        role = await _told(connection, "ROLE")
    except NoPermissionError:
        return connection  # a replica refuses the first write then
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    if role[0] != b"master":
        await connection.disconnect(nowait=True)
        raise ProviderError(f"Redis at {place}: it is a replica, and Sentinel still names it the primary")
    return connection


async def _named(url: RedisUrl, sentinel: Place, seconds: float) -> Place:
    connection = await dial(url.sentinel_login, sentinel, seconds)
    try:
        named = await _told(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service)
    except Exception as error:  # noqa: BLE001 - all of them become ours
        raise translated(error, f"Sentinel {sentinel}") from None
    finally:
        await connection.disconnect(nowait=True)
    if not named:
        raise ProviderError(f"Sentinel {sentinel}: it knows no service of that name")
    return Place(named[0].decode(), int(named[1]))


async def _told(connection: AbstractConnection, *command: str) -> Any:
    await connection.send_packed_command(packed(*command), check_health=False)
    return await connection.read_response(disable_decoding=True)


async def first_answer(calls: Iterable[Coroutine[Any, Any, T]]) -> T:
    """What the first to answer gives; the others are called off. Where all fail, the error of one of them is raised."""
    tasks = {asyncio.ensure_future(call) for call in calls}
    failed: BaseException = ProviderError("Redis: there is nobody to ask")
    try:
        for ended in asyncio.as_completed(tuple(tasks)):
            try:
                return await ended
            except Exception as error:  # noqa: BLE001 - the next may answer
                failed = error
        raise failed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
