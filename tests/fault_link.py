"""One connection through the fault proxy: two ways, each with a queue, and what a fault makes of what comes along."""

import asyncio
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 65536
CHUNKS_UNDER_WAY: Final = 256
"""As many as there may be on one way; then whoever sends has to wait, as with a full window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a connection. This one: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackHole(Fault):
    """Connections are made, and nothing gets through either way; when it is over, what was said arrives, as TCP sees to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Fault):
    """Everything takes so many seconds longer: requests `there`, replies `back`."""

    there: float = 0.0
    back: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip(Fault):
    """Replies come `size` bytes at a time, one such portion in `every` seconds."""

    size: int = 1
    every: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """Connections end with a RST: existing ones at once, new ones as soon as they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfClose(Fault):
    """The server's side says that nothing more will come, and listens on; what it hears is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate(Fault):
    """After so many bytes of replies the connection ends in the midst of them."""

    after: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage(Fault):
    """Random bytes come in the place of those of replies."""


class _Ended(Exception):
    """The fault has ended the connection."""


class Link:
    """The connection of a client, and the server's that belongs to it. Ends when both have, or one breaks."""

    def __init__(self, sock: socket.socket, fault: Fault) -> None:
        self._sock = sock
        self._client: asyncio.StreamWriter | None = None
        self._server: asyncio.StreamWriter | None = None
        self._fault = fault
        self._changed = asyncio.Event()
        self._replied = 0

    def set(self, fault: Fault) -> None:
        """From now on, also for what is under way already."""
        self._fault, self._replied = fault, 0
        self._changed.set()
        self._changed = asyncio.Event()
        if isinstance(fault, Reset):
            self.reset()
        elif isinstance(fault, HalfClose):
            self._say_the_end()

    async def run(self, host: str, port: int) -> None:
        """Until it has ended."""
        requests, self._client = await asyncio.open_connection(sock=self._sock)
        try:
            self.set(self._fault)
            await self._hold()
            if not isinstance(self._fault, Reset):
                # However either of the two breaks, it ends.
                with suppress(OSError, ExceptionGroup):
                    replies, self._server = await asyncio.open_connection(host, port)
                    async with asyncio.TaskGroup() as ways:
                        ways.create_task(self._way(requests, self._server, reply=False))
                        ways.create_task(self._way(replies, self._client, reply=True))
        finally:
            for writer in self._ends():
                writer.close()

    def reset(self) -> None:
        """End it in the roughest way, towards both."""
        for writer in self._ends():
            lingering: socket.socket = writer.get_extra_info("socket")
            lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def _ends(self) -> list[asyncio.StreamWriter]:
        return [each for each in (self._client, self._server) if each is not None and not each.is_closing()]

    def _say_the_end(self) -> None:
        if self._client is not None and not self._client.is_closing():
            self._client.write_eof()

    async def _hold(self) -> None:
        while isinstance(self._fault, BlackHole):
            await self._changed.wait()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reply: bool) -> None:
        """Reading is apart from writing, or a delay of one chunk would hold up the next one too."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_UNDER_WAY)
        async with asyncio.TaskGroup() as both:
            both.create_task(_read(reader, queue))
            both.create_task(self._deliver(queue, writer, reply=reply))

    async def _deliver(
        self, queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, *, reply: bool
    ) -> None:
        while True:
            arrived, data = await queue.get()
            await self._wait(arrived, reply=reply)
            await self._hold()
            if not data:
                break
            await (self._reply if reply else self._request)(writer, data)
        if not (reply and isinstance(self._fault, HalfClose)):
            writer.write_eof()

    async def _wait(self, arrived: float, *, reply: bool) -> None:
        if isinstance(self._fault, Delay):
            due = arrived + (self._fault.back if reply else self._fault.there)
            await asyncio.sleep(due - asyncio.get_running_loop().time())

    async def _request(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not isinstance(self._fault, HalfClose):
            writer.write(data)
            await writer.drain()

    async def _reply(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        match self._fault:
            case HalfClose():
                return
            case Drip() as drip:
                await self._drip(writer, data, drip)
                return
            case Truncate(after=after):
                left = after - self._replied
                self._replied += len(data)
                writer.write(data[: max(0, left)])
                if left <= len(data):
                    raise _Ended
            case Garbage():
                writer.write(os.urandom(len(data)))
            case _:
                writer.write(data)
        await writer.drain()

    async def _drip(self, writer: asyncio.StreamWriter, data: bytes, drip: Drip) -> None:
        """Whatever is left when the fault is over comes at once."""
        while data and self._fault is drip:
            if writer.is_closing():
                raise _Ended
            writer.write(data[: drip.size])
            data = data[drip.size :]
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), drip.every)
        if data:
            await self._hold()
            await self._reply(writer, data)


async def _read(reader: asyncio.StreamReader, queue: "asyncio.Queue[tuple[float, bytes]]") -> None:
    """The end is told as no bytes."""
    while True:
        data = await reader.read(CHUNK)
        await queue.put((asyncio.get_running_loop().time(), data))
        if not data:
            return
