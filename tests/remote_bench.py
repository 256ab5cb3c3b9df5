"""Backends reached over gRPC: a provider server on a port of its own, and remote providers that ask it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import grpc

from extauthz.ports import EventStore, ProtectionProvider, StateStore
from extauthz.providers.remote import RemoteEvents, RemoteProtection, RemoteStore, RemoteTimeouts
from extauthz.providers.serve import Backends, ProviderServer, ServePolicy
from extauthz.testing.contracts_changes import SharedStore
from extauthz.testing.contracts_protection import MicroTime

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Answer = Callable[[bytes, Context], Awaitable[bytes]]

LISTEN = "127.0.0.1:0"
AT_ONCE = ServePolicy(grace=0.0)

PATIENT = 30.0
PATIENT_TIMEOUTS = RemoteTimeouts(lifecycle=PATIENT, billing=PATIENT, credentials=PATIENT, changes=PATIENT)
"""Contracts are about answers, not about how fast a busy machine gives them."""


def url(server: ProviderServer) -> str:
    return f"grpc://{server.address}"


def state(store: StateStore) -> Backends:
    return Backends(lifecycle=store, billing=store, credentials=store, store=store)


def shared_state(store: SharedStore) -> Backends:
    return Backends(lifecycle=store, billing=store, credentials=store, store=store, changes=store, leases=store)


@asynccontextmanager
async def serving(backends: Backends) -> AsyncIterator[ProviderServer]:
    async with ProviderServer(LISTEN, backends, policy=AT_ONCE) as server:
        yield server


@asynccontextmanager
async def remote_store(backends: Backends, timeouts: RemoteTimeouts = PATIENT_TIMEOUTS) -> AsyncIterator[RemoteStore]:
    async with serving(backends) as server, asking(url(server), timeouts) as store:
        yield store


@asynccontextmanager
async def remote_protection(provider: ProtectionProvider) -> AsyncIterator[RemoteProtection]:
    async with serving(Backends(protection=provider)) as server:
        remote = RemoteProtection(url(server), timeout=PATIENT, changes=PATIENT)
        await remote.start()
        try:
            yield remote
        finally:
            await remote.close()


@asynccontextmanager
async def remote_events(store: EventStore) -> AsyncIterator[RemoteEvents]:
    async with serving(Backends(events=store)) as server:
        remote = RemoteEvents(url(server), emit_timeout=PATIENT, query_timeout=PATIENT)
        await remote.start()
        try:
            yield remote
        finally:
            await remote.close()


class Timed:
    """A `ProtectionHarness`: a provider, and the time that it goes by."""

    def __init__(self, provider: ProtectionProvider, time: MicroTime) -> None:
        self.provider = provider
        self._time = time

    async def advance(self, microseconds: int) -> None:
        self._time.advance(microseconds)


class Raw(grpc.GenericRpcHandler):
    """A server that answers every call with what `answer` makes of it, and remembers the calls."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.paths: list[str] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.time_left: list[float | None] = []
        self.peers: list[str] = []
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        path = handler_call_details.method

        async def handle(message: bytes, context: Context) -> bytes:
            self.paths.append(path)
            self.begun.set()
            self.metadata.append(dict(context.invocation_metadata() or ()))
            self.time_left.append(context.time_remaining())
            self.peers.append(context.peer())
            try:
                return await self._answer(message, context)
            finally:
                self.ended.set()

        return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def raw_server(answer: Answer, *options: tuple[str, int]) -> AsyncIterator[tuple[Raw, str]]:
    """Such a server, and its URL."""
    raw = Raw(answer)
    server = grpc.aio.server(handlers=[raw], options=[("grpc.so_reuseport", 0), *options])
    port = server.add_insecure_port(LISTEN)
    await server.start()
    try:
        yield raw, f"grpc://127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def asking(url: str, timeouts: RemoteTimeouts = PATIENT_TIMEOUTS) -> AsyncIterator[RemoteStore]:
    """A remote store there."""
    store = RemoteStore(url, timeouts=timeouts)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


_PROCESS = """
import asyncio, sys
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.serve import Backends, ProviderServer
from extauthz.providers.sqlite import SqliteStore

async def main(file, listen):
    store = SqliteStore(file)
    await store.start()
    backends = Backends(lifecycle=store, billing=store, credentials=store, store=store, protection=MemoryProtection())
    async with ProviderServer(listen, backends) as server:
        print(server.address, flush=True)
        await server.wait()

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def another_process(file: Path, port: int = 0) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A server over that SQLite file in a process of its own, which may be frozen and killed, and its port."""
    command = (sys.executable, "-c", _PROCESS, str(file), f"127.0.0.1:{port}")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        address = (await process.stdout.readline()).decode().strip()
        yield process, int(address.rpartition(":")[2])
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.stdout.read()
        await process.wait()
