"""What every lifecycle store must do with a planned termination: where keys live elsewhere, a half-done one is not lost."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from extauthz.errors import InvalidTransition, NotFound
from extauthz.model.lifecycle import LifecycleState
from extauthz.ports import LifecycleStore
from extauthz.testing.contracts_values import ACME, a_change, refused, tenant_in


class TerminationPlanContract(ABC):
    """`LifecycleStore.plan_termination` and `planned_terminations` (OFFBOARD-005)."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[LifecycleStore]:
        """An empty store, ready for use, closed at the end."""

    async def test_offboard_005_a_plan_is_kept_with_its_change(self) -> None:
        """Of ACTIVE and SUSPENDED tenants; it changes neither state nor history: nothing has happened yet."""
        change = a_change("Zürich '); --", later=0.25, request_id="req-1")
        async with self.opened() as store:
            assert not await store.planned_terminations()
            for state in (LifecycleState.ACTIVE, LifecycleState.SUSPENDED):
                await tenant_in(store, state, state.value)
                before = await store.get_tenant(state.value), await store.history(state.value)
                assert await store.plan_termination(state.value, change)
                assert (await store.get_tenant(state.value), await store.history(state.value)) == before
            assert sorted(await store.planned_terminations()) == [("ACTIVE", change), ("SUSPENDED", change)]

    async def test_offboard_005_the_move_ends_the_plan(self) -> None:
        """That tenant's, and no other's; a move to another state does not."""
        async with self.opened() as store:
            for tenant_id in ("one", "two"):
                await tenant_in(store, LifecycleState.ACTIVE, tenant_id)
                await store.plan_termination(tenant_id, a_change())
                await store.transition(tenant_id, LifecycleState.SUSPENDED, a_change(), revoke_keys=False)
            await store.transition("one", LifecycleState.TERMINATED, a_change(), revoke_keys=False)
            assert list(await store.planned_terminations()) == [("two", a_change())]
            await store.transition("two", LifecycleState.TERMINATED, a_change(), revoke_keys=False)
            assert not await store.planned_terminations()

    async def test_planned_again_it_is_one_plan(self) -> None:
        """With the later change."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.ACTIVE)
            await store.plan_termination(ACME, a_change("first"))
            assert await store.plan_termination(ACME, a_change("second", later=1))
            assert list(await store.planned_terminations()) == [(ACME, a_change("second", later=1))]

    async def test_nothing_is_planned_where_there_is_nothing_to_end(self) -> None:
        """TERMINATED already: False. ARCHIVED, or not there: refused, as the move would be."""
        async with self.opened() as store:
            await tenant_in(store, LifecycleState.TERMINATED, "ended")
            await tenant_in(store, LifecycleState.ARCHIVED, "archived")
            assert not await store.plan_termination("ended", a_change())
            await refused(InvalidTransition, store.plan_termination("archived", a_change()))
            await refused(NotFound, store.plan_termination("nobody", a_change()))
            assert not await store.planned_terminations()

    async def test_offboard_005_no_plan_is_left_when_planning_meets_the_move(self) -> None:
        """Whichever is first."""
        async with self.opened() as store:
            for number in range(8):
                tenant_id = f"t{number}"
                await tenant_in(store, LifecycleState.ACTIVE, tenant_id)
                plan = store.plan_termination(tenant_id, a_change())
                move = store.transition(tenant_id, LifecycleState.TERMINATED, a_change(), revoke_keys=False)
                await asyncio.gather(*((plan, move) if number % 2 else (move, plan)))
            assert not await store.planned_terminations()
