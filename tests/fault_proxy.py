"""A TCP proxy that goes wrong on demand, in a thread of its own so that what it does disturbs nobody's event loop.

    with FaultProxy(port=postgres.port) as proxy:
        url = proxy.behind(url)
        proxy.fail(BlackHole())
        ...
        proxy.heal()

Each call is in force when it returns.
"""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from tests.fault_link import BlackHole, Delay, Drip, Fault, Garbage, HalfClose, Link, Reset, Truncate
from tests.ports import HOST, free_port

__all__ = [
    "BlackHole",
    "Delay",
    "Drip",
    "Fault",
    "FaultProxy",
    "FullBacklog",
    "Garbage",
    "HalfClose",
    "Refuse",
    "Reset",
    "Truncate",
]

PATIENCE: Final = 10.0
BACKLOG: Final = 1024
HANGS: Final = 0.02
"""Seconds in which a connection to this machine is made where there is room for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Fault):
    """Nobody listens. Of new connections only: existing ones go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullBacklog(Fault):
    """Nobody accepts, and the queue of those who wait is full: connecting hangs. Existing connections go on."""


class FaultProxy:
    """A way to a server at `host`:`port`, on a port of its own that stays the same."""

    def __init__(self, port: int, *, host: str = HOST) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self.port = free_port()
        self._listening = _listening(self.port)
        self._fault = Fault()
        self._links: dict[asyncio.Task[None], Link] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._fillers: list[socket.socket] = []
        self._ours: set[int] = set()
        self.accepted = 0
        """How many connections were made so far."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._set(Fault(), existing=False, new=True))
        return self

    def __exit__(self, *_error: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def address(self) -> str:
        """host:port"""
        return f"{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._links)

    def behind(self, url: str) -> str:
        """The same URL, by way of this proxy."""
        return url.replace(f"{self._target[0]}:{self._target[1]}", self.address)

    def fail(self, fault: Fault, *, existing: bool = True, new: bool = True) -> None:
        """From now on this is wrong with connections that there are, those that will be made, or (as a rule) both."""
        self._do(self._set(fault, existing=existing, new=new))

    def heal(self) -> None:
        """Nothing is wrong any more. What has ended stays ended."""
        self.fail(Fault())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    # In the thread

    async def _set(self, fault: Fault, *, existing: bool, new: bool) -> None:
        if new:
            self._fault = fault
            await self._open_or_shut(fault)
        if existing and not isinstance(fault, Refuse | FullBacklog):
            for link in list(self._links.values()):
                link.set(fault)

    async def _open_or_shut(self, fault: Fault) -> None:
        await _called_off(self._accepting)
        self._accepting = None
        for filler in self._fillers:
            filler.close()
        self._fillers = []
        if isinstance(fault, Refuse):
            self._listening.close()
            return
        if self._listening.fileno() < 0:
            self._listening = _listening(self.port)
        self._listening.listen(0 if isinstance(fault, FullBacklog) else BACKLOG)
        if isinstance(fault, FullBacklog):
            await self._fill()
        else:
            self._accepting = asyncio.create_task(self._accept())

    async def _fill(self) -> None:
        """Connections of our own until one hangs: then everybody's does."""
        while True:
            filler = socket.socket()
            filler.setblocking(False)
            self._fillers.append(filler)
            try:
                await asyncio.wait_for(self._loop.sock_connect(filler, (HOST, self.port)), HANGS)
            except TimeoutError:
                return
            self._ours.add(filler.getsockname()[1])

    async def _accept(self) -> None:
        while True:
            sock, (_, port) = await self._loop.sock_accept(self._listening)
            if port in self._ours:
                self._ours.remove(port)
                sock.close()
                continue
            self.accepted += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(sock, self._fault)
            task = asyncio.create_task(link.run(*self._target))
            self._links[task] = link
            task.add_done_callback(self._links.pop)

    async def _close(self) -> None:
        await self._open_or_shut(Refuse())
        for task in list(self._links):
            await _called_off(task)


async def _called_off(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _listening(port: int) -> socket.socket:
    """Not blocking; SO_REUSEADDR, so that the port can be had again while connections linger."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    return sock
