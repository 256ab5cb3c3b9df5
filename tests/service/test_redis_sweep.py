"""Clearing everybody's counts while charges go on, for as long as it takes, whoever waits for it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from extauthz.errors import ProviderError, ProviderTimeout
from extauthz.model.billing import Limits
from extauthz.providers.redis_protection import RedisProtection
from extauthz.providers.redis_servers import connect_servers
from extauthz.providers.redis_sweep import CLEARED_AT_ONCE, LOOKED_AT, Sweeper
from extauthz.providers.redis_url import parse_redis_url
from tests.redis_asks import ask, connected
from tests.redis_server import RedisServer, flushed, single, until

MANY = 20 * LOOKED_AT
MORE_THAN_FITS_IN_A_SECOND = 100_000


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with single() as started:
        yield started


@pytest.fixture
async def provider(server: RedisServer) -> AsyncIterator[RedisProtection]:
    async with connected(flushed(server.url)) as made:
        yield made


@asynccontextmanager
async def sweeper(server: RedisServer, *, patience: float) -> AsyncIterator[Sweeper]:
    servers = connect_servers(parse_redis_url(server.url), 5.0)
    made = Sweeper(servers, where="here", pattern=b"extauthz:{*}", patience=patience)
    yield made
    await made.close()
    await servers.close()


def fill(server: RedisServer, count: int) -> None:
    with server.client() as client:
        for first in range(0, count, 10_000):
            pipe = client.pipeline(transaction=False)
            for number in range(first, min(count, first + 10_000)):
                pipe.hset(f"extauthz:{{t{number}}}", mapping={"day": 1, "requests": 1})
            pipe.execute()
    assert server.ask("DBSIZE") == count


def connections(server: RedisServer) -> int:
    listed: bytes = server.ask("CLIENT", "LIST")
    return listed.count(b"\n") - 1


async def test_no_charge_fails_for_it_and_it_gets_through_a_flood_of_charges(
    server: RedisServer, provider: RedisProtection
) -> None:
    fill(server, MANY)
    swept = asyncio.Event()

    async def caller(number: int) -> int:
        for done in itertools.count(1):
            assert (await provider.charge(ask(Limits(burst=10**6), tenant=f"busy{number}"))).charged
            if swept.is_set():
                return done
        raise AssertionError

    callers = [asyncio.ensure_future(caller(number)) for number in range(256)]
    await provider.clear(None)
    swept.set()
    assert sum(await asyncio.gather(*callers)) > len(callers)
    assert server.ask("DBSIZE") <= len(callers)
    assert connections(server) == 1


async def test_many_keys_go_with_one_command(server: RedisServer, provider: RedisProtection) -> None:
    fill(server, MANY)
    server.ask("CONFIG", "RESETSTAT")
    await provider.clear(None)
    with server.client() as client:
        calls = client.info("commandstats")["cmdstat_unlink"]["calls"]
    assert MANY / CLEARED_AT_ONCE <= calls < 2 * MANY / CLEARED_AT_ONCE
    assert server.ask("DBSIZE") == 0


async def test_it_goes_on_where_the_one_who_asked_has_left_and_asking_again_does_no_harm(
    server: RedisServer, provider: RedisProtection
) -> None:
    fill(server, MORE_THAN_FITS_IN_A_SECOND)
    leaving = asyncio.ensure_future(provider.clear(None))
    await asyncio.wait({leaving}, timeout=0.02)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert leaving.cancelled()
    again = asyncio.ensure_future(provider.clear(None))
    await asyncio.wait({again}, timeout=0.02)
    again.cancel()
    await asyncio.wait({again})
    left = server.ask("DBSIZE")
    assert left > 0
    async with asyncio.timeout(30):
        while server.ask("DBSIZE"):  # noqa: ASYNC110 - nobody is told any more
            await asyncio.sleep(0.01)


async def test_closing_leaves_off_and_tells_the_one_who_waits(server: RedisServer) -> None:
    fill(server, MORE_THAN_FITS_IN_A_SECOND)
    async with sweeper(server, patience=5.0) as made:
        waiting = asyncio.ensure_future(made.sweep())
        await asyncio.wait({waiting}, timeout=0.02)
    with pytest.raises(ProviderError, match="closed"):
        await waiting
    assert server.ask("DBSIZE") > 0
    until(lambda: connections(server) == 0, "it did not hang up")


async def test_a_step_without_an_answer_ends_it_and_the_log_is_told(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with sweeper(server, patience=0.2) as made:
        await made.sweep()
        server.freeze()
        try:
            async with asyncio.timeout(4.0):
                with pytest.raises(ProviderTimeout):
                    await made.sweep()
        finally:
            server.thaw()
    assert "not everything is cleared: no answer within 0.2 s" in caplog.text
