"""What every billing store must do (BILLING rules). Subclass `BillingStoreContract` in a test module and say how to open one.

class TestMine(BillingStoreContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[BillingStore]:
        ...
"""

import asyncio
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from itertools import product
from typing import Final

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.event import EventType
from extauthz.ports import BillingStore
from extauthz.testing.contracts_audit import AuditTrailContract
from extauthz.testing.contracts_values import ACME, HOSTILE_IDS, a_change, moves_in

STATE: Final = EventType.BILLING_STATE_CHANGED.value
PLAN: Final = EventType.BILLING_PLAN_ASSIGNED.value


class BillingStoreContract(AuditTrailContract):
    """The contract of `ports.BillingStore`."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[BillingStore]:
        """An empty store, ready for use, closed at the end."""

    async def test_a_tenant_without_standing_is_an_answer(self) -> None:
        """None, not an error."""
        async with self.opened() as store:
            await store.set_billing(ACME, a_change(), state=BillingState.SUSPENDED)
            for tenant_id in HOSTILE_IDS:
                assert await store.find_billing(tenant_id) is None, tenant_id

    async def test_the_first_change_starts_from_trial_on_the_default_plan(self) -> None:
        """Before is None."""
        async with self.opened() as store:
            before, after = await store.set_billing(ACME, a_change(), plan_id="pro")
            assert before is None
            assert after == BillingRecord(state=BillingState.TRIAL, plan_id="pro")
            assert await store.find_billing(ACME) == after

    async def test_billing_005_every_state_follows_every_other(self) -> None:
        """Billing has no forbidden moves."""
        async with self.opened() as store:
            for now, to in product(BillingState, BillingState):
                await store.set_billing(ACME, a_change(), state=now)
                before, after = await store.set_billing(ACME, a_change(), state=to)
                assert before == BillingRecord(state=now)
                assert after == await store.find_billing(ACME) == BillingRecord(state=to)

    async def test_what_is_not_given_stays_as_it_was(self) -> None:
        """State and plan are set apart."""
        async with self.opened() as store:
            await store.set_billing(ACME, a_change(), state=BillingState.ACTIVE, plan_id="pro")
            await store.set_billing(ACME, a_change(), state=BillingState.PAST_DUE)
            assert await store.find_billing(ACME) == BillingRecord(state=BillingState.PAST_DUE, plan_id="pro")
            await store.set_billing(ACME, a_change(), plan_id="enterprise")
            assert await store.find_billing(ACME) == BillingRecord(state=BillingState.PAST_DUE, plan_id="enterprise")

    async def test_billing_004_every_change_has_a_record_of_who_why_from_to_and_when(self) -> None:
        """One for the state, one for the plan."""
        first, second = a_change("signed up", later=1), a_change("unpaid", later=2, request_id="r")
        async with self.opened() as store:
            await store.set_billing(ACME, first, state=BillingState.ACTIVE, plan_id="pro")
            await store.set_billing(ACME, second, state=BillingState.SUSPENDED)
            history = await store.history(ACME)
            assert moves_in(history, STATE) == [("", "ACTIVE"), ("ACTIVE", "SUSPENDED")]
            assert moves_in(history, PLAN) == [("", "pro")]
            assert [record.change for record in history] == [first, first, second]

    async def test_billing_004_what_changes_nothing_leaves_no_record(self) -> None:
        """The same standing again."""
        async with self.opened() as store:
            await store.set_billing(ACME, a_change(), state=BillingState.ACTIVE, plan_id="pro")
            before = await store.history(ACME)
            assert before
            await store.set_billing(ACME, a_change(), state=BillingState.ACTIVE, plan_id="pro")
            await store.set_billing(ACME, a_change())
            assert await store.history(ACME) == before

    async def test_changes_of_one_tenant_at_once_lose_nothing(self) -> None:
        """State and plan set by two callers both hold."""
        async with self.opened() as store:
            await store.set_billing(ACME, a_change(), state=BillingState.TRIAL)
            await asyncio.gather(
                store.set_billing(ACME, a_change(), state=BillingState.ACTIVE),
                store.set_billing(ACME, a_change(), plan_id="pro"),
            )
            assert await store.find_billing(ACME) == BillingRecord(state=BillingState.ACTIVE, plan_id="pro")

    async def test_the_standings_of_many_tenants_are_found_at_once(self) -> None:
        """Those that have none are not in it, whatever their ids; asked for twice it is there once."""
        expected = {
            f"t{number}": BillingRecord(state=state, plan_id=f"plan-{number}" if number % 2 else None)
            for number, state in enumerate([*BillingState] * 3)
        }
        async with self.opened() as store:
            for tenant_id, record in expected.items():
                await store.set_billing(tenant_id, a_change(), state=record.state, plan_id=record.plan_id)
            await store.set_billing(ACME, a_change(), state=BillingState.ACTIVE)
            asked = [*expected, *HOSTILE_IDS, *(f"nobody-{number}" for number in range(1000)), "t1"]
            assert dict(await store.find_standings(asked)) == expected
            assert not await store.find_standings([])
            assert not await store.find_standings(HOSTILE_IDS)
