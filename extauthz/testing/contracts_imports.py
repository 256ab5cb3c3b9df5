"""What every lifecycle store must do with an import of tenants: all or none, and the same again is no change."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from extauthz.errors import ImportConflict
from extauthz.model.event import EventType
from extauthz.model.lifecycle import LifecycleState, Onboarding, Tenant
from extauthz.ports import LifecycleStore
from extauthz.testing.contracts_values import ACME, a_change, a_tenant, moves_in, refused

MANY: Final = 500
"""Tenants of one batch; a store that counts its parameters notices."""


def a_tenant_in(
    state: LifecycleState, tenant_id: str = ACME, onboarding: Onboarding = Onboarding.COMPLETE, name: str = ""
) -> Tenant:
    """A tenant that comes in `state`."""
    tenant = a_tenant(tenant_id, onboarding)
    return replace(tenant, name=name or tenant.name, record=replace(tenant.record, state=state))


class ImportContract(ABC):
    """`LifecycleStore.import_tenants` where standing lives elsewhere."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[LifecycleStore]:
        """An empty store, ready for use, closed at the end."""

    async def test_tenants_are_imported_in_whatever_state_they_come(self) -> None:
        """With every field; the ids of those added are told in the order given."""
        given = [
            a_tenant_in(state, f"{state.value}-{onboarding.value}", onboarding, name='Zürich "✓" \'); --')
            for state in reversed(LifecycleState)
            for onboarding in Onboarding
        ]
        async with self.opened() as store:
            added = await store.import_tenants(given, a_change("moved in"))
            assert list(added) == [tenant.tenant_id for tenant in given]
            for tenant in given:
                assert await store.get_tenant(tenant.tenant_id) == tenant
                assert await store.find_lifecycle(tenant.tenant_id) == tenant.record

    async def test_offboard_010_every_imported_tenant_has_a_record(self) -> None:
        """Of who, why and when, with the state in which it came."""
        change = a_change("moved in", later=3, request_id="req-1")
        given = [a_tenant_in(state, state.value) for state in LifecycleState]
        async with self.opened() as store:
            await store.import_tenants(given, change)
            for state in LifecycleState:
                history = await store.history(state.value)
                assert moves_in(history, EventType.TENANT_LIFECYCLE_TRANSITION) == [("", state.value)]
                assert [record.change for record in history] == [change]

    async def test_the_same_import_again_adds_nothing(self) -> None:
        """So one that was cut off is begun again; only what is new is added. When a tenant was created does not matter."""
        given = [a_tenant_in(LifecycleState.SUSPENDED, tenant_id) for tenant_id in ("a", "b", "c")]
        async with self.opened() as store:
            await store.import_tenants(given[:2], a_change("first"))
            before = await self._all_of(store, given[:2])
            later = [replace(tenant, created_at=tenant.created_at + 1) for tenant in given]
            assert list(await store.import_tenants(later, a_change("second"))) == ["c"]
            assert not await store.import_tenants(given, a_change("third"))
            assert await self._all_of(store, given[:2]) == before
            assert await store.get_tenant("c") == later[2]

    async def _all_of(self, store: LifecycleStore, tenants: Sequence[Tenant]) -> list[object]:
        return [(await store.get_tenant(each.tenant_id), await store.history(each.tenant_id)) for each in tenants]

    async def test_what_differs_is_a_conflict_that_names_all_and_nothing_is_written(self) -> None:
        """Name, state or onboarding; neither those before nor those after it."""
        there = [a_tenant(tenant_id) for tenant_id in ("b", "d", "f", "same")]
        given = [
            a_tenant("a"),
            a_tenant_in(LifecycleState.TERMINATED, "b"),
            a_tenant("c"),
            a_tenant("d", Onboarding.PENDING),
            a_tenant("same"),
            a_tenant_in(LifecycleState.ACTIVE, "f", name="another name"),
            a_tenant("g"),
        ]
        async with self.opened() as store:
            await store.import_tenants(there, a_change("there"))
            before = await self._all_of(store, there)
            conflict = await refused(ImportConflict, store.import_tenants(given, a_change("differs")))
            assert conflict.ids == ("b", "d", "f")
            assert await self._all_of(store, there) == before
            for tenant_id in ("a", "c", "g"):
                assert await store.get_tenant(tenant_id) is None
                assert not await store.history(tenant_id)

    async def test_a_tenant_twice_in_one_import_is_added_once_or_is_a_conflict(self) -> None:
        """As if it had come in two."""
        twice = [a_tenant("a"), a_tenant("b"), a_tenant("a")]
        differs = [a_tenant("c"), a_tenant_in(LifecycleState.SUSPENDED, "c")]
        async with self.opened() as store:
            assert list(await store.import_tenants(twice, a_change())) == ["a", "b"]
            assert len(await store.history("a")) == 1
            conflict = await refused(ImportConflict, store.import_tenants(differs, a_change()))
            assert conflict.ids == ("c",)
            assert await store.get_tenant("c") is None

    async def test_an_import_of_nothing_is_nothing(self) -> None:
        """An empty batch is fine."""
        async with self.opened() as store:
            assert not await store.import_tenants([], a_change())
            assert not await store.list_tenants()

    async def test_many_tenants_are_imported_at_once(self) -> None:
        """And passed over at once the second time."""
        given = [a_tenant(f"t{number:04}") for number in range(MANY)]
        async with self.opened() as store:
            assert list(await store.import_tenants(given, a_change())) == [tenant.tenant_id for tenant in given]
            assert list(await store.list_tenants(limit=MANY + 1)) == given
            assert not await store.import_tenants(given, a_change())

    async def test_only_one_of_two_imports_at_once_adds_a_tenant(self) -> None:
        """The other finds it there; a creation that is first makes no trouble either."""
        given = [a_tenant(f"t{number}") for number in range(10)]
        async with self.opened() as store:
            batches = [given, given[::-1], given[3:7], given[5:]]
            added = await asyncio.gather(*(store.import_tenants(batch, a_change()) for batch in batches))
            assert sorted(tenant_id for ids in added for tenant_id in ids) == [tenant.tenant_id for tenant in given]
            for tenant in given:
                assert len(await store.history(tenant.tenant_id)) == 1

    async def test_offboard_002_an_imported_end_is_an_end(self) -> None:
        """Importing it as ACTIVE does not bring it back."""
        async with self.opened() as store:
            await store.import_tenants([a_tenant_in(LifecycleState.TERMINATED)], a_change())
            await refused(ImportConflict, store.import_tenants([a_tenant()], a_change()))
            record = await store.find_lifecycle(ACME)
            assert record is not None
            assert record.state is LifecycleState.TERMINATED
