"""A service's file of those who are not ACTIVE, one run at a time: real files, time fed in."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

from extauthz.changes.blocked import BlockedTenants
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.providers.blocked_snapshot import BlockedSnapshot
from extauthz.testing import FakeClock, FakeWallClock


def record(state: str = "TERMINATED", onboarding: str = "COMPLETE") -> LifecycleRecord:
    return LifecycleRecord(state=LifecycleState(state), onboarding=Onboarding(onboarding))


class Life:
    """One run of a service, from start to close; it begins at `wall`."""

    def __init__(self, path: Path, *, wall: float = 1_767_268_800.0, every: float = 0.001, again: float = 0.01) -> None:
        self.clock = FakeClock()
        self.wall = FakeWallClock(wall, clock=self.clock)
        self.known = BlockedTenants(clock=self.clock, most=100_000)
        self.snapshot = BlockedSnapshot(path, self.known, clock=self.clock, wall=self.wall, every=every, again=again)

    async def __aenter__(self) -> Self:
        await self.snapshot.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.snapshot.close()

    def states(self) -> dict[str, str]:
        return {tenant_id: blocked.record.state.value for tenant_id, blocked in self.known.kept()}

    def age(self, tenant_id: str) -> float:
        recalled = self.known.recall(tenant_id)
        assert recalled is not None
        return round(recalled.age, 3)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a file can't set an event
            await asyncio.sleep(0.002)


def has(path: Path, text: bytes) -> bool:
    return path.exists() and text in path.read_bytes()
