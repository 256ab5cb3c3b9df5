"""Every protection provider against the one contract (ABUSE-005)."""

import pytest

from extauthz.providers.memory_protection import MemoryProtection
from extauthz.testing.contracts_protection import ProtectionContract, ProtectionHarness

NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z in microseconds


class _MemoryHarness:
    def __init__(self, uptime: int) -> None:
        self._uptime = self._now = uptime
        self.provider = MemoryProtection(
            clock=lambda: self._now / 1e6, wall=lambda: (NOON + self._now - self._uptime) / 1e6
        )

    async def advance(self, microseconds: int) -> None:
        self._now += microseconds


class TestAbuse005MemoryProtection(ProtectionContract):
    uptime = 0

    async def start(self) -> ProtectionHarness:
        return _MemoryHarness(self.uptime)


class TestAbuse005MemoryProtectionAfterAYear(TestAbuse005MemoryProtection):
    uptime = 365 * 86_400 * 1_000_000 + 1


def test_the_contract_is_run() -> None:
    with pytest.raises(TypeError):
        ProtectionContract()  # type: ignore[abstract] # that it cannot be made alone is what is tested
