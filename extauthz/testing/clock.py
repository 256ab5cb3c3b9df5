"""Time for tests: an event loop on which hours pass at once, and clocks that move only when told.

In a test, either decorate the coroutine function or run a coroutine:

    @in_virtual_time
    async def test_waits_an_hour() -> None:
        await asyncio.sleep(3600)

    def test_waits_an_hour() -> None:
        run_virtual(main())

On this loop `loop.time()` stands still while anything is ready to run and jumps to the next timer when nothing is. So
`await asyncio.sleep(0.000001)` returns only after everything that could happen now has happened.
"""

import asyncio
import functools
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from extauthz.model.deadline import Clock

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = 1_000.0
"""Where virtual and fake monotonic clocks start, in seconds; not 0, which hides mistakes."""

WALL_START = 1_767_268_800.0
"""Where fake wall clocks start: 2026-01-01T12:00:00Z."""

REAL_PATIENCE = 10.0
"""Real seconds that a virtual loop waits for sockets or worker threads before it calls it a deadlock."""


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set, and no socket or worker thread could wake the loop: it would wait for ever."""


class UnhandledError(AssertionError):
    """Something went wrong on the loop that no awaiting code saw (a callback that raised, a task nobody looked at)."""


class FakeClock:
    """A monotonic clock in seconds that moves only by `advance`."""

    def __init__(self, now: float = START) -> None:
        self._now = now

    def __call__(self) -> float:
        """Seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass.

        Raises:
            ValueError: negative; a monotonic clock never goes back.
        """
        if seconds < 0:
            raise ValueError("a monotonic clock never goes back")
        self._now = round(self._now + seconds, 9)


class FakeWallClock:
    """The calendar's time in Unix seconds. It follows `clock` where one is given, and can be set to anything at any time."""

    def __init__(self, now: float = WALL_START, *, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or (lambda: 0.0)
        self._offset = now - self._clock()

    def __call__(self) -> float:
        """Unix seconds."""
        return self._clock() + self._offset

    def advance(self, seconds: float) -> None:
        """Move by `seconds`, back where negative, as when someone corrects the machine's clock."""
        self._offset += seconds

    def set(self, now: float) -> None:
        """Jump to `now`, in Unix seconds."""
        self._offset = now - self._clock()


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the time on; only sockets and worker threads are really waited for."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience
        self.now = START
        self.jobs = 0
        self._threads_before = frozenset(threading.enumerate())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; otherwise the time is `timeout` later."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.jobs or timeout is None:
            return self._really_wait()
        self.now = round(self.now + timeout, 9)
        return []

    def _really_wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait in real time for a worker thread, or for a socket where no timer is set."""
        sockets = len(self.get_map()) - 1  # the loop's own wake-up socket is not counted
        threads = sum(thread not in self._threads_before for thread in threading.enumerate())
        could_wake = self.jobs or sockets > 0 or threads > 0
        # Where nothing could, a thread that has just ended may have woken the loop with its last breath.
        ready = super().select(self._patience if could_wake else 0)
        if not ready and not could_wake:
            raise Deadlock("nothing is ready, no timer is set, and nothing could wake the loop")
        if not ready:
            raise Deadlock(f"{threads} worker threads and {sockets} sockets were silent for {self._patience:g} s")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` jumps to the next timer when nothing is ready.

    Deterministic as long as the code under test uses no threads or sockets. While a `run_in_executor` job runs, the time
    stands still. Errors that reach the loop's exception handler are kept in `unhandled`.
    """

    def __init__(self, patience: float = REAL_PATIENCE) -> None:
        self._jumping = _JumpingSelector(patience)
        super().__init__(self._jumping)
        self.unhandled: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.unhandled.append(context))

    def time(self) -> float:
        """Virtual seconds, from `START`."""
        return self._jumping.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As usual; meanwhile the time stands still."""
        self._jumping.jobs += 1
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._job_ended)
        return future

    def _job_ended(self, _future: asyncio.Future[T]) -> None:
        self._jumping.jobs -= 1


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time; its result.

    Raises:
        Deadlock: everything waits for something that can never come.
        UnhandledError: `main` ended well, but something beside it did not.
    """
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main)
    if loop.unhandled:
        context = loop.unhandled[0]
        raise UnhandledError(context["message"]) from context.get("exception")
    return result


def in_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a plain test function, with the same parameters, that runs a coroutine function in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        run_virtual(main())

    return run
