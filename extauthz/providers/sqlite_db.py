"""SQLite for asyncio: functions of a connection run in threads, one writer and several readers."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeVar

from extauthz.errors import ProviderError
from extauthz.providers.sqlite_file import NO_SYNC, SYNC, FileLink, SqliteFile
from extauthz.providers.sqlite_schema import Kind, Migrations
from extauthz.providers.sqlite_worker import Job, Work, Worker

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

__all__ = ["Migrations", "SqliteDatabase"]


class SqliteDatabase:
    """One SQLite file. It is opened at the first need, and opened and checked again whenever it was lost.

    One call is one hop to a thread and back. A call that is cancelled interrupts its own query, and nobody else's; one that
    waits in the queue never begins. `readers` is the number of reading threads. `patience` (seconds) is how long a call
    waits for a lock that another process holds. `durable` False may lose the last commits when the machine loses power.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        application_id: int,
        migrations: Migrations,
        readers: int = 4,
        patience: float = 5.0,
        durable: bool = True,
    ) -> None:
        kind = Kind(application_id=application_id, migrations=migrations)
        self._durable = durable
        self._file = SqliteFile(Path(path), kind, durable=durable)
        self._read_lane = _Lane("sqlite-read", [FileLink(self._file, read_only=True) for _ in range(readers)], patience)
        self._write_lane = _Lane("sqlite-write", [FileLink(self._file, read_only=False)], patience)

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._file.path

    async def start(self) -> None:
        """Open the file and set it up where it is empty. One that can't be reached is only logged: each call tries again.

        Raises:
            SchemaMismatch: the file is another program's, or of another version.
        """
        try:
            await self._write_lane.run(lambda _: None)
        except ProviderError as error:
            _log.warning("database not reachable at start, trying again on each call: %s", error)

    async def close(self) -> None:
        """Finish what is queued, then close the connections; later calls raise ProviderError."""
        await self._read_lane.close()
        await self._write_lane.close()

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """What `fn` returns, run on a connection that can't write.

        `fn` may run more than once (while somebody else holds a lock), so it changes nothing but the database.

        Raises:
            ProviderError: the database gave no answer.
            SchemaMismatch: it is not of our schema.
            Exception: whatever else `fn` raises.
        """
        return await self._read_lane.run(fn)

    async def write(self, fn: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """What `fn` returns, run as one transaction: committed when it returns, rolled back when it raises.

        `durable` False: it may be lost when the machine loses power, whatever holds for the file.

        Raises: as `read`.
        """
        return await self._write_lane.run(partial(_in_transaction, fn, durable and self._durable))


def _in_transaction(fn: Callable[[sqlite3.Connection], T], durable: bool, connection: sqlite3.Connection) -> T:  # noqa: FBT001 - bound by a partial
    connection.execute(SYNC if durable else NO_SYNC)
    # IMMEDIATE takes the write lock first: what `fn` reads can't change before it writes, in this process or another.
    connection.execute("BEGIN IMMEDIATE")
    try:
        value = fn(connection)
        connection.execute("COMMIT")
    finally:
        # Some errors (a full disk, an interrupt) have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return value


class _Lane:
    """A queue of jobs and the threads that serve it, started with the first job."""

    def __init__(self, name: str, links: list[FileLink], patience: float) -> None:
        self._jobs: SimpleQueue[Work | None] = SimpleQueue()
        self._workers = [Worker(f"{name}-{number}", self._jobs, link, patience) for number, link in enumerate(links)]
        self._patience = patience
        self._started = False
        self._closed = False

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise ProviderError("the database is closed")
        self._start()
        job = Job(fn)
        self._jobs.put(job)
        try:
            return await job.result
        except asyncio.CancelledError:
            job.abandon()
            raise

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for worker in self._workers:
                worker.start()

    async def close(self) -> None:
        already, self._closed = self._closed, True
        if already or not self._started:
            return
        for _ in self._workers:
            self._jobs.put(None)
        ended = [await asyncio.to_thread(worker.join, self._patience) for worker in self._workers]
        if not all(ended):
            _log.warning("a query did not end in %s s and was left behind", self._patience)
