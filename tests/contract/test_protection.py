"""Every protection provider against the one contract (ABUSE-005): in process, and in a real Redis with the time fed in."""

from collections.abc import AsyncIterator, Iterator

import pytest

from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.redis_protection import RedisProtection
from extauthz.testing.contracts_protection import MicroTime, ProtectionContract, ProtectionHarness
from tests.redis_server import PRODUCTS, flushed, single

NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z in microseconds
YEAR = 365 * 86_400 * 1_000_000


class _MemoryHarness:
    def __init__(self, uptime: int) -> None:
        self._time = MicroTime(mono=uptime, wall=NOON)
        self.provider = MemoryProtection(clock=self._time.clock, wall=self._time.wall_clock)

    async def advance(self, microseconds: int) -> None:
        self._time.advance(microseconds)


class TestAbuse005MemoryProtection(ProtectionContract):
    uptime = 0

    async def start(self) -> ProtectionHarness:
        return _MemoryHarness(self.uptime)


class TestAbuse005MemoryProtectionAfterAYear(TestAbuse005MemoryProtection):
    uptime = YEAR + 1


@pytest.fixture(scope="module", params=PRODUCTS)
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with single(product=request.param) as server:
        yield server.url


class _RedisHarness:
    def __init__(self, url: str) -> None:
        self._time = MicroTime(wall=NOON)
        self.provider = RedisProtection(url, timeout=5.0, now=lambda: self._time.wall)

    async def advance(self, microseconds: int) -> None:
        self._time.advance(microseconds)


class TestAbuse005RedisProtection(ProtectionContract):
    @pytest.fixture(autouse=True)
    async def _harnesses(self, server_url: str) -> AsyncIterator[None]:
        self.url = server_url
        self.started: list[_RedisHarness] = []
        yield
        for each in self.started:
            await each.provider.close()

    async def start(self) -> ProtectionHarness:
        harness = _RedisHarness(flushed(self.url))
        self.started.append(harness)
        return harness


def test_the_contract_is_nothing_without_a_provider() -> None:
    with pytest.raises(TypeError):
        ProtectionContract()  # type: ignore[abstract] # that it cannot be made alone is what is tested
