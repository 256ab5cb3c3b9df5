"""BILLING-005: every store passes the same contract as every other."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from extauthz.providers.memory import MemoryStore
from extauthz.providers.sqlite import SqliteStore
from extauthz.testing.contracts_blocked import BlockedListContract, ListingStore
from extauthz.testing.contracts_changes import ONE, TWO, SharedStoreContract
from extauthz.testing.contracts_stores import StoreContract


class TestBilling005MemoryStore(StoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.start()
        try:
            yield store
        finally:
            await store.close()


class TestBilling005SqliteStore(StoreContract, SharedStoreContract, BlockedListContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[SqliteStore]:
        with TemporaryDirectory() as directory:
            store = SqliteStore(Path(directory) / "state.db")
            await store.start()
            try:
                yield store
            finally:
                await store.close()

    def listing(self) -> AbstractAsyncContextManager[SqliteStore]:
        return self.opened()

    async def spoil(self, store: ListingStore, tenant_id: str, state: str) -> None:
        assert isinstance(store, SqliteStore)
        with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
            connection.execute("UPDATE tenants SET state = ? WHERE tenant_id = ?", (state, tenant_id))

    @asynccontextmanager
    async def opened_twice(self) -> AsyncIterator[tuple[SqliteStore, SqliteStore]]:
        with TemporaryDirectory() as directory:
            one, two = (SqliteStore(Path(directory) / "state.db", replica=replica) for replica in (ONE, TWO))
            await one.start()
            await two.start()
            try:
                yield one, two
            finally:
                await two.close()
                await one.close()
