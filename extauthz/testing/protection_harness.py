"""How the contract of protection providers reaches a provider, its time, and its answers."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol

from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Dimension
from extauthz.ports import ProtectionProvider

ALL: Final = frozenset(CHARGED)
NONE: Final[frozenset[Dimension]] = frozenset()
TENANT: Final = "acme"


@dataclass(slots=True)
class MicroTime:
    """A monotonic and a wall clock in whole microseconds, so that a test can stand exactly before and at a moment."""

    mono: int = 0
    wall: int = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z

    def clock(self) -> float:
        """Monotonic seconds."""
        return self.mono / 1e6

    def wall_clock(self) -> float:
        """Unix seconds."""
        return self.wall / 1e6

    def advance(self, microseconds: int) -> None:
        """Let time pass on both."""
        self.mono += microseconds
        self.wall += microseconds


class ProtectionHarness(Protocol):
    """One provider under test, empty at first, whose time stands still unless the suite moves it.

    It starts at least an hour before and an hour after a UTC midnight.
    """

    @property
    def provider(self) -> ProtectionProvider:
        """The provider; the same one all the time."""

    async def advance(self, microseconds: int) -> None:
        """Let time pass, on whatever clocks the provider goes by."""


def dimensions(result: ChargeResult) -> tuple[Dimension, ...]:
    """The exceeded dimensions of a result, in its order."""
    return tuple(each.dimension for each in result.exceeded)


class Caller:
    """Charges one tenant over and over on the same terms."""

    def __init__(self, harness: ProtectionHarness, limits: Limits, blocking: Collection[Dimension] = ALL) -> None:
        self._provider = harness.provider
        self._limits = limits
        self._blocking = frozenset(blocking)

    async def charge(
        self, cost: int = 0, *, limits: Limits | None = None, tenant: str = TENANT, commit: bool = True
    ) -> ChargeResult:
        """One charge; the arguments replace what the caller does otherwise."""
        return await self._provider.charge(
            Charge(tenant_id=tenant, limits=limits or self._limits, blocking=self._blocking, cost=cost, commit=commit)
        )

    async def passed(self, times: int) -> int:
        """How many of so many charges, all at once, were let through."""
        results = await asyncio.gather(*(self.charge() for _ in range(times)))
        return sum(result.charged for result in results)
