"""Servers that no library would be: they say what they are told to, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import h2.config
import h2.connection
import h2.events

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[str]:
    """The URL of a server that talks like that, and hangs up afterwards."""
    talking: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_to_the_end(talk, reader, writer))
        talking.add(task)
        task.add_done_callback(talking.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.sleep(0)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        await server.wait_closed()


async def _to_the_end(talk: Talk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def answering(status: str) -> AsyncIterator[str]:
    """The URL of a gRPC server that ends every call with that `grpc-status`, whatever it is."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        writer.write(state.data_to_send())
        while data := await reader.read(65536):
            for event in state.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    _answer(state, event.stream_id, status)
            writer.write(state.data_to_send())
            await writer.drain()

    async with listening(talk) as url:
        yield url


def _answer(state: h2.connection.H2Connection, stream: int, status: str) -> None:
    headers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status)]
    state.send_headers(stream, headers, end_stream=True)
