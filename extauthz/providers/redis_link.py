"""One connection to one Redis server, shared by everybody: commands go out together and answers come back in order.

What is asked for in one turn of the event loop leaves in one packet. See docs/decisions/0010-protection-in-redis.md.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from extauthz.errors import ExtauthzError, ProviderBusy, ProviderError, ProviderTimeout
from extauthz.providers.redis_errors import again, is_read_only, translated, unsent
from extauthz.resilience.bounded import within

Reply = Any
"""What a server answers: int, bytes, None, or a list of replies."""

Dial = Callable[[], Awaitable[AbstractConnection]]

MOST_ASKED: Final = 1024
"""Commands that may wait for their answers at once. Beyond that it is ourselves who cannot take more."""

GIVE_UP: Final = 10.0
"""A connection on which a command waits for this many times the deadline is not believed in any more.

Whoever waits leaves at the deadline. Until here a server that only paused keeps its connection, and nobody who came later
is failed for those who came first.
"""

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 1.0
"""Seconds between attempts to connect, of which at random up to a half is taken off. They are doubled with each attempt that
fails, and with each connection that is lost before it answered anything; an answer sets them back."""


class _Asked:
    """A command on its way, until when it may take, and who waits for the answer."""

    __slots__ = ("answer", "command", "due")

    def __init__(self, command: bytes, answer: asyncio.Future[Reply], due: float) -> None:
        self.command = command
        self.answer = answer
        self.due = due

    def failed(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # seen: who asked may have left in this very turn

    def answered(self, reply: Reply) -> None:
        if not self.answer.done():
            self.answer.set_result(reply)


class Link:
    """Asks one server. It connects when it is first asked, and again when asked after the connection was lost.

    However many ask, one attempt to connect is made at a time, and none within a jittered pause after one that failed, or
    after the beginning of a connection that did not outlast it: they are refused at once meanwhile. So a connection that was
    lost while idle is replaced at once, and a server that greets and hangs up is not dialled in a storm. Nothing is ever sent
    twice.

    Args:
        where: the server's name in errors.
        dial: gives an open connection.
        timeout: the provider's own deadline in seconds; an attempt to connect may take that long.
    """

    def __init__(self, *, where: str, dial: Dial, timeout: float) -> None:
        self._where = where
        self._dial = dial
        self._timeout = timeout
        self._waiting: deque[_Asked] = deque()
        self._sent: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # those that are hanging up, too
        self._watch: asyncio.TimerHandle | None = None
        self._fault: ExtauthzError | None = None
        self._pause = FIRST_PAUSE
        self._not_before = 0.0
        self._closed = False

    def ask(self, command: bytes) -> asyncio.Future[Reply]:
        """Send a packed command; its answer. An error that the server answers with is raised as redis-py's `ResponseError`.

        Raises:
            ProviderError: there is no connection, and it is too early to try again.
            ProviderBusy: too much is under way already.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._running is None:
            self._begin(loop, now)
        elif len(self._waiting) + len(self._sent) >= MOST_ASKED:
            raise ProviderBusy(f"Redis at {self._where}: {MOST_ASKED} commands wait for their answers")
        asked = _Asked(command, loop.create_future(), now + GIVE_UP * self._timeout)
        self._waiting.append(asked)
        self._wake.set()
        if self._watch is None:
            self._watch = loop.call_at(asked.due, self._look)
        return asked.answer

    async def close(self) -> None:
        """Hang up. What is under way fails."""
        self._closed = True
        self._fault = ProviderError(f"Redis at {self._where}: closed")
        if self._running is not None:
            self._running.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=self._timeout * GIVE_UP)

    def _begin(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        if self._closed or now < self._not_before:
            raise unsent(self._fault or ProviderError(f"Redis at {self._where}: not connected"))
        self._fault = None
        self._running = loop.create_task(self._run())
        self._tasks.add(self._running)
        self._running.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        """Connect, and pass on questions and answers until the connection is lost."""
        error: Exception = ProviderError(f"Redis at {self._where}: connection lost")
        connection: AbstractConnection | None = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            connection = await within(self._timeout, self._connect())
            await self._talk(connection)
        except Exception as caught:  # noqa: BLE001 - whatever a driver raises is the end of this connection
            error = caught
        finally:
            self._lost(self._fault or translated(error, self._where), since=began if connection else loop.time())
            if connection is not None:
                await self._hang_up(connection)

    async def _connect(self) -> AbstractConnection:
        return await self._dial()

    async def _talk(self, connection: AbstractConnection) -> None:
        sending = asyncio.ensure_future(self._send(connection))
        try:
            while True:
                try:
                    reply = await connection.read_response(disable_decoding=True)
                except ResponseError as refusal:
                    self._sent.popleft().failed(refusal)
                    if is_read_only(refusal):
                        raise
                else:
                    self._pause = FIRST_PAUSE
                    self._sent.popleft().answered(reply)
        finally:
            sending.cancel()

    async def _send(self, connection: AbstractConnection) -> None:
        """Send what has come together. When that fails the connection is closed, which those who read notice."""
        with suppress(Exception):
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch = [asked.command for asked in self._waiting]
                self._sent.extend(self._waiting)
                self._waiting.clear()
                await connection.send_packed_command(b"".join(batch), check_health=False)

    def _lost(self, error: ExtauthzError, *, since: float) -> None:
        """There is no connection any more: everybody is told, and who asks after the pause, from `since`, connects again."""
        self._running = None
        self._fault = error
        self._not_before = since + self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for asked in self._sent:
            asked.failed(again(error))
        for asked in self._waiting:
            asked.failed(unsent(error))
        self._sent.clear()
        self._waiting.clear()

    async def _hang_up(self, connection: AbstractConnection) -> None:
        with suppress(Exception):
            await within(self._timeout, connection.disconnect())

    def _look(self) -> None:
        """End a connection on which the oldest command has waited too long."""
        self._watch = None
        oldest = self._sent[0] if self._sent else self._waiting[0] if self._waiting else None
        if oldest is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < oldest.due:
            self._watch = loop.call_at(oldest.due, self._look)
        elif self._running is not None:
            self._fault = ProviderTimeout(f"Redis at {self._where}: no answer in time")
            self._running.cancel()
