"""PostgreSQL against the contracts that every store has to pass (BILLING-005, OBSERVE-005), on a real server."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from extauthz.ports import EventStore
from extauthz.providers.postgres import PostgresStore
from extauthz.providers.postgres_events import PostgresEvents
from extauthz.testing.contracts_blocked import BlockedListContract, ListingStore
from extauthz.testing.contracts_changes import ONE, TWO, SharedStore, SharedStoreContract
from extauthz.testing.contracts_events import EventStoreContract
from extauthz.testing.contracts_stores import StoreContract
from tests.postgres import shared


@asynccontextmanager
async def opened(url: str, replica: str = "") -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, replica=replica)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


class TestBilling005PostgresStore(StoreContract, BlockedListContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[PostgresStore]:
        with shared().database() as self.url:
            async with opened(self.url) as store:
                yield store

    def listing(self) -> AbstractAsyncContextManager[PostgresStore]:
        return self.opened()

    async def spoil(self, store: ListingStore, tenant_id: str, state: str) -> None:  # noqa: ARG002 - the contract's
        shared().sql(f"UPDATE extauthz.tenants SET state = '{state}' WHERE tenant_id = '{tenant_id}'", self.url)


class TestOffboard006TwoStoresOnPostgres(SharedStoreContract):
    @asynccontextmanager
    async def opened_twice(self) -> AsyncIterator[tuple[SharedStore, SharedStore]]:
        with shared().database() as url:
            async with AsyncExitStack() as both:
                yield (
                    await both.enter_async_context(opened(url, ONE)),
                    await both.enter_async_context(opened(url, TWO)),
                )


class TestObserve005PostgresEvents(EventStoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[EventStore]:
        with shared().database() as url:
            store = PostgresEvents(url)
            await store.start()
            try:
                yield store
            finally:
                await store.close()
