"""Every contract over gRPC once more, with real databases behind the server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from extauthz.ports import EventStore
from extauthz.providers.postgres import PostgresStore
from extauthz.providers.postgres_events import PostgresEvents
from extauthz.providers.redis_protection import RedisProtection
from extauthz.providers.remote import RemoteStore
from extauthz.testing.contracts_changes import ONE, TWO, SharedStoreContract
from extauthz.testing.contracts_events import EventStoreContract
from extauthz.testing.contracts_protection import MicroTime, ProtectionContract, ProtectionHarness
from extauthz.testing.contracts_stores import StoreContract
from tests import remote_bench as bench
from tests.postgres import shared
from tests.redis_server import flushed, single

NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z in microseconds


@asynccontextmanager
async def postgres(url: str, replica: str = "") -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, replica=replica)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


class TestBilling005RemoteOverPostgres(StoreContract, SharedStoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RemoteStore]:
        with shared().database() as url:
            async with postgres(url) as behind, bench.remote_store(bench.state(behind)) as store:
                yield store

    @asynccontextmanager
    async def opened_twice(self) -> AsyncIterator[tuple[RemoteStore, RemoteStore]]:
        with shared().database() as url:
            async with AsyncExitStack() as stack:
                behind = [await stack.enter_async_context(postgres(url, name)) for name in (ONE, TWO)]
                one, two = [
                    await stack.enter_async_context(bench.remote_store(bench.shared_state(store))) for store in behind
                ]
                yield one, two


class TestObserve005RemoteOverPostgres(EventStoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[EventStore]:
        with shared().database() as url:
            behind = PostgresEvents(url)
            await behind.start()
            try:
                async with bench.remote_events(behind) as store:
                    yield store
            finally:
                await behind.close()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with single() as server:
        yield server.url


class TestAbuse005RemoteOverRedis(ProtectionContract):
    @pytest.fixture(autouse=True)
    async def _servers(self, redis_url: str) -> AsyncIterator[None]:
        self.url = redis_url
        async with AsyncExitStack() as self._running:
            yield

    async def start(self) -> ProtectionHarness:
        time = MicroTime(wall=NOON)
        behind = RedisProtection(flushed(self.url), timeout=5.0, now=lambda: time.wall)
        self._running.push_async_callback(behind.close)
        return bench.Timed(await self._running.enter_async_context(bench.remote_protection(behind)), time)
