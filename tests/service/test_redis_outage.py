"""Redis frozen, killed and restarted, behind the guard: in time, opened, closed again, and no connection left behind."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from extauthz.errors import ProviderError
from extauthz.model.billing import Limits
from extauthz.model.deadline import Deadline
from extauthz.model.decision import FallbackReason
from extauthz.model.protection import CHARGED, Charge
from extauthz.ports import CacheResult, CircuitState, Unavailable
from extauthz.providers.redis_protection import PATIENCE, RedisProtection
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.policy import BreakerPolicy, ChargePolicy
from tests.redis_server import RedisServer, single

TIMEOUT = 0.1
RESET = 1.0


class Silent:
    """A provider observer that nobody looks at."""

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        pass

    def refused(self, operation: str) -> None:
        pass

    def cache(self, result: CacheResult) -> None:
        pass

    def circuit(self, state: CircuitState) -> None:
        pass


class Guarded:
    """A provider of a real server behind guard and breaker, as the service has them."""

    def __init__(self, url: str) -> None:
        policy = BreakerPolicy(failures=5, window=30.0, reset=RESET)
        self.provider = RedisProtection(url, timeout=TIMEOUT)
        self.breaker = Breaker(provider="protection", policy=policy, clock=time.monotonic, observer=Silent())
        self.guard = ChargeGuard(
            provider=self.provider,
            policy=ChargePolicy(timeout=TIMEOUT, max_in_flight=64),
            breaker=self.breaker,
            observer=Silent(),
            clock=time.monotonic,
        )

    async def charge(self, tenant: str = "acme") -> FallbackReason | None:
        """None where it was charged, else why not."""
        ask = Charge(tenant_id=tenant, limits=Limits(rate=10**6), blocking=frozenset(CHARGED))
        try:
            result = await self.guard.charge(ask, Deadline.after(5.0, time.monotonic))
        except Unavailable as gone:
            return gone.reason
        assert result.charged
        return None

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - a circuit closes by itself; nothing here could set an event
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.guard.close()
        await self.provider.close()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with single() as started:
        yield started


@pytest.fixture
async def guarded(server: RedisServer) -> AsyncIterator[Guarded]:
    made = Guarded(server.url)
    await made.provider.start()
    assert await made.charge() is None
    yield made
    await made.close()


def clients(server: RedisServer) -> int:
    """Connections that are open at the server, the one that asks apart."""
    listed: bytes = server.ask("CLIENT", "LIST")
    return listed.count(b"\n") - 1


async def test_a_frozen_redis_is_a_timeout_each_until_the_circuit_opens_and_all_is_well_after_the_thaw(
    server: RedisServer, guarded: Guarded
) -> None:
    server.freeze()
    try:
        reasons = [await guarded.charge() for _ in range(6)]
        assert reasons == [FallbackReason.TIMEOUT] * 5 + [FallbackReason.CIRCUIT_OPEN]
        assert guarded.breaker.state is CircuitState.OPEN
    finally:
        server.thaw()
    await guarded.until(lambda: guarded.breaker.state is CircuitState.CLOSED)
    assert [await guarded.charge() for _ in range(20)] == [None] * 20
    assert clients(server) == 1


async def test_frozen_under_many_callers_nobody_waits_longer_than_the_deadline_and_no_connections_pile_up(
    server: RedisServer, guarded: Guarded
) -> None:
    server.freeze()
    try:
        async with asyncio.timeout(4.0):  # the callers themselves would wait 5 s
            reasons = await asyncio.gather(*(guarded.charge(f"t{number}") for number in range(60)))
        assert set(reasons) <= {FallbackReason.TIMEOUT, FallbackReason.CIRCUIT_OPEN}
        await asyncio.sleep(RESET * 2.5)  # two tries more find it frozen
        assert guarded.breaker.state is not CircuitState.CLOSED
    finally:
        server.thaw()
    await guarded.until(lambda: guarded.breaker.state is CircuitState.CLOSED)
    assert await guarded.charge() is None
    await guarded.until(lambda: clients(server) == 1)


async def test_a_killed_redis_fails_at_once_and_counts_again_after_its_restart(
    server: RedisServer, guarded: Guarded
) -> None:
    server.kill()
    reasons = [await guarded.charge() for _ in range(6)]
    assert reasons == [FallbackReason.ERROR] * 5 + [FallbackReason.CIRCUIT_OPEN]
    server.start()  # with an empty script cache
    await guarded.until(lambda: guarded.breaker.state is CircuitState.CLOSED)
    assert await guarded.charge() is None
    assert (await guarded.provider.usage("acme")).requests_today == 1
    assert clients(server) == 1


async def test_a_pause_shorter_than_the_deadline_costs_nothing(server: RedisServer, guarded: Guarded) -> None:
    server.ask("CLIENT", "PAUSE", "30", "ALL")
    assert await guarded.charge() is None
    assert not guarded.breaker.failing
    assert clients(server) == 1


async def test_connections_that_the_server_closes_are_replaced_unnoticed(server: RedisServer, guarded: Guarded) -> None:
    for _ in range(5):
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.05)  # it is seen at once; a charge in that very moment would fail
        assert await guarded.charge() is None
    assert not guarded.breaker.failing


async def test_usage_and_clearing_end_in_time_too(server: RedisServer, guarded: Guarded) -> None:
    server.freeze()
    try:
        for asking in (guarded.provider.usage("acme"), guarded.provider.clear("acme"), guarded.provider.clear(None)):
            with pytest.raises(ProviderError, match=r"no answer|not reached|not connected"):
                async with asyncio.timeout(PATIENCE + 3.0):
                    await asking
    finally:
        server.thaw()
