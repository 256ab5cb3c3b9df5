"""Every contract once more, over gRPC: a real server over each backend, and the remote providers that ask it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from extauthz.ports import EventStore
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.remote import RemoteStore
from extauthz.providers.sqlite import SqliteStore
from extauthz.providers.sqlite_events import SqliteEvents
from extauthz.testing.contracts_changes import ONE, TWO, SharedStoreContract
from extauthz.testing.contracts_events import EventStoreContract
from extauthz.testing.contracts_protection import MicroTime, ProtectionContract, ProtectionHarness
from extauthz.testing.contracts_stores import StoreContract
from tests import remote_bench as bench

NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z in microseconds


@asynccontextmanager
async def sqlite(path: Path, replica: str = "") -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, replica=replica)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


class TestBilling005RemoteOverMemory(StoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RemoteStore]:
        async with bench.remote_store(bench.state(MemoryStore())) as store:
            yield store


class TestBilling005RemoteOverSqlite(StoreContract, SharedStoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RemoteStore]:
        with TemporaryDirectory() as directory:
            path = Path(directory) / "state.db"
            async with sqlite(path) as behind, bench.remote_store(bench.state(behind)) as store:
                yield store

    @asynccontextmanager
    async def opened_twice(self) -> AsyncIterator[tuple[RemoteStore, RemoteStore]]:
        with TemporaryDirectory() as directory:
            async with AsyncExitStack() as stack:
                behind = [
                    await stack.enter_async_context(sqlite(Path(directory) / "s.db", name)) for name in (ONE, TWO)
                ]
                one, two = [
                    await stack.enter_async_context(bench.remote_store(bench.shared_state(store))) for store in behind
                ]
                yield one, two


class TestAbuse005RemoteOverMemory(ProtectionContract):
    @pytest.fixture(autouse=True)
    async def _servers(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as self._running:
            yield

    async def start(self) -> ProtectionHarness:
        time = MicroTime(wall=NOON)
        behind = MemoryProtection(clock=time.clock, wall=time.wall_clock)
        return bench.Timed(await self._running.enter_async_context(bench.remote_protection(behind)), time)


class TestObserve005RemoteOverMemory(EventStoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[EventStore]:
        async with bench.remote_events(MemoryEvents()) as store:
            yield store


class TestObserve005RemoteOverSqlite(EventStoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[EventStore]:
        with TemporaryDirectory() as directory:
            behind = SqliteEvents(Path(directory) / "events.db")
            await behind.start()
            try:
                async with bench.remote_events(behind) as store:
                    yield store
            finally:
                await behind.close()
