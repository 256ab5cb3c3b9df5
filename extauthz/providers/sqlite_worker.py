"""Threads that run functions of an SQLite connection, and how a caller that has left takes its function down with it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, Protocol, TypeVar

from extauthz.errors import ProviderTimeout
from extauthz.providers.sqlite_errors import is_busy

T = TypeVar("T")


class Work(Protocol):
    """A job as a worker sees it, whatever it returns."""

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""

    def attempt(self, connection: sqlite3.Connection) -> None:
        """Do it once and deliver the result; whatever it raises is the worker's to judge."""

    def fail(self, error: Exception) -> None:
        """Deliver an error."""


class Link(Protocol):
    """One thread's way to the database. Both are called on that thread only."""

    def connection(self, stop: Callable[[], bool]) -> sqlite3.Connection:
        """The open connection, opened and checked first where needed; its queries end soon after `stop` says so."""

    def failed(self, error: Exception) -> Exception:
        """Judge an error: drop the connection where it may be useless now; the error in our own terms."""

    def close(self) -> None:
        """Close the connection, if there is one."""


class Job(Generic[T]):
    """One function of a connection and the caller who waits for it. Made on the event loop."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[T] = self._loop.create_future()
        self.abandoned = False
        self._lock = Lock()
        self._running_on: sqlite3.Connection | None = None

    def abandon(self) -> None:
        """Nobody waits any more: interrupt the query, or see to it that the job never begins.

        The lock is what keeps `interrupt` from hitting the next job on the same connection: while it is held, this job can't
        end. It is held for a moment only, so the event loop does not wait.
        """
        with self._lock:
            self.abandoned = True
            if self._running_on is not None:
                self._running_on.interrupt()

    def attempt(self, connection: sqlite3.Connection) -> None:
        """Run the function on `connection` and deliver what it returns.

        Raises:
            ProviderTimeout: the caller had left before it began.
            Exception: whatever the function raises.
        """
        with self._lock:
            if self.abandoned:
                raise ProviderTimeout("nobody waits any more")
            self._running_on = connection
        try:
            value = self._work(connection)
        finally:
            with self._lock:
                self._running_on = None
        self._deliver(lambda: self.result.set_result(value))

    def fail(self, error: Exception) -> None:
        """Deliver an error."""
        self._deliver(lambda: self.result.set_exception(error))

    def _deliver(self, settle: Callable[[], None]) -> None:
        def settle_if_waited_for() -> None:
            if not self.result.done():
                settle()

        try:
            self._loop.call_soon_threadsafe(settle_if_waited_for)
        except RuntimeError:
            return  # the loop has closed: nobody is left to tell, and the thread must live on


class Worker:
    """A thread that serves one queue of jobs over one connection. None in the queue ends it.

    `patience` is how long (seconds) a job tries again while somebody else holds a lock. SQLite's own waiting can't be
    interrupted, so the connection waits in short turns and between them the worker looks whether the caller has left.
    """

    def __init__(self, name: str, jobs: "SimpleQueue[Work | None]", link: Link, patience: float) -> None:
        self._jobs = jobs
        self._link = link
        self._patience = patience
        self._job: Work | None = None
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; whether it did. Blocks: not for the event loop."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._job = job
            self._perform(job)
            self._job = job = None  # else the last result lives until the next job
        self._link.close()

    def _perform(self, job: Work) -> None:
        give_up_at = time.monotonic() + self._patience
        while not job.abandoned:
            try:
                job.attempt(self._link.connection(self._stop))
            except Exception as error:  # noqa: BLE001 - every error belongs to the caller; the thread must survive it
                judged = self._link.failed(error)
                if not is_busy(error) or time.monotonic() >= give_up_at:
                    job.fail(judged)
                    return
            else:
                return

    def _stop(self) -> bool:
        return self._job is not None and self._job.abandoned
