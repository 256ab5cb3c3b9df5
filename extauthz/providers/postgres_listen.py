"""Hears that something was changed, over a connection of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Final

import asyncpg

from extauthz.model.deadline import Clock
from extauthz.providers.postgres_changes import CHANNEL
from extauthz.providers.postgres_dial import DIAL_LIMIT, Backoff
from extauthz.resilience.bounded import within

POLL: Final = 0.25
"""Seconds that a wait takes where nothing can be heard: the caller then looks for itself."""

CHECK_EVERY: Final = 30.0
"""Seconds after which a connection that says nothing is asked whether it lives."""


class Listener:
    """Waits for changes. The connection is made with the first wait, and made again, after a jittered pause, when it was lost.

    `dial` makes a connection. Behind a pooler (`pooled`) nothing can be heard, and no connection is made. For one caller that waits, not for several.
    """

    def __init__(self, dial: Callable[[], Awaitable[asyncpg.Connection]], clock: Clock, *, pooled: bool) -> None:
        self._deaf = pooled
        self._dial = dial
        self._backoff = Backoff(clock)
        self._news = asyncio.Event()
        self._listening = False
        self._task: asyncio.Task[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Return when there may be news, after `seconds` at the latest; never raises for want of a connection."""
        if self._task is None and not self._deaf:
            self._task = Context().run(asyncio.ensure_future, self._listen())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds if self._listening else min(seconds, POLL)):
                await self._news.wait()
        self._news.clear()

    async def close(self) -> None:
        """End the connection; later waits end by themselves."""
        self._deaf = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _listen(self) -> None:
        while True:
            with suppress(Exception):  # whatever it is, it is tried again, and meanwhile the caller looks for itself
                await self._hear(await self._dial())
            self._backoff.failed()
            await asyncio.sleep(self._backoff.remaining)

    async def _hear(self, connection: asyncpg.Connection) -> None:
        """Until the connection is lost."""
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await within(DIAL_LIMIT, connection.add_listener(CHANNEL, self._heard))
            self._backoff.succeeded()
            self._listening = True
            self._news.set()  # something may have happened while nobody listened
            while not await _happens(lost, CHECK_EVERY):
                await within(DIAL_LIMIT, connection.execute("SELECT"))
        finally:
            self._listening = False
            connection.terminate()

    def _heard(self, *_message: object) -> None:
        self._news.set()


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether it does, in `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
