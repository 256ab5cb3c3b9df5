"""The dead-letter file: events that the store did not take, as JSON lines, to be sent again later."""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from extauthz.model.event import Event
from extauthz.model.event_json import to_json

T = TypeVar("T")

MAX_BYTES: Final = 64 * 1024 * 1024
WRITE_TIMEOUT: Final = 1.0
"""Seconds after which a write counts as lost. The disk may still finish it: stores know events by their ids."""

_CHUNK: Final = 1024 * 1024


class DeadLetters:
    """Appends to the file at `path`, in a thread, synced to disk, up to `max_bytes`. `size` is the events in it.

    A disk that takes longer than `write_timeout` seconds is not waited for.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, write_timeout: float = WRITE_TIMEOUT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._write_timeout = write_timeout
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dead-letters")
        self._busy: asyncio.Future[Any] | None = None
        self.size = 0

    async def start(self) -> None:
        """Count what earlier runs have left."""
        self.size = await self._in_thread(lambda: _count_lines(self._path)) or 0

    async def write(self, events: Sequence[Event]) -> int:
        """Append `events`; how many of them, from the first on, are safely in the file. Never raises."""
        written = await self._in_thread(lambda: _append(self._path, _lines(events), self._max_bytes)) or 0
        self.size += written
        return written

    def close(self) -> None:
        """Let the thread go; it is not waited for."""
        self._executor.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        """The result, None where the disk hangs or refuses. While it hangs nothing more is handed to it."""
        if self._busy is not None and not self._busy.done():
            return None
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        self._busy = future
        await asyncio.wait({future}, timeout=self._write_timeout)
        if not future.done():
            future.add_done_callback(asyncio.Future.exception)  # what comes of it is nobody's concern, but must be seen
            return None
        return None if future.exception() is not None else future.result()


def _lines(events: Iterable[Event]) -> Iterable[bytes]:
    """One line for each event; one that has no JSON form has none."""
    for event in events:
        with suppress(ValueError, TypeError, RecursionError):
            yield to_json(event).encode() + b"\n"


def _append(path: Path, lines: Iterable[bytes], max_bytes: int) -> int:
    """Append the lines that fit; how many. All of them are on the disk or none."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        start = os.fstat(handle).st_size
        torn = start > 0 and os.pread(handle, 1, start - 1) != b"\n"  # a crash in the middle of a line
        fitting = _fitting(lines, max_bytes - start - torn)
        try:
            _write_all(handle, (b"\n" if torn and fitting else b"") + b"".join(fitting))
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, start)
            raise
        return len(fitting)
    finally:
        os.close(handle)


def _fitting(lines: Iterable[bytes], room: int) -> list[bytes]:
    fitting: list[bytes] = []
    for line in lines:
        room -= len(line)
        if room < 0:
            break
        fitting.append(line)
    return fitting


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))
    except FileNotFoundError:
        return 0
