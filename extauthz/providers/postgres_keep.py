"""Keeps a connection ready for those whose deadline leaves no time to make one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Final

from extauthz.providers.postgres_dial import Backoff

TOUCH_EVERY: Final = 25.0
"""Seconds after which a connection is used for nobody: below the pool's limit for idle ones, and what lies between sees it live."""


class Keeper:
    """Uses a connection now and then, and at once when one was `lost`, so that the pool makes another while nobody waits.

    `touch` asks the database for nothing, and raises where it gives no answer.
    """

    def __init__(self, touch: Callable[[], Awaitable[object]], backoff: Backoff) -> None:
        self._touch = touch
        self._backoff = backoff
        self._lost = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, patience: float) -> None:
        """Begin, and wait for the first try, `patience` seconds at most."""
        if self._task is None:
            self._task = Context().run(asyncio.ensure_future, self._keep())
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._tried.wait()

    def lost(self, *_connection: object) -> None:
        """A connection has ended, for whatever reason."""
        self._lost.set()

    async def close(self) -> None:
        """End."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _keep(self) -> None:
        while True:
            self._lost.clear()
            pause = TOUCH_EVERY
            try:
                await self._touch()
            except Exception:  # noqa: BLE001 - whoever needs the database says what is wrong with it
                self._backoff.failed()
                pause = self._backoff.remaining
            else:
                self._backoff.succeeded()
            self._tried.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._lost.wait()
