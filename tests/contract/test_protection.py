"""Every protection provider against the one contract (ABUSE-005)."""

import pytest

from extauthz.providers.memory_protection import MemoryProtection
from extauthz.testing.contracts_protection import MicroTime, ProtectionContract, ProtectionHarness

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


def test_the_contract_is_nothing_without_a_provider() -> None:
    with pytest.raises(TypeError):
        ProtectionContract()  # type: ignore[abstract] # that it cannot be made alone is what is tested
