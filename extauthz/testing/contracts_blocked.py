"""What a store must do that can list the tenants that are not ACTIVE, so that an outage with a restart lets none of them in.

class TestMine(BlockedListContract):
    @asynccontextmanager
    async def listing(self) -> AsyncIterator[ListingStore]:
        ...

    async def spoil(self, store: ListingStore, tenant_id: str, state: str) -> None:
        ...
"""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import BlockedList, LifecycleStore
from extauthz.testing.contracts_values import a_change, a_tenant, tenant_in

PAGE = 3


class ListingStore(LifecycleStore, BlockedList, Protocol):
    """A store of tenants that lists those that are not ACTIVE."""


class BlockedListContract(ABC):
    """The list is complete, in order, in pages, and of now."""

    @abstractmethod
    def listing(self) -> AbstractAsyncContextManager[ListingStore]:
        """An empty store, ready for use, closed at the end."""

    @abstractmethod
    async def spoil(self, store: ListingStore, tenant_id: str, state: str) -> None:
        """Behind the store's back, make the tenant's state this word, which is not one of ours."""

    async def test_nobody_is_listed_where_all_are_active(self) -> None:
        """Nor where there is nobody."""
        async with self.listing() as store:
            assert not await store.blocked_tenants()
            await store.create_tenant(a_tenant(), a_change())
            assert not await store.blocked_tenants()

    async def test_every_state_but_active_is_listed_with_its_record(self) -> None:
        """Onboarding too, for it says what such a tenant may still do."""
        async with self.listing() as store:
            for state in LifecycleState:
                await tenant_in(store, state, f"t-{state.value}")
            expected = [
                (f"t-{state.value}", await store.find_lifecycle(f"t-{state.value}"))
                for state in sorted(LifecycleState)
                if state is not LifecycleState.ACTIVE
            ]
            assert list(await store.blocked_tenants()) == expected
            await store.create_tenant(a_tenant("pending", Onboarding.PENDING), a_change())
            await store.transition("pending", LifecycleState.SUSPENDED, a_change(), revoke_keys=False)
            listed = dict(await store.blocked_tenants())
            assert listed["pending"] == LifecycleRecord(state=LifecycleState.SUSPENDED, onboarding=Onboarding.PENDING)

    async def test_it_is_listed_by_id_in_pages(self) -> None:
        """Each once, in order, however many that are ACTIVE lie between."""
        async with self.listing() as store:
            ids = ["b", "A", "a.1", "a", "a-1", "Z", "10", "9"]
            for tenant_id in ids:
                await tenant_in(store, LifecycleState.SUSPENDED, tenant_id)
                await store.create_tenant(a_tenant(f"{tenant_id}-active"), a_change())
            seen: list[str] = []
            while page := await store.blocked_tenants(after=seen[-1] if seen else "", limit=PAGE):
                assert len(page) <= PAGE
                seen.extend(tenant_id for tenant_id, _ in page)
            assert seen == sorted(ids)

    async def test_who_is_active_again_is_not_listed(self) -> None:
        """The list is of now."""
        async with self.listing() as store:
            await tenant_in(store, LifecycleState.SUSPENDED, "a")
            await store.transition("a", LifecycleState.ACTIVE, a_change(), revoke_keys=False)
            assert not await store.blocked_tenants()

    async def test_whose_record_cannot_be_read_is_listed_without_one(self) -> None:
        """Who is left out is ACTIVE, and of these that is not known."""
        async with self.listing() as store:
            await tenant_in(store, LifecycleState.ACTIVE, "active")
            for tenant_id, state in [("a", "ERASED"), ("b", "active"), ("c", "")]:
                await tenant_in(store, LifecycleState.TERMINATED, tenant_id)
                await self.spoil(store, tenant_id, state)
            await tenant_in(store, LifecycleState.SUSPENDED, "d")
            assert [(tenant_id, record is None) for tenant_id, record in await store.blocked_tenants()] == [
                ("a", True),
                ("b", True),
                ("c", True),
                ("d", False),
            ]
