"""What a process is told by signals."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_STOP: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requested() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, instead of what they do otherwise, for as long as the context lasts."""
    stop = asyncio.Event()
    with _handled(_STOP, stop.set):
        yield stop


@contextmanager
def reload_requested(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at SIGHUP, which would end the process otherwise, for as long as the context lasts."""
    with _handled((signal.SIGHUP,), ask):
        yield


@contextmanager
def _handled(numbers: tuple[signal.Signals, ...], handle: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
