"""A pooler as PgBouncer is in transaction mode: many clients, two sessions of the server, and each transaction on either.

A client logs in by itself, and its session is then one of those that all clients share. It gets one with the first message of a
transaction, which it gives back when the server says that it is idle; the next transaction gets the one that is longest free.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

Session = tuple[asyncio.StreamReader, asyncio.StreamWriter]

SESSIONS: Final = 2
_TLS_REQUEST: Final = (80877103).to_bytes(4)
_READY: Final = b"Z"
_IDLE: Final = b"I"
_END: Final = ord("X")


@asynccontextmanager
async def pooler_to(url: str) -> AsyncIterator[str]:
    """The URL of a pooler before the server of `url`."""
    login, _, rest = url.rpartition("@")
    place, _, database = rest.partition("/")
    host, _, port = place.partition(":")
    pooler = _Pooler(host, int(port))
    server = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
    try:
        yield f"{login}@127.0.0.1:{server.sockets[0].getsockname()[1]}/{database}?statement_cache_size=0"
    finally:
        server.close()
        await pooler.close()


class _Pooler:
    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._free: deque[Session] = deque()
        self._made: list[Session] = []
        self._change = asyncio.Condition()
        self._clients: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        # In Python 3.11 a server logs it as an error when one of its tasks ends as cancelled.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._log_in(reader, writer)
            await self._transactions(reader, writer)
        writer.close()
        self._clients.discard(task)

    async def close(self) -> None:
        for task in tuple(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for _, writer in self._made:
            writer.close()

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """On a session of its own, which becomes one of those for all while there are too few."""
        start = await _start(reader)
        if start[4:] == _TLS_REQUEST:
            writer.write(b"N")
            start = await _start(reader)
        session = await asyncio.open_connection(self._host, self._port)
        session[1].write(start)
        if await _served(session, reader, writer) and len(self._made) < SESSIONS:
            self._made.append(session)
            await self._give_back(session)
        else:
            session[1].close()

    async def _transactions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (message := await _message(reader))[0] != _END:
            async with self._change:
                await self._change.wait_for(lambda: self._free)
                session = self._free.popleft()
            session[1].write(message)
            if await _served(session, reader, writer):
                await self._give_back(session)
            else:
                self._made.remove(session)

    async def _give_back(self, session: Session) -> None:
        async with self._change:
            self._free.append(session)
            self._change.notify()


async def _served(session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the session served its client to the end of a transaction; one whose client has left is ended."""
    said = asyncio.create_task(_pass_on(reader, session[1]))
    answered = asyncio.create_task(_until_idle(session[0], writer))
    try:
        await asyncio.wait({said, answered}, return_when=asyncio.FIRST_COMPLETED)
        good = answered.done() and answered.exception() is None
    finally:
        for each in (said, answered):
            each.cancel()
        await asyncio.gather(said, answered, return_exceptions=True)
    if not good:
        session[1].close()
    return good


async def _start(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size) - 4)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (message := await _message(reader))[0] != _END:
        writer.write(message)


async def _until_idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what the server says, until it is ready for another transaction."""
    while True:
        message = await _message(reader)
        writer.write(message)
        if message[:1] == _READY and message[5:] == _IDLE:
            return
