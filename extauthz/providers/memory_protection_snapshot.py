"""Day counts that are kept in process survive a restart, in a file that is written anew every few seconds.

Rate and burst are not in it: they are full again before a process is.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, TypeVar

from extauthz.providers import whole_file
from extauthz.providers.file_lock import FileLock, remove_drafts
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.memory_protection_file import Content, head, parsed
from extauthz.providers.whole_file import Damaged, lines

log = logging.getLogger(__name__)

T = TypeVar("T")

EVERY: Final = 5.0
"""Seconds between two writings; what a crash loses at most."""

CLOSE_PATIENCE: Final = 5.0
"""Seconds that `close` waits for a disk."""

SLICE: Final = 1000
"""Rows made into text in one turn of the event loop: well below a millisecond."""

_ANOTHERS: Final = (
    "day counts in %s are kept by another process: until it ends they are neither read nor written here, and what is counted here"
    " is lost with this process; give each its own providers.protection.snapshot"
)


class ProtectionSnapshot:
    """Keeps the day counts of `provider` in a file: requests, cost, and idempotency keys.

    Whatever is wrong with the file, the service runs. A damaged one is moved aside; one that cannot be written is tried again.
    One that another process keeps is neither read nor written until that process ends; then its counts are added to those here.

    Args:
        path: the file. It is replaced as a whole (mode 0600), so that it is never half written.
        provider: whose counts.
        every: seconds between two writings; nothing is written while nothing changes.
    """

    def __init__(self, path: str | Path, provider: MemoryProtection, *, every: float = EVERY) -> None:
        self._path = Path(path)
        self._lock = FileLock(self._path)
        self._restored = self._waiting = False
        self._provider = provider
        self._every = every
        self._written = provider.changes
        self._failing = False
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over what the file holds of today, and begin to write. Before the first charge, so that all are counted."""
        try:
            await self._own()
        except OSError:  # the first writing tells it
            await self._restore()
        self._task = asyncio.get_running_loop().create_task(self._keep_writing())

    async def close(self) -> None:
        """Write once more and end."""
        self._stop.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=CLOSE_PATIENCE)
            self._task.cancel()
            if done:  # else a thread may still be writing: the lock ends with the process
                self._lock.give_back()

    async def _own(self) -> bool:
        """Whether the file is ours: take the lock and, the first time, what the file holds.

        Raises:
            OSError: there can be no lock.
        """
        if self._lock.held:
            return True
        if not await _in_thread(self._lock.take):
            if not self._waiting:
                log.warning(_ANOTHERS, self._path)
            self._waiting = True
            return False
        if self._waiting:
            log.warning("day counts in %s are taken over: the process that kept them has ended", self._path)
        await _in_thread(lambda: remove_drafts(self._path))
        await self._restore()
        return True

    async def _restore(self) -> None:
        """Add what the file holds of today to what is counted here."""
        if self._restored:
            return
        self._restored = True
        content = await _in_thread(self._read)
        if content is None:
            return
        counts = content.counts if content.day == self._provider.today() else []
        for start in range(0, max(len(counts), len(content.keys)), SLICE):
            part = slice(start, start + SLICE)
            self._provider.restore(counts[part], content.keys[part])
            await asyncio.sleep(0)

    async def _keep_writing(self) -> None:
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            while not stopping.done():
                await asyncio.wait({stopping}, timeout=self._every)
                await self._write_changes()
            await self._write_changes()  # what came while the last writing was under way
        finally:
            stopping.cancel()

    async def _write_changes(self) -> None:
        try:
            if await self._own() and self._provider.changes != self._written:
                await self._write()
        except OSError as error:
            if not self._failing:
                log.error("day counts cannot be written to %s (%s); tried again", self._path, error.strerror)  # noqa: TRY400 - the reason is in it
            self._failing = True

    async def _write(self) -> None:
        changes = self._provider.changes
        parts = [part async for part in self._parts()]
        await _in_thread(lambda: whole_file.replace(self._path, parts))
        if self._failing:
            log.warning("day counts are written to %s again", self._path)
        self._failing = False
        self._written = changes

    async def _parts(self) -> AsyncIterator[bytes]:
        """The file in pieces, made a slice at a time; others run in between."""
        day = self._provider.today()
        yield head(day)
        accounts = self._provider.day_counts()
        for start in range(0, len(accounts), SLICE):
            yield lines((a.tenant_id, a.requests, a.cost) for a in accounts[start : start + SLICE] if a.day == day)
            await asyncio.sleep(0)
        keys = self._provider.usage_keys()
        for start in range(0, len(keys), SLICE):
            yield lines(list(key) for key in keys[start : start + SLICE] if key.day >= day - 1)
            await asyncio.sleep(0)

    def _read(self) -> Content | None:
        """What the file holds; None where there is none, or none that can be used."""
        try:
            return parsed(whole_file.read(self._path))
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("day counts cannot be read from %s (%s)", self._path, error.strerror)  # noqa: TRY400 - the reason is in it
        except Damaged as error:
            self._move_aside(error)
        return None

    def _move_aside(self, error: Damaged) -> None:
        aside = whole_file.move_aside(self._path)
        log.error("%s is damaged (%s): moved to %s, today is counted from nothing", self._path, error, aside)


async def _in_thread(work: Callable[[], T]) -> T:
    return await whole_file.in_thread(work, "protection-snapshot")
