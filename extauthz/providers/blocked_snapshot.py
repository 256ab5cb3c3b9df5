"""The tenants that are not ACTIVE, in a file: an outage with a restart lets none of them in."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, cast

import orjson

from extauthz.changes.blocked import Blocked, BlockedTenants
from extauthz.model.deadline import Clock
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import WallClock
from extauthz.providers import whole_file
from extauthz.providers.file_lock import FileLock, remove_drafts
from extauthz.providers.whole_file import Damaged, lines
from extauthz.resilience.bounded import within

T = TypeVar("T")

EVERY: Final = 1.0
"""Seconds between two writings, at least: what changes meanwhile is written together."""

AGAIN: Final = 5.0
"""Seconds before it is tried again where it could not be written."""

PATIENCE: Final = 5.0
"""Seconds that the start and the end wait for a disk."""

SLICE: Final = 1000
"""Rows made into text in one turn of the event loop: well below a millisecond."""

_FORMAT: Final = "extauthz-blocked-1"
_SANE: Final = 1e11
"""Unix seconds, three thousand years either way: no moment that a clock has shown lies beyond, however wrong it was."""
_RECORDS: Final = {
    (state.value, onboarding.value): LifecycleRecord(state=state, onboarding=onboarding)
    for state in LifecycleState
    for onboarding in Onboarding
}
_ANOTHERS: Final = (
    "%s is written by another process: until it ends, what only this one learns of tenants that are not ACTIVE does not outlive it;"
    " give each its own providers.lifecycle.snapshot"
)

_NOT_WRITTEN: Final = "tenants that are not ACTIVE cannot be written to %s (%s); tried again"

log = logging.getLogger(__name__)


class BlockedSnapshot:
    """Keeps `known` in a file: at the start it is read, and it is written anew soon after every change.

    Whatever is wrong with the file, the service runs. One that can't be used is moved aside; one that can't be written is tried
    again. Several processes may read it, one of them writes it (by a lock on a file beside it), and another after that has ended.
    Ages go by the calendar from one process to the next; within one, `clock`, which is that of `known`, and `wall` may differ.

    Args:
        path: the file. It is replaced as a whole (mode 0600), so that it is never half written.
        known: the set.
        clock: monotonic seconds.
        wall: Unix seconds.
        every: seconds between two writings at least.
        again: seconds before a writing that failed is tried again.
    """

    def __init__(
        self,
        path: str | Path,
        known: BlockedTenants,
        *,
        clock: Clock = time.monotonic,
        wall: WallClock = time.time,
        every: float = EVERY,
        again: float = AGAIN,
    ) -> None:
        self._path = Path(path)
        self._known = known
        self._clock = clock
        self._wall = wall
        self._every = every
        self._again = again
        self._lock = FileLock(self._path)
        self._written = 0
        self._failing = self._waiting = False
        self._wake, self._stop = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over what the file holds, and begin to write."""
        try:
            await self._take_over()
        except FileNotFoundError:
            pass
        except Exception as error:  # noqa: BLE001 - no thread to be had, for one: the service runs all the same
            log.warning("tenants that are not ACTIVE cannot be read from %s (%s)", self._path, _reason(error))
        self._written = self._known.changes
        self._known.listen(self._wake.set)
        self._task = asyncio.get_running_loop().create_task(self._keep_writing())

    async def close(self) -> None:
        """Write what has changed and end."""
        self._stop.set()
        self._wake.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=PATIENCE)
            self._task.cancel()
            if done:  # else a thread may still be writing: the lock ends with the process
                self._lock.give_back()

    async def _take_over(self) -> None:
        try:
            self._known.restore(await within(PATIENCE, _in_thread(self._read)))
        except Damaged as error:
            aside = await within(PATIENCE, _in_thread(lambda: whole_file.move_aside(self._path)))
            log.warning("%s cannot be used (%s): moved to %s, nobody is known from it", self._path, error, aside)

    def _read(self) -> list[tuple[str, LifecycleRecord, float]]:
        now = self._wall()
        return [
            (tenant_id, record, max(0.0, now - at)) for tenant_id, record, at in parsed(whole_file.read(self._path))
        ]

    async def _keep_writing(self) -> None:
        while not self._stop.is_set():
            await self._wake.wait()
            self._wake.clear()
            pause = self._every
            if not await self._write_changes():
                self._wake.set()
                pause = self._again
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
        await self._write_changes()

    async def _write_changes(self) -> bool:
        """Whether the file is as it should be."""
        if self._known.changes == self._written:
            return True
        try:
            if not await self._own():
                return False
            await self._write()
        except Exception as error:  # noqa: BLE001 - whatever it is, there may be no thread or no memory, it may pass
            if not self._failing:
                log.warning(_NOT_WRITTEN, self._path, _reason(error))
            self._failing = True
            return False
        return True

    async def _own(self) -> bool:
        """Whether the file is ours to write."""
        if self._lock.held:
            return True
        if not await _in_thread(self._lock.take):
            if not self._waiting:
                log.warning(_ANOTHERS, self._path)
            self._waiting = True
            return False
        await _in_thread(lambda: remove_drafts(self._path))
        return True

    async def _write(self) -> None:
        changes = self._known.changes
        parts = [part async for part in self._parts(self._known.kept())]
        await _in_thread(lambda: whole_file.replace(self._path, parts))
        if self._failing:
            log.warning("tenants that are not ACTIVE are written to %s again", self._path)
        self._failing = False
        self._written = changes

    async def _parts(self, kept: Sequence[tuple[str, Blocked]]) -> AsyncIterator[bytes]:
        """The file in pieces, made a slice at a time; others run in between."""
        yield orjson.dumps([_FORMAT]) + b"\n"
        calendar = self._wall() - self._clock()
        for start in range(0, len(kept), SLICE):
            yield lines(
                (tenant_id, record.state, record.onboarding, round(at + calendar, 3))
                for tenant_id, (record, at) in kept[start : start + SLICE]
            )
            await asyncio.sleep(0)


def parsed(data: bytes) -> Iterator[tuple[str, LifecycleRecord, float]]:
    """Tenant, record, and when that was last heard (Unix seconds), of a file's bytes.

    Raises:
        Damaged: they are not what `BlockedSnapshot` wrote.
    """
    _, rows = whole_file.parsed(data, lambda first: first == [_FORMAT])
    try:
        for tenant_id, state, onboarding, at in cast("list[tuple[object, str, str, object]]", rows):
            record = _RECORDS[state, onboarding]
            if not (isinstance(tenant_id, str) and isinstance(at, int | float) and abs(at) <= _SANE):
                raise Damaged("a row of it cannot be read")
            yield tenant_id, record, float(at)
    except (ValueError, TypeError, LookupError) as error:
        raise error if isinstance(error, Damaged) else Damaged("a row of it cannot be read") from None


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


async def _in_thread(work: Callable[[], T]) -> T:
    return await whole_file.in_thread(work, "blocked-snapshot")
