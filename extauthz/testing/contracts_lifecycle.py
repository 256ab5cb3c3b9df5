"""What every lifecycle store must do (OFFBOARD rules). Subclass `LifecycleStoreContract` in a test module and say how to open one.

    class TestMine(LifecycleStoreContract):
        @asynccontextmanager
        async def opened(self) -> AsyncIterator[LifecycleStore]:
            ...

The suite needs no fixtures; its coroutines run under pytest-asyncio (`asyncio_mode = auto`) or any runner of the kind.
"""

import asyncio
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from itertools import pairwise, product
from typing import Final

from extauthz.errors import AlreadyExists, InvalidTransition, NotFound
from extauthz.model.event import EventType
from extauthz.model.lifecycle import TRANSITIONS, LifecycleState, Onboarding
from extauthz.ports import LifecycleStore
from extauthz.testing.contracts_audit import AuditTrailContract
from extauthz.testing.contracts_imports import ImportContract
from extauthz.testing.contracts_terminations import TerminationPlanContract
from extauthz.testing.contracts_values import (
    ACME,
    HOSTILE_IDS,
    OPERATOR,
    a_change,
    a_tenant,
    moves_in,
    refused,
    tenant_in,
)

MOVE: Final = EventType.TENANT_LIFECYCLE_TRANSITION.value
ONBOARDED: Final = EventType.ONBOARDING_STATE_TRANSITION.value
ALL_PAIRS: Final = tuple(product(LifecycleState, LifecycleState))


