"""Real servers behind providers, each behind a fault proxy, and all the ways in which they go wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.fault_proxy import (
    BlackHole,
    Delay,
    Drip,
    Fault,
    FaultProxy,
    FullBacklog,
    Garbage,
    HalfClose,
    Reset,
    Truncate,
)
from tests.ports import HOST, free_port
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, single

LATER: Final = 0.6
"""Seconds by which a slow server's replies are late: more than any provider's deadline."""


class Server(Protocol):
    """A server process that can be hurt."""

    @property
    def port(self) -> int: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def kill(self) -> None: ...

    def start(self) -> object:
        """Begin or begin again on the same port; it answers when this returns."""


_PROVIDERS: Final = """
import asyncio, sys
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.serve import Backends, ProviderServer
from extauthz.providers.sqlite import SqliteStore

async def main(file, listen):
    store = SqliteStore(file)
    await store.start()
    state = {"lifecycle": store, "billing": store, "credentials": store, "store": store}
    backends = Backends(**state, protection=MemoryProtection(), events=MemoryEvents())
    async with ProviderServer(listen, backends) as server:
        print(server.address, flush=True)
        await server.wait()

asyncio.run(main(*sys.argv[1:]))
"""


class RemoteProviders:
    """Every provider over gRPC, out of one process; states and plans outlive it in a file."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "remote.db"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"grpc://{HOST}:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-c", _PROVIDERS, str(self._file), f"{HOST}:{self.port}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "it ended before it served"

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A server and the way to it. `url` goes by way of the proxy."""

    server: Server
    proxy: FaultProxy
    url: str


@contextmanager
def place(kind: str, folder: Path) -> Iterator[Place]:
    """A server of that kind (`postgresql`, `redis`, `grpc`), with nothing in it."""
    with _SERVERS[kind](folder) as (server, url), FaultProxy(server.port) as proxy:
        yield Place(server=server, proxy=proxy, url=proxy.behind(url))


@contextmanager
def _postgresql(_folder: Path) -> Iterator[tuple[PostgresServer, str]]:
    with PostgresServer() as server:
        yield server, server.new_database()


@contextmanager
def _redis(_folder: Path) -> Iterator[tuple[RedisServer, str]]:
    with single() as server:
        yield server, server.url


@contextmanager
def _grpc(folder: Path) -> Iterator[tuple[RemoteProviders, str]]:
    server = RemoteProviders(folder)
    server.start()
    try:
        yield server, server.url
    finally:
        server.kill()


_SERVERS: Final[dict[str, Callable[[Path], AbstractContextManager[tuple[Server, str]]]]] = {
    "postgresql": _postgresql,
    "redis": _redis,
    "grpc": _grpc,
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to go wrong: what begins it and what ends it."""

    begin: Callable[[Place], object]
    end: Callable[[Place], object]


def _through(fault: Fault) -> Way:
    return Way(begin=lambda place: place.proxy.fail(fault), end=lambda place: place.proxy.heal())


def _fill(place: Place) -> None:
    """A full backlog is met by whoever has no connection any more."""
    place.proxy.fail(FullBacklog())
    place.proxy.fail(Reset(), new=False)


WAYS: Final = {
    "frozen": Way(begin=lambda place: place.server.freeze(), end=lambda place: place.server.thaw()),
    "killed": Way(begin=lambda place: place.server.kill(), end=lambda place: place.server.start()),
    "slow": _through(Delay(back=LATER)),
    "black-holed": _through(BlackHole()),
    "backlog-full": Way(begin=_fill, end=lambda place: place.proxy.heal()),
    "reset": _through(Reset()),
    "dripping": _through(Drip(size=1, every=0.05)),
    "garbled": _through(Garbage()),
    "half-closed": _through(HalfClose()),
    "cut-off": _through(Truncate(after=5)),
}
"""By name."""
