"""Following what is changed in a store, by whomever, so that the caches here are right within a second."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from extauthz.changes.apply import Applier
from extauthz.changes.desk import Desk
from extauthz.changes.lease import Lease
from extauthz.errors import InvalidRecord, NotSupported, ProviderBusy
from extauthz.model.changed import StoredChange
from extauthz.model.deadline import Clock
from extauthz.ports import CHANGES_KEPT, ChangeLog, ReplicaLeases
from extauthz.resilience.bounded import within

WAIT_SECONDS: Final = 0.5
"""A change that nobody told of is found after so long."""

ASK_SECONDS: Final = 2.0
"""For one question to the store, beyond the waiting it was asked for."""

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 2.0
"""Seconds before a store that failed is asked again: doubled each time, spread so that replicas don't come at once."""

BUSY_PAUSE: Final = 0.05
"""Seconds before a store is asked again to which all our connections were in use: it has not failed."""

OUTAGE_SECONDS: Final = 3.0
"""A store that was silent for so long may be another one now, which took over and lacks the last changes of the first."""

REPEATED: Final = 256
"""So many of the last changes are then applied again: their numbers may have been given to others, which we never saw."""

CUT_OFF_SECONDS: Final = CHANGES_KEPT / 2
"""Who heard nothing for so long may have missed changes that are not kept any more."""

_log = structlog.stdlib.get_logger(__name__)


class Follower:
    """Follows one store's changes and applies them to the caches of `desk`.

    Our own too, which the desk has shown already: one of them may be committed after the desk was told that it failed.
    `leases` is given where the store keeps the lifecycle: this replica, `replica`, then says there that it lives, and how far
    it has come. A store that has no log of changes is left alone. `clock` is monotonic; `spread` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        log: ChangeLog,
        desk: Desk,
        replica: str,
        leases: ReplicaLeases | None = None,
        clock: Clock = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._log = log
        self._applier = Applier(desk)
        self._lease = None if leases is None else Lease(leases, replica, lambda: self._seen)
        self._clock = clock
        self._spread = spread
        self._seen = 0
        self._applied = 0
        self._heard_at: float | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up the position, take the lease, and follow from there. A store that can't be reached is tried again."""
        if not await self._tried(self._take_position):
            return
        if self._lease is not None:
            await self._lease.start()
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Follow no more, and end the lease."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._lease is not None:
            await self._lease.close()

    async def _follow(self) -> None:
        while await self._tried(self._turn):
            if self._failures:
                await asyncio.sleep(self._pause())

    async def _tried(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Whether there is anything to follow, in spite of a failure."""
        try:
            await step()
        except NotSupported:
            return False
        except ProviderBusy:
            await asyncio.sleep(BUSY_PAUSE)
            return True
        except Exception as error:  # noqa: BLE001 - whatever the store of a third party raises, it may work again
            self._failed(error)
        else:
            if self._failures:
                _log.info("changes_followed_again")
            self._failures = 0
        return True

    def _failed(self, error: Exception) -> None:
        if not self._failures:
            _log.warning("changes_not_followed", error=str(error))
        self._failures += 1
        if isinstance(error, InvalidRecord):
            self._heard_at = None  # a change that can't be read may be any change

    def _pause(self) -> float:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        return longest * (1 + self._spread()) / 2

    async def _turn(self) -> None:
        if self._failures or self._lost():
            await self._take_position()
        last = await within(ASK_SECONDS, self._log.last_change())
        changes = await within(ASK_SECONDS, self._log.changes_after(self._seen))
        self._heard_at = self._clock()
        if last < self._seen or (last > self._seen and not changes):  # put back; or what we have not seen is not kept
            self._start_over(last)
        elif changes:
            await self._apply(changes)
        else:
            await within(WAIT_SECONDS + ASK_SECONDS, self._log.wait_for_change(WAIT_SECONDS))

    def _lost(self) -> bool:
        return self._heard_at is None or self._clock() - self._heard_at > CUT_OFF_SECONDS

    async def _take_position(self) -> None:
        """Go on from where we were; where changes may have been missed, rely on nothing that was cached before."""
        last = await within(ASK_SECONDS, self._log.last_change())
        now = self._clock()
        if self._lost() or last < self._seen:
            self._start_over(last)
        elif self._heard_at is not None and now - self._heard_at > OUTAGE_SECONDS:
            self._applied = self._seen
            self._seen = max(0, self._seen - REPEATED)
        self._heard_at = now

    def _start_over(self, last: int) -> None:
        """Changes may have been missed. A store that was put back to an earlier day counts on from there."""
        self._applier.doubt_all()
        self._seen = last
        self._got_further()

    async def _apply(self, changes: Sequence[StoredChange]) -> None:
        for number, change in enumerate(changes):
            try:
                await self._applier.apply(change, again=change.seq <= self._applied)
            except BaseException:
                for later in changes[number:]:  # the caches ask; what denies is put when this is tried again
                    self._applier.forget(later, again=later.seq <= self._applied)
                self._heard_at = self._clock()  # it is not the log that gave no answer
                raise
            self._seen = change.seq
        self._got_further()

    def _got_further(self) -> None:
        if self._lease is not None:
            self._lease.got_further()