class LifecycleStoreContract(ImportContract, TerminationPlanContract, AuditTrailContract):
    """The contract of `ports.LifecycleStore`."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[LifecycleStore]:
        """An empty store, ready for use, closed at the end."""

    async def test_a_tenant_that_was_never_created_is_an_answer(self) -> None:
        """None, not an error."""
        async with self.opened() as store:
            await store.create_tenant(a_tenant(), a_change())
            for tenant_id in HOSTILE_IDS:
                assert await store.find_lifecycle(tenant_id) is None, tenant_id
                assert await store.get_tenant(tenant_id) is None, tenant_id
                assert not await store.history(tenant_id), tenant_id

    async def test_a_tenant_is_found_as_it_was_created(self) -> None:
        """With every field."""
        async with self.opened() as store:
            for onboarding in Onboarding:
                tenant = a_tenant(f"t-{onboarding.value}", onboarding)
                await store.create_tenant(tenant, a_change())
                assert await store.get_tenant(tenant.tenant_id) == tenant
                assert await store.find_lifecycle(tenant.tenant_id) == tenant.record

    async def test_creating_a_tenant_again_is_refused_and_changes_nothing(self) -> None:
        """Neither the tenant nor its history."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.SUSPENDED)
            before = await store.get_tenant(ACME), await store.history(ACME)
            await refused(AlreadyExists, store.create_tenant(a_tenant(), a_change()))
            assert (await store.get_tenant(ACME), await store.history(ACME)) == before

    async def test_tenants_are_listed_by_id_in_pages(self) -> None:
        """Each once, in order, however they were created."""
        async with self.opened() as store:
            assert not await store.list_tenants()
            ids = ["b", "A", "a.1", "a", "a-1", "Z", "10", "9"]
            for tenant_id in ids:
                await store.create_tenant(a_tenant(tenant_id), a_change())
            seen: list[str] = []
            while page := await store.list_tenants(after=seen[-1] if seen else "", limit=3):
                assert len(page) <= 3  # noqa: PLR2004 - the limit two lines above
                seen.extend(tenant.tenant_id for tenant in page)
            assert seen == sorted(ids)

    # Moves

    async def test_offboard_001_every_pair_of_states_goes_by_the_table(self) -> None:
        """All sixteen: permitted, refused, or the same state again."""
        async with self.opened() as store:
            for number, (now, to) in enumerate(ALL_PAIRS):
                await self._walk(store, f"t{number}", now, to)

    async def _state(self, store: LifecycleStore, tenant_id: str) -> LifecycleState:
        record = await store.find_lifecycle(tenant_id)
        assert record is not None
        return record.state

    async def _walk(self, store: LifecycleStore, tenant_id: str, now: LifecycleState, to: LifecycleState) -> None:
        await tenant_in(store, now, tenant_id)
        before = await store.history(tenant_id)
        attempt = store.transition(tenant_id, to, a_change(), revoke_keys=False)
        if now is to or to in TRANSITIONS[now]:
            made = await attempt
            assert (made.tenant_id, made.from_state, made.to_state) == (tenant_id, now, to)
            left = to
        else:
            await refused(InvalidTransition, attempt)
            left = now
        assert await self._state(store, tenant_id) is left, (now, to)
        written = len(await store.history(tenant_id)) - len(before)
        assert written == (1 if left is not now else 0), (now, to)

    async def test_offboard_001_the_same_state_again_leaves_no_record(self) -> None:
        """It is answered with from = to."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.SUSPENDED)
            before = await store.history(ACME)
            made = await store.transition(ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=True)
            assert made.from_state is made.to_state is LifecycleState.SUSPENDED
            assert await store.history(ACME) == before

    async def test_offboard_002_terminated_never_goes_back(self) -> None:
        """Nor does archived."""
        async with self.opened() as store:
            for ended in (LifecycleState.TERMINATED, LifecycleState.ARCHIVED):
                await tenant_in(store, ended, ended.value)
                for to in (LifecycleState.ACTIVE, LifecycleState.SUSPENDED):
                    await refused(InvalidTransition, store.transition(ended.value, to, a_change(), revoke_keys=False))
                assert await self._state(store, ended.value) is ended

    async def test_offboard_003_archived_cannot_be_reached_from_active(self) -> None:
        """Only through TERMINATED."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.ACTIVE)
            archive = LifecycleState.ARCHIVED
            await refused(InvalidTransition, store.transition(ACME, archive, a_change(), revoke_keys=False))
            await store.transition(ACME, LifecycleState.TERMINATED, a_change(), revoke_keys=False)
            await store.transition(ACME, archive, a_change(), revoke_keys=False)
            assert await self._state(store, ACME) is archive

    async def test_a_tenant_that_is_not_there_cannot_be_changed(self) -> None:
        """And the attempt leaves nothing behind."""
        async with self.opened() as store:
            await refused(NotFound, store.transition(ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=True))
            await refused(NotFound, store.set_onboarding(ACME, Onboarding.COMPLETE, a_change()))
            assert await store.find_lifecycle(ACME) is None
            assert not await store.history(ACME)

    async def test_offboard_010_every_change_has_a_record_of_who_why_from_to_and_when(self) -> None:
        """Oldest first, the creation included, texts kept to the letter."""
        reasons = ["new", "fraud?\n'); DROP TABLE audit; --", 'paid "in full"', "Zürich ✓"]
        states = ["", "ACTIVE", "SUSPENDED", "ACTIVE", "TERMINATED"]
        changes = [a_change(why, later=n, request_id=f"req-{n}") for n, why in enumerate(reasons)]
        async with self.opened() as store:
            await store.create_tenant(a_tenant(), changes[0])
            for to, change in zip(states[2:], changes[1:], strict=True):
                await store.transition(ACME, LifecycleState(to), change, revoke_keys=False)
            history = await store.history(ACME)
            assert [record.change for record in history] == changes
            assert moves_in(history, MOVE) == list(pairwise(states))
            assert {record.tenant_id for record in history} == {ACME}
            assert history[0].change.actor == OPERATOR

    async def test_histories_of_tenants_are_apart(self) -> None:
        """One tenant's changes are not in another's history."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.SUSPENDED, "one")
            await tenant_in(store, LifecycleState.ACTIVE, "two")
            assert moves_in(await store.history("two"), MOVE) == [("", "ACTIVE")]

    # At once

    async def test_offboard_001_opposite_changes_at_once_are_judged_one_after_the_other(self) -> None:
        """The second against what the first left; both audited, as one unbroken chain."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.ACTIVE)
            wishes = [LifecycleState.SUSPENDED, LifecycleState.ACTIVE] * 8
            attempts = (store.transition(ACME, to, a_change(), revoke_keys=False) for to in wishes)
            made = await asyncio.gather(*attempts)
            moved = [(each.from_state.value, each.to_state.value) for each in made if each.from_state != each.to_state]
            audited = moves_in(await store.history(ACME), MOVE)
            assert sorted(audited[1:]) == sorted(moved)
            assert len(moved) > 1
            assert all(earlier[1] == later[0] for earlier, later in pairwise(audited))
            record = await store.find_lifecycle(ACME)
            assert record is not None
            assert record.state.value == audited[-1][1]

    async def test_offboard_002_holds_when_a_termination_and_a_return_meet(self) -> None:
        """Whichever is first, the tenant ends TERMINATED."""
        async with self.opened() as store:
            for number in range(8):
                tenant_id = f"t{number}"
                await tenant_in(store, LifecycleState.SUSPENDED, tenant_id)
                wishes = [LifecycleState.TERMINATED, LifecycleState.ACTIVE][:: 1 if number % 2 else -1]
                attempts = (store.transition(tenant_id, to, a_change(), revoke_keys=False) for to in wishes)
                results = await asyncio.gather(*attempts, return_exceptions=True)
                assert all(
                    isinstance(result, InvalidTransition) or not isinstance(result, Exception) for result in results
                )
                assert await self._state(store, tenant_id) is LifecycleState.TERMINATED

    async def test_only_one_of_many_creations_at_once_succeeds(self) -> None:
        """And leaves one record."""
        async with self.opened() as store:
            attempts = (store.create_tenant(a_tenant(), a_change()) for _ in range(8))
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert [type(result) for result in results].count(AlreadyExists) == len(results) - 1
            assert len(await store.history(ACME)) == 1

    # Onboarding

    async def test_onboarding_goes_from_pending_to_complete_once(self) -> None:
        """The same again changes nothing and leaves no record; the lifecycle state stays."""
        async with self.opened() as store:
            await store.create_tenant(a_tenant(onboarding=Onboarding.PENDING), a_change())
            await store.transition(ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=False)
            first = await store.set_onboarding(ACME, Onboarding.COMPLETE, a_change("done", later=1))
            again = await store.set_onboarding(ACME, Onboarding.COMPLETE, a_change("done", later=2))
            record = await store.find_lifecycle(ACME)
            assert record is not None
            assert (record.state, record.onboarding) == (LifecycleState.SUSPENDED, Onboarding.COMPLETE)
            assert first == (Onboarding.PENDING, Onboarding.COMPLETE)
            assert again == (Onboarding.COMPLETE, Onboarding.COMPLETE)
            assert moves_in(await store.history(ACME), ONBOARDED) == [("PENDING", "COMPLETE")]

    async def test_onboarding_never_goes_back(self) -> None:
        """PENDING after COMPLETE is refused; PENDING again is nothing."""
        async with self.opened() as store:
            await store.create_tenant(a_tenant(onboarding=Onboarding.PENDING), a_change())
            again = await store.set_onboarding(ACME, Onboarding.PENDING, a_change())
            await store.set_onboarding(ACME, Onboarding.COMPLETE, a_change())
            await refused(InvalidTransition, store.set_onboarding(ACME, Onboarding.PENDING, a_change()))
            record = await store.find_lifecycle(ACME)
            assert record is not None
            assert record.onboarding is Onboarding.COMPLETE
            assert again == (Onboarding.PENDING, Onboarding.PENDING)
            assert moves_in(await store.history(ACME), ONBOARDED) == [("PENDING", "COMPLETE")]

    async def test_a_move_keeps_the_rest_of_the_tenant(self) -> None:
        """Name, onboarding and time of creation."""
        async with self.opened() as store:
            tenant = a_tenant(onboarding=Onboarding.PENDING)
            await store.create_tenant(tenant, a_change())
            await store.transition(ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=False)
            moved = await store.get_tenant(ACME)
            assert moved is not None
            assert (moved.name, moved.created_at) == (tenant.name, tenant.created_at)
            assert moved.record.onboarding is Onboarding.PENDING
