"""What a process is told by signals."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_STOP: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requested(*, then_ignored: bool = False) -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, instead of what they do otherwise, for as long as the context lasts.

    `then_ignored`: afterwards they are ignored, because the process ends anyway, and is to end well. Else they do what they do
    otherwise.
    """
    stop = asyncio.Event()
    with _handled(_STOP, stop.set, then_ignored=then_ignored):
        yield stop


@contextmanager
def reload_requested(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at SIGHUP, which would end the process otherwise, for as long as the context lasts; afterwards it is ignored."""
    with _handled((signal.SIGHUP,), ask, then_ignored=True):
        yield


@contextmanager
def _handled(
    numbers: tuple[signal.Signals, ...], handle: Callable[[], object], *, then_ignored: bool
) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            if then_ignored:
                signal.signal(number, signal.SIG_IGN)
