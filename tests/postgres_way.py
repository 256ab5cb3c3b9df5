"""A way to a PostgreSQL server that is long, loses what is said, or ends; and what tests of its stores share."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import Final

from extauthz.errors import ProviderError
from extauthz.providers.postgres import LookupPool, PoolPolicy, PostgresStore

PATIENCE: Final = 20.0
SHORT: Final = PoolPolicy(
    credentials=LookupPool(size=2, timeout=0.3),
    lifecycle=LookupPool(size=2, timeout=0.3),
    billing=LookupPool(size=2, timeout=0.3),
    admin_timeout=0.5,
    warm=0,
)
SOON: Final = 5.0
"""Far above any deadline here, far below what the driver needs by itself."""


@asynccontextmanager
async def opened(url: str, replica: str = "", pools: PoolPolicy | None = None) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, replica=replica, pools=pools)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 - the server is asked; nothing here could set an event
            await asyncio.sleep(0.02)


async def eventually(attempt: Callable[[], Awaitable[object]]) -> None:
    """Until the attempt succeeds."""

    async def succeeds() -> bool:
        try:
            await attempt()
        except ProviderError:
            return False
        return True

    await until(succeeds)


@dataclass
class Way:
    """A way to the server, by its URL. What clients say with `word` in it, and all after that, is lost until it is `well`."""

    url: str = ""
    word: bytes = b""
    well: asyncio.Event = field(default_factory=asyncio.Event)
    clients: list[asyncio.StreamWriter] = field(default_factory=list)
    trips: int = 0
    """How often clients have said something: at most the number of round trips."""

    def swallows(self, said: bytes) -> bool:
        return bool(self.word) and self.word in said and not self.well.is_set()

    def _open(self) -> list[asyncio.StreamWriter]:
        clients, self.clients = self.clients, []
        return [client for client in clients if not client.is_closing()]

    def reset(self) -> None:
        """End every connection in the roughest way."""
        for client in self._open():
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()

    def half_close(self) -> None:
        """Say on every connection that nothing more will come."""
        for client in self._open():
            client.write_eof()


@asynccontextmanager
async def way_to(
    url: str, word: bytes = b"", *, delay: float = 0, listening: socket.socket | None = None
) -> AsyncIterator[Way]:
    """A way that takes `delay` seconds in each direction; over a socket that listens already, or one of its own."""
    place = url.rpartition("@")[2].partition("/")[0]
    way = Way(word=word)
    links = _Links(way, place, delay)
    server = await asyncio.start_server(links.link, sock=listening or socket.create_server(("127.0.0.1", 0)))
    try:
        way.url = url.replace(place, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield way
    finally:
        server.close()
        await links.close()


class _Links:
    """The connections on a way, each of two."""

    def __init__(self, way: Way, place: str, delay: float) -> None:
        self._way = way
        self._host, _, self._port = place.partition(":")
        self._delay = delay
        self._tasks: set[asyncio.Task[None]] = set()

    async def link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._way.clients.append(writer)
        # In Python 3.11 a server logs it as an error when one of its tasks ends as cancelled.
        with suppress(ExceptionGroup, OSError, asyncio.CancelledError), closing(writer):
            there, back = await asyncio.open_connection(self._host, int(self._port))
            with closing(back):
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._up(reader, back))
                    pumps.create_task(self._down(there, writer))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self._way.trips += 1
            if self._way.swallows(data):
                await asyncio.Event().wait()
            self._later(writer, data)
        raise ConnectionError("the client has left")

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self._later(writer, data)
        raise ConnectionError("the server has left")

    def _later(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, writer.write, data)
        else:
            writer.write(data)
