"""A share of a processor for one process, as a container's limit gives it: what it has used up it gets back in the next period.

What such a process can do depends on its share alone, as long as the machine has that much to give.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

PERIOD: Final = 0.05
LOOK_EVERY: Final = 0.001


@contextmanager
def throttled(pid: int, cores: float) -> Iterator[None]:
    """Hold the process, all its threads together, to so many processors for as long as the context lasts."""
    ended = threading.Event()
    holding = threading.Thread(target=_hold, args=(pid, cores, ended), daemon=True)
    holding.start()
    try:
        yield
    finally:
        ended.set()
        holding.join()


def _hold(pid: int, cores: float, ended: threading.Event) -> None:
    clock = (~pid << 3) | 2  # how Linux names the clock of what another process has used
    left = 0.0
    with suppress(ProcessLookupError, OSError):
        used = time.clock_gettime(clock)
        while not ended.is_set():
            end = time.monotonic() + PERIOD
            left = min(left, 0.0) + cores * PERIOD  # nothing is saved up; what was taken too much is paid back
            while time.monotonic() < end and time.clock_gettime(clock) - used < left:
                time.sleep(LOOK_EVERY)
            _stop(pid, end - time.monotonic())
            left -= time.clock_gettime(clock) - used
            used = time.clock_gettime(clock)


def _stop(pid: int, seconds: float) -> None:
    if seconds <= 0:
        return
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
