"""What a store that several processes share must do. Subclass `SharedStoreContract` and say how to open one twice.

    class TestMine(SharedStoreContract):
        @asynccontextmanager
        async def opened_twice(self) -> AsyncIterator[tuple[SharedStore, SharedStore]]:
            ...

Two stores over one empty database stand for two replicas; they give their changes the origins `one` and `two`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from extauthz.errors import AlreadyExists, ImportConflict, InvalidTransition, NotFound, TenantNotActive
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.changed import ChangedKind, StoredChange
from extauthz.model.identity import KeyUse
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.ports import ChangeLog, ReplicaLeases
from extauthz.testing.contracts_audit import a_record
from extauthz.testing.contracts_imports import a_tenant_in
from extauthz.testing.contracts_leases import ONE, PATIENCE, TWO, ReplicaLeasesContract
from extauthz.testing.contracts_stores import Store
from extauthz.testing.contracts_values import ACME, NOW, a_change, a_key, a_tenant, refused, tenant_in

__all__ = ["ONE", "TWO", "ChangeLogContract", "ReplicaLeasesContract", "SharedStore", "SharedStoreContract", "told"]

Told = list[tuple[ChangedKind, str, str]]


class SharedStore(Store, ChangeLog, ReplicaLeases, Protocol):
    """A store that tells its changes and keeps the leases of its replicas."""


def told(changes: Sequence[StoredChange]) -> Told:
    """(kind, id, origin) of each."""
    return [(change.kind, change.id, change.origin) for change in changes]


async def news(store: ChangeLog, happens: Awaitable[object]) -> Told:
    """What `store` tells of something that happens."""
    seen = await store.last_change()
    await happens
    return told(await store.changes_after(seen))


class ChangeLogContract(ABC):
    """The contract of `ports.ChangeLog`, for a store of tenants, standing and keys."""

    @abstractmethod
    def opened_twice(self) -> AbstractAsyncContextManager[tuple[SharedStore, SharedStore]]:
        """Two stores with the origins `one` and `two` over one empty database, closed at the end."""

    async def test_a_new_store_has_no_changes(self) -> None:
        """Its last change is 0."""
        async with self.opened_twice() as (one, two):
            for store in (one, two):
                assert await store.last_change() == 0
                assert not await store.changes_after(0)

    async def test_a_new_tenant_is_one_change(self) -> None:
        """With its standing or without."""
        standing = BillingRecord(state=BillingState.ACTIVE, plan_id="pro")
        async with self.opened_twice() as (one, two):
            assert await news(two, one.create_tenant(a_tenant("a"), a_change())) == [(ChangedKind.CREATED, "a", ONE)]
            created = two.create_tenant(a_tenant("b"), a_change(), standing)
            assert await news(one, created) == [(ChangedKind.CREATED, "b", TWO)]

    async def test_an_import_is_one_change_for_each_tenant_that_was_added(self) -> None:
        """In their order; none for those that were there."""
        given = [a_tenant("a"), a_tenant_in(LifecycleState.SUSPENDED, "b"), a_tenant("c")]
        standings = {"c": BillingRecord(state=BillingState.PAST_DUE)}
        async with self.opened_twice() as (one, two):
            await one.create_tenant(a_tenant("a"), a_change())
            imported = one.import_tenants(given, a_change(), standings)
            expected = [(ChangedKind.CREATED, "b", ONE), (ChangedKind.CREATED, "c", ONE)]
            assert await news(two, imported) == expected
            assert await news(two, one.import_tenants(given, a_change(), standings)) == []

    async def test_a_move_and_the_end_of_onboarding_are_changes_of_the_lifecycle(self) -> None:
        """The same again is none."""
        async with self.opened_twice() as (one, two):
            await one.create_tenant(a_tenant(onboarding=Onboarding.PENDING), a_change())
            for again in (False, True):
                expected = [] if again else [(ChangedKind.LIFECYCLE, ACME, TWO)]
                assert await news(one, two.set_onboarding(ACME, Onboarding.COMPLETE, a_change())) == expected
            for again in (False, True):
                expected = [] if again else [(ChangedKind.LIFECYCLE, ACME, ONE)]
                moved = one.transition(ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=True)
                assert await news(two, moved) == expected

    async def test_a_change_of_standing_or_plan_is_one_of_billing(self) -> None:
        """The same again is none; both at once are one."""
        async with self.opened_twice() as (one, two):
            changed = [(ChangedKind.BILLING, ACME, ONE)]
            active, pro = BillingState.ACTIVE, "pro"
            assert await news(two, one.set_billing(ACME, a_change(), state=active, plan_id=pro)) == changed
            assert await news(two, one.set_billing(ACME, a_change(), state=active, plan_id=pro)) == []
            assert await news(two, one.set_billing(ACME, a_change(), plan_id="free")) == changed
            assert await news(two, one.set_billing(ACME, a_change())) == []

    async def test_a_key_that_is_issued_or_revoked_is_a_change(self) -> None:
        """Of the key, whose id is told; revoking it again is none."""
        async with self.opened_twice() as (one, two):
            await one.create_tenant(a_tenant(), a_change())
            for key_id in ("a", "b", "c"):
                issued = one.issue_key(a_key(key_id), a_change(), require_active=True)
                assert await news(two, issued) == [(ChangedKind.KEY, key_id, ONE)]
            assert await news(one, two.revoke_key(ACME, "b", a_change())) == [(ChangedKind.KEY, "b", TWO)]
            assert await news(one, two.revoke_key(ACME, "b", a_change())) == []
            revoked = await news(two, one.revoke_all(ACME, a_change()))
            assert sorted(revoked) == [(ChangedKind.KEY, "a", ONE), (ChangedKind.KEY, "c", ONE)]
            assert await news(two, one.revoke_all(ACME, a_change())) == []

    async def test_offboard_005_a_termination_is_a_change_of_the_tenant_and_of_each_key_it_revoked(self) -> None:
        """Keys that were revoked before are not told again."""
        async with self.opened_twice() as (one, two):
            await one.create_tenant(a_tenant(), a_change())
            for key_id in ("a", "b", "c"):
                await one.issue_key(a_key(key_id), a_change(), require_active=True)
            await one.revoke_key(ACME, "b", a_change())
            ended = one.transition(ACME, LifecycleState.TERMINATED, a_change(), revoke_keys=True)
            keys = [(ChangedKind.KEY, "a", ONE), (ChangedKind.KEY, "c", ONE)]
            assert sorted(await news(two, ended)) == [*keys, (ChangedKind.LIFECYCLE, ACME, ONE)]

    async def test_uses_notes_plans_and_leases_are_no_changes(self) -> None:
        """Nothing that is cached depends on them."""
        renewal = KeyUse(key_id="key1", used_at=NOW + 1, secret_hash=b"renewed", hash_pepper="pepper-2")
        async with self.opened_twice() as (one, two):
            await one.create_tenant(a_tenant(), a_change())
            await one.issue_key(a_key(), a_change(), require_active=True)
            seen = await two.last_change()
            await one.record_uses([renewal, KeyUse(key_id="key1", used_at=NOW + 2)])
            await one.note([a_record(ACME, "cleared")])
            await one.plan_termination(ACME, a_change())
            await one.renew_lease(ONE, seen, 60)
            await one.end_lease(ONE)
            assert await two.last_change() == seen
            assert not await two.changes_after(seen)

    async def test_what_is_refused_is_no_change(self) -> None:
        """Whatever was refused."""
        async with self.opened_twice() as (one, two):
            await tenant_in(one, LifecycleState.TERMINATED)
            await one.issue_key(a_key(), a_change(), require_active=False)
            seen = await two.last_change()
            await refused(AlreadyExists, one.create_tenant(a_tenant(), a_change()))
            await refused(ImportConflict, one.import_tenants([a_tenant("new"), a_tenant()], a_change()))
            back = one.transition(ACME, LifecycleState.ACTIVE, a_change(), revoke_keys=True)
            await refused(InvalidTransition, back)
            await refused(InvalidTransition, one.set_onboarding(ACME, Onboarding.PENDING, a_change()))
            await refused(TenantNotActive, one.issue_key(a_key("key2"), a_change(), require_active=True))
            await refused(AlreadyExists, one.issue_key(a_key(), a_change(), require_active=False))
            await refused(NotFound, one.revoke_key("other", "key1", a_change()))
            assert await two.last_change() == seen
            assert not await two.changes_after(seen)

    async def test_changes_come_in_their_order_whoever_made_them(self) -> None:
        """To both alike, and the last one is known by its number."""
        async with self.opened_twice() as (one, two):
            for number in range(3):
                await one.create_tenant(a_tenant(f"one-{number}"), a_change())
                await two.create_tenant(a_tenant(f"two-{number}"), a_change())
            seen = await one.changes_after(0)
            created = ChangedKind.CREATED
            rounds = [[(created, f"one-{number}", ONE), (created, f"two-{number}", TWO)] for number in range(3)]
            assert told(seen) == [each for pair in rounds for each in pair]
            assert list(await two.changes_after(0)) == list(seen)
            numbers = [change.seq for change in seen]
            assert numbers == sorted(set(numbers))
            assert await one.last_change() == await two.last_change() == numbers[-1] > 0

    async def test_changes_are_read_in_pages(self) -> None:
        """Each once."""
        async with self.opened_twice() as (one, two):
            await one.import_tenants([a_tenant(f"t{number}") for number in range(7)], a_change())
            pages: list[list[str]] = []
            seen = 0
            while page := await two.changes_after(seen, limit=3):
                pages.append([change.id for change in page])
                seen = page[-1].seq
            assert pages == [["t0", "t1", "t2"], ["t3", "t4", "t5"], ["t6"]]

    async def test_a_reader_misses_nothing_while_two_replicas_write(self) -> None:
        """A change that is visible is never overtaken by a lower one: who has read 7 will never find a 6."""
        async with self.opened_twice() as (one, two):
            await one.import_tenants([a_tenant(f"t{number}") for number in range(20)], a_change())
            seen: list[StoredChange] = []

            async def follow() -> None:
                while len(seen) < 60:  # noqa: PLR2004 - twenty created, twenty moved by each of two
                    seen.extend(await two.changes_after(seen[-1].seq if seen else 0, limit=5))
                    await asyncio.sleep(0)

            async def write(number: int) -> None:
                suspended, active = LifecycleState.SUSPENDED, BillingState.ACTIVE
                moved = one.transition(f"t{number}", suspended, a_change(), revoke_keys=True)
                await asyncio.gather(moved, two.set_billing(f"t{number}", a_change(), state=active))

            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(follow(), *(write(number) for number in range(20)))
            assert seen == list(await one.changes_after(0))

    async def test_waiting_ends_when_there_is_a_change(self) -> None:
        """Or when the time is up; what happened between looking and waiting ends it too."""
        async with self.opened_twice() as (one, two):
            await two.wait_for_change(0.01)
            seen = await two.last_change()
            for number in range(2):
                waiting = asyncio.ensure_future(self._followed(two, seen))
                await asyncio.sleep(0)
                await one.create_tenant(a_tenant(f"t{number}"), a_change())
                found = await waiting
                assert told(found) == [(ChangedKind.CREATED, f"t{number}", ONE)]
                seen = found[-1].seq

    async def _followed(self, store: ChangeLog, seen: int) -> Sequence[StoredChange]:
        async with asyncio.timeout(PATIENCE):
            while not (found := await store.changes_after(seen)):
                await store.wait_for_change(PATIENCE * 10)
        return found


class SharedStoreContract(ChangeLogContract, ReplicaLeasesContract):
    """The contract of a store that several replicas share."""

    @abstractmethod
    def opened_twice(self) -> AbstractAsyncContextManager[tuple[SharedStore, SharedStore]]:
        """Two stores with the origins `one` and `two` over one empty database, closed at the end."""
