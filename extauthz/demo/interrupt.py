"""How the demo ends early: whatever tells it to, it leaves nothing behind."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a supervisor, and the terminal that was closed."""


async def unless_interrupted(main: Coroutine[Any, Any, T]) -> T | None:
    """What `main` returns. At the first signal it is cancelled and waited for; None where it returns nothing then.

    More signals change nothing: what is being cleaned up is to be cleaned up.
    """
    loop = asyncio.get_running_loop()
    running = loop.create_task(main)
    told = _once(running.cancel)
    for number in _SIGNALS:
        loop.add_signal_handler(number, told)
    try:
        await asyncio.wait({running})
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return None if running.cancelled() else running.result()


def _once(act: Callable[[], object]) -> Callable[[], None]:
    """The act, the first time only."""
    left = [act]

    def acts() -> None:
        if left:
            left.pop()()

    return acts
