"""Looks at a file again and again, beside the loop."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from extauthz.config import WatchedFile


@contextmanager
def watching(watched: WatchedFile, every: float, changed: Callable[[], None]) -> Iterator[None]:
    """Call `changed` on the running loop after every change, for as long as the context lasts.

    `every` is in seconds. The looks are made in a thread of their own, which nobody waits for: a file system that hangs holds up
    neither checks nor the end of the process.
    """
    loop = asyncio.get_running_loop()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            if watched.look():
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    loop.call_soon_threadsafe(changed)

    threading.Thread(target=watch, name="config-file", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
