"""Slow work in a thread that nobody has to wait for."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[[], T]) -> T:
    """What `work` gives or raises, done in a thread of its own.

    Unlike a pool's the thread is abandoned at the end of the process: a file that cannot be read to its end does not keep it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(set_outcome: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if done.done() else set_outcome())

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            raised = error
            tell(lambda: done.set_exception(raised))
        else:
            tell(lambda: done.set_result(value))

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await done
