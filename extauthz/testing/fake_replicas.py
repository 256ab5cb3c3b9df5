"""Stand-ins for what replicas share: a log of changes with leases, in time that can be moved, and the caches that follow it."""

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

from extauthz.model.changed import ChangedKind, StoredChange
from extauthz.ports import K

R = TypeVar("R")


class FakeCache(Generic[K, R]):
    """A cache without an end of freshness.

    Attributes:
        values: what is fresh.
        last_known: what may stand in for it; never dropped by `forget`.
        forgotten: every key that `forget` was told, in order.
        cleared: how often everything was forgotten.
    """

    def __init__(self) -> None:
        self.values: dict[K, R] = {}
        self.last_known: dict[K, R] = {}
        self.forgotten: list[K] = []
        self.doubted: list[K] = []
        self.cleared = 0

    def put(self, key: K, value: R) -> None:
        """Make `value` the fresh and the last-known value."""
        self.values[key] = self.last_known[key] = value

    def forget(self, key: K) -> None:
        """Drop the fresh value."""
        self.values.pop(key, None)
        self.forgotten.append(key)

    def holds(self, key: K) -> bool:
        """Whether there is a fresh value."""
        return key in self.values

    def forget_all(self) -> None:
        """Drop every fresh value."""
        self.values.clear()
        self.cleared += 1

    def doubt(self, key: K) -> None:
        """Drop the fresh value."""
        self.values.pop(key, None)
        self.doubted.append(key)

    def doubt_all(self) -> None:
        """Drop every fresh value."""
        self.forget_all()

    def clear(self) -> None:
        """Drop everything."""
        self.values.clear()
        self.last_known.clear()
        self.cleared += 1


class FakeSharedLog:
    """A change log and the leases of replicas, on the time of the event loop.

    Attributes:
        changes: every change that is kept; drop the first ones as a store does after a time.
        leases: (seen, end on the loop's clock) of each replica.
        renewed: the (replica, seen) of every renewal, in order.
        outage: raised by every call where set.
        frozen: whether calls never end.
        waits: how often `wait_for_change` was begun.
        asked: the loop's time of every `last_change`.
    """

    def __init__(self) -> None:
        self.changes: list[StoredChange] = []
        self.leases: dict[str, tuple[int, float]] = {}
        self.renewed: list[tuple[str, int]] = []
        self.outage: Exception | None = None
        self.frozen = False
        self.waits = 0
        self.asked: list[float] = []
        self._last = 0
        self._news = asyncio.Event()

    def add(self, kind: ChangedKind, changed_id: str, origin: str = "other") -> int:
        """Write a change; its `seq`."""
        self._last += 1
        self.changes.append(StoredChange(seq=self._last, kind=kind, id=changed_id, origin=origin))
        self._news.set()
        return self._last

    def restore(self, last: int) -> None:
        """Put the store back to the day of the change `last`."""
        self.changes = [change for change in self.changes if change.seq <= last]
        self._last = last

    async def _answer(self) -> None:
        if self.frozen:
            await asyncio.Event().wait()
        if self.outage is not None:
            raise self.outage

    async def last_change(self) -> int:
        """The `seq` of the newest change; 0 where there was none yet."""
        self.asked.append(asyncio.get_running_loop().time())
        await self._answer()
        return self._last

    async def changes_after(self, seq: int, limit: int = 1000) -> Sequence[StoredChange]:
        """The changes above `seq` in their order, at most `limit`."""
        await self._answer()
        return [change for change in self.changes if change.seq > seq][:limit]

    async def wait_for_change(self, seconds: float) -> None:
        """Return when there is a new change, after `seconds` at the latest; frozen it never returns."""
        self.waits += 1
        if self.frozen:
            await self._answer()
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def renew_lease(self, replica: str, seen: int, seconds: float) -> None:
        """Say that `replica` lives for `seconds` more, and has seen the change `seen`."""
        await self._answer()
        self.leases[replica] = (seen, asyncio.get_running_loop().time() + seconds)
        self.renewed.append((replica, seen))

    async def end_lease(self, replica: str) -> None:
        """Say that `replica` ends."""
        await self._answer()
        self.leases.pop(replica, None)

    async def replicas_behind(self, seq: int) -> Sequence[str]:
        """The replicas with a live lease that have not seen the change `seq`."""
        await self._answer()
        now = asyncio.get_running_loop().time()
        return sorted(name for name, (seen, ends) in self.leases.items() if ends > now and seen < seq)
