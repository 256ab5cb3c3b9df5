"""What every audit trail must do (OFFBOARD-010, BILLING-004): the part that the contracts of all stores include."""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from extauthz.model.event import EventType
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import AuditRecord
from extauthz.ports import AuditTrail
from extauthz.testing.contracts_values import ACME, HOSTILE_IDS, a_change


def a_record(tenant_id: str, reason: str, *, later: float = 0.0) -> AuditRecord:
    """Of something that is changed where there is no trail."""
    change = a_change(reason, later=later, request_id=f"req-{later:g}")
    what = EventType.RATE_LIMIT_RESET.value
    return AuditRecord(tenant_id=tenant_id, what=what, before="full", after="", change=change)


class AuditTrailContract(ABC):
    """The contract of `ports.AuditTrail`."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[AuditTrail]:
        """An empty store, ready for use, closed at the end."""

    async def test_offboard_010_what_is_noted_stands_in_the_history_as_it_was_given(self) -> None:
        """To the letter, for each tenant apart, the system's own too; a tenant need not exist here."""
        first = a_record(ACME, "Zürich ✓'); DROP TABLE audit; --\n\"")
        system, second = a_record(SYSTEM_TENANT, "bypass"), a_record(ACME, "again", later=0.25)
        async with self.opened() as store:
            await store.note([first, system])
            await store.note([second])
            assert list(await store.history(ACME)) == [first, second]
            assert list(await store.history(SYSTEM_TENANT)) == [system]
            for tenant_id in HOSTILE_IDS:
                assert not await store.history(tenant_id), tenant_id

    async def test_the_history_keeps_the_order_in_which_it_was_noted(self) -> None:
        """Also where a clock went back, and where two records are the same."""
        records = [a_record(ACME, "one", later=5), a_record(ACME, "two", later=1), a_record(ACME, "two", later=1)]
        async with self.opened() as store:
            await store.note(records)
            assert list(await store.history(ACME)) == records

    async def test_nothing_noted_is_no_record(self) -> None:
        """An empty batch is fine."""
        async with self.opened() as store:
            await store.note([a_record(ACME, "one")])
            await store.note([])
            assert list(await store.history(ACME)) == [a_record(ACME, "one")]
