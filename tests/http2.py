"""A gRPC client that does nothing by itself: what it sends is said frame by frame, for what a real client never sends."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.connection
import h2.events

_PATIENCE = 10.0


def framed(message: bytes, *, announced: int | None = None) -> bytes:
    """A message as gRPC frames it; `announced` is the length it claims to have, None: its own."""
    return struct.pack(">BI", 0, len(message) if announced is None else announced) + message


@dataclass
class Reply:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    ended: bool = False
    reset: bool = False

    @property
    def grpc_status(self) -> int | None:
        """The status, None where there was none."""
        text = self.headers.get("grpc-status")
        return None if text is None else int(text)


class Http2:
    """One HTTP/2 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h2.connection.H2Connection()
        self.replies: dict[int, Reply] = {}
        self.goaways = 0
        self.pongs = 0

    async def start(self) -> None:
        """Say hello and read the server's settings."""
        self._state.initiate_connection()
        await self._flush()
        while self._state.remote_settings.max_concurrent_streams > 2**30:
            await self._read()

    @property
    def max_concurrent_streams(self) -> int:
        """What the server permits."""
        return self._state.remote_settings.max_concurrent_streams

    async def send(self, path: str, body: bytes, extra: Sequence[tuple[str, str]] = (), *, end: bool = True) -> int:
        """Open a stream with a body; its number."""
        stream = self._state.get_next_available_stream_id()
        self.replies[stream] = Reply()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *extra,
        ]
        self._state.send_headers(stream, headers)
        self._state.send_data(stream, body, end_stream=end)
        await self._flush()
        return stream

    async def reply(self, stream: int) -> Reply:
        """Wait for the end of a stream."""
        reply = self.replies[stream]
        while not (reply.ended or reply.reset):
            await self._read()
        return reply

    async def call(self, path: str, body: bytes, extra: Sequence[tuple[str, str]] = ()) -> Reply:
        """Open a stream and wait for its end."""
        return await self.reply(await self.send(path, body, extra))

    async def reset(self, stream: int) -> None:
        """Give a stream up."""
        self._state.reset_stream(stream)
        await self._flush()

    async def ping(self) -> None:
        """Ping, and wait for the answer."""
        wanted = self.pongs + 1
        self._state.ping(b"12345678")
        await self._flush()
        while self.pongs < wanted:
            await self._read()

    async def _read(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            data = await self._reader.read(65536)
        assert data, "the server closed the connection"
        for event in self._state.receive_data(data):
            self._take(event)
        await self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                for name, value in event.headers:
                    self.replies[event.stream_id].headers[_text(name)] = _text(value)
            case h2.events.DataReceived():
                self.replies[event.stream_id].data += event.data
                self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.replies[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.replies[event.stream_id].reset = True
            case h2.events.ConnectionTerminated():
                self.goaways += 1
            case h2.events.PingAckReceived():
                self.pongs += 1
            case _:
                pass

    async def _flush(self) -> None:
        self._writer.write(self._state.data_to_send())
        await self._writer.drain()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Http2]:
    """A connection to `host:port`, cut at the end without a goodbye."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        connection = Http2(reader, writer)
        await connection.start()
        yield connection
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
