"""What a store that keeps tenants, standing and keys together must do: changes that touch several of them are one transaction.

    class TestMine(StoreContract):
        @asynccontextmanager
        async def opened(self) -> AsyncIterator[Store]:
            ...

`StoreContract` includes the contracts of the three kinds.
"""

import asyncio
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from extauthz.errors import AlreadyExists, ImportConflict, NotFound, TenantNotActive
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.lifecycle import LifecycleState
from extauthz.ports import BillingStore, CredentialStore, LifecycleStore
from extauthz.testing.contracts_billing import PLAN, STATE, BillingStoreContract
from extauthz.testing.contracts_credentials import CredentialStoreContract
from extauthz.testing.contracts_imports import a_tenant_in
from extauthz.testing.contracts_lifecycle import MOVE, LifecycleStoreContract
from extauthz.testing.contracts_values import ACME, NOW, a_change, a_key, a_tenant, moves_in, refused, tenant_in

__all__ = [
    "BillingStoreContract",
    "CredentialStoreContract",
    "LifecycleStoreContract",
    "Store",
    "StoreContract",
]


class Store(LifecycleStore, BillingStore, CredentialStore, Protocol):
    """All three in one."""


class StoreContract(LifecycleStoreContract, BillingStoreContract, CredentialStoreContract):
    """The contracts of the three kinds, and what holds between them."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[Store]:
        """An empty store, ready for use, closed at the end."""

    async def test_offboard_005_termination_revokes_every_key(self) -> None:
        """With the time of the change; earlier revocations and other tenants stay as they were."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.ACTIVE)
            for key in (a_key("a"), a_key("b"), a_key("c"), a_key("foreign", "other")):
                await store.issue_key(key, a_change(), require_active=False)
            await store.revoke_key(ACME, "b", a_change(later=1))
            made = await store.transition(ACME, LifecycleState.TERMINATED, a_change(later=2), revoke_keys=True)
            times = {key.key_id: key.revoked_at for key in await store.list_keys(ACME)}
            assert times == {"a": NOW + 2, "b": NOW + 1, "c": NOW + 2}
            assert made.revoked_keys == 2  # noqa: PLR2004 - a and c
            assert await store.find_key("foreign") == a_key("foreign", "other")
            assert moves_in(await store.history(ACME), MOVE)[-1] == ("ACTIVE", "TERMINATED")

    async def test_offboard_005_other_moves_revoke_nothing(self) -> None:
        """Nor does a termination whose keys live elsewhere."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.ACTIVE)
            await store.issue_key(a_key(), a_change(), require_active=True)
            for to in (LifecycleState.SUSPENDED, LifecycleState.ACTIVE, LifecycleState.SUSPENDED):
                made = await store.transition(ACME, to, a_change(), revoke_keys=True)
                assert made.revoked_keys == 0
            made = await store.transition(ACME, LifecycleState.TERMINATED, a_change(), revoke_keys=False)
            assert made.revoked_keys == 0
            assert await store.find_key("key1") == a_key()

    async def test_offboard_007_no_new_key_unless_the_tenant_is_active(self) -> None:
        """Nor for a tenant that does not exist; what is refused leaves nothing behind."""
        async with self.opened() as store:
            for state in LifecycleState:
                await tenant_in(store, state, state.value)
                key = a_key(f"key-{state.value}", state.value)
                before = await store.history(state.value)
                attempt = store.issue_key(key, a_change(), require_active=True)
                if state is LifecycleState.ACTIVE:
                    await attempt
                    assert await store.find_key(key.key_id) == key
                else:
                    await refused(TenantNotActive, attempt)
                    assert await store.find_key(key.key_id) is None
                    assert await store.history(state.value) == before
            await refused(NotFound, store.issue_key(a_key(tenant_id="nobody"), a_change(), require_active=True))
            assert not await store.list_keys("nobody")

    async def test_offboard_007_no_live_key_is_left_when_issuing_meets_a_termination(self) -> None:
        """Whichever is first."""
        async with self.opened() as store:
            for number in range(8):
                tenant_id = f"t{number}"
                await tenant_in(store, LifecycleState.ACTIVE, tenant_id)
                issue = store.issue_key(a_key(f"k{number}", tenant_id), a_change(), require_active=True)
                end = store.transition(tenant_id, LifecycleState.TERMINATED, a_change(), revoke_keys=True)
                both = (issue, end) if number % 2 else (end, issue)
                results = await asyncio.gather(*both, return_exceptions=True)
                errors = [result for result in results if isinstance(result, BaseException)]
                assert all(isinstance(error, TenantNotActive) for error in errors)
                assert [key for key in await store.list_keys(tenant_id) if key.revoked_at is None] == []

    async def test_a_tenant_is_created_with_its_standing(self) -> None:
        """Both audited (OFFBOARD-010, BILLING-004)."""
        standing = BillingRecord(state=BillingState.ACTIVE, plan_id="pro")
        async with self.opened() as store:
            await store.create_tenant(a_tenant(), a_change("new customer"), standing)
            assert await store.find_billing(ACME) == standing
            history = await store.history(ACME)
            assert moves_in(history, MOVE) == [("", "ACTIVE")]
            assert moves_in(history, STATE) == [("", "ACTIVE")]
            assert moves_in(history, PLAN) == [("", "pro")]

    async def test_billing_004_creating_a_tenant_again_leaves_its_standing(self) -> None:
        """All or nothing."""
        standing = BillingRecord(state=BillingState.SUSPENDED, plan_id="pro")
        async with self.opened() as store:
            await store.create_tenant(a_tenant(), a_change(), standing)
            history = await store.history(ACME)
            trial = BillingRecord(state=BillingState.TRIAL)
            await refused(AlreadyExists, store.create_tenant(a_tenant(), a_change(), trial))
            assert await store.find_billing(ACME) == standing
            assert await store.history(ACME) == history

    async def test_tenants_are_imported_with_their_standing(self) -> None:
        """In one transaction, both audited (OFFBOARD-010, BILLING-004); a tenant may come without."""
        standing = BillingRecord(state=BillingState.SUSPENDED, plan_id="pro")
        given = [a_tenant_in(LifecycleState.SUSPENDED), a_tenant("plain")]
        async with self.opened() as store:
            assert list(await store.import_tenants(given, a_change(), {ACME: standing})) == [ACME, "plain"]
            assert await store.find_billing(ACME) == standing
            assert await store.find_billing("plain") is None
            history = await store.history(ACME)
            assert moves_in(history, MOVE) == [("", "SUSPENDED")]
            assert moves_in(history, STATE) == [("", "SUSPENDED")]
            assert moves_in(history, PLAN) == [("", "pro")]

    async def test_the_same_import_with_standing_again_adds_nothing(self) -> None:
        """A standing that is not given is not compared; one of a tenant that is not in the batch is not looked at."""
        standing = BillingRecord(state=BillingState.ACTIVE, plan_id="pro")
        async with self.opened() as store:
            await store.import_tenants([a_tenant()], a_change(), {ACME: standing})
            before = await store.history(ACME)
            assert not await store.import_tenants([a_tenant()], a_change(), {ACME: standing, "nobody": standing})
            assert not await store.import_tenants([a_tenant()], a_change(), {})
            assert not await store.import_tenants([a_tenant()], a_change())
            assert await store.history(ACME) == before
            assert await store.find_billing("nobody") is None

    async def test_an_import_with_another_standing_is_a_conflict(self) -> None:
        """State, plan, or none where one is given; nothing of the batch is written."""
        standing = BillingRecord(state=BillingState.ACTIVE, plan_id="pro")
        ids = ["state", "plan", "none", "same", "new"]
        given = dict.fromkeys(ids, standing)
        there = {**given, "state": BillingRecord(state=BillingState.TRIAL, plan_id="pro")}
        there["plan"] = BillingRecord(state=BillingState.ACTIVE)
        del there["none"]
        async with self.opened() as store:
            await store.import_tenants([a_tenant(tenant_id) for tenant_id in ids[:-1]], a_change(), there)
            again = store.import_tenants([a_tenant(tenant_id) for tenant_id in ids], a_change(), given)
            assert (await refused(ImportConflict, again)).ids == ("state", "plan", "none")
            assert await store.get_tenant("new") is None
            del there["new"]
            assert dict(await store.find_standings(ids)) == there

    async def test_billing_003_billing_changes_neither_tenant_nor_keys(self) -> None:
        """Roles and identity are none of billing's business, in any state."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.ACTIVE)
            await store.issue_key(a_key(scopes=frozenset({"read"})), a_change(), require_active=True)
            before = await store.get_tenant(ACME), await store.list_keys(ACME)
            for state in BillingState:
                await store.set_billing(ACME, a_change(), state=state, plan_id=state.value)
                assert (await store.get_tenant(ACME), await store.list_keys(ACME)) == before

    async def test_lifecycle_changes_leave_the_standing_alone(self) -> None:
        """Through a whole life."""
        standing = BillingRecord(state=BillingState.PAST_DUE, plan_id="pro")
        async with self.opened() as store:
            await store.create_tenant(a_tenant(), a_change(), standing)
            for to in (LifecycleState.SUSPENDED, LifecycleState.TERMINATED, LifecycleState.ARCHIVED):
                await store.transition(ACME, to, a_change(), revoke_keys=True)
                assert await store.find_billing(ACME) == standing
