"""Standing and plans (spec section 2, BILLING rules)."""

from extauthz.changes.desk import Desk
from extauthz.errors import NotFound
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.event import EventSource, EventType
from extauthz.model.lifecycle import Change


class BillingChanges:
    """Sets a tenant's standing and plan."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def set_billing(
        self, tenant_id: str, change: Change, *, state: BillingState | None = None, plan_id: str | None = None
    ) -> BillingRecord:
        """Set standing, plan or both (None: as it was); the record as it is now.

        Raises:
            NotFound: no such tenant.
        """
        return await self._desk.finish(self._set_billing(tenant_id, change, state, plan_id))

    async def _set_billing(
        self, tenant_id: str, change: Change, state: BillingState | None, plan_id: str | None
    ) -> BillingRecord:
        async with self._desk.changing(tenant_id):
            if await self._desk.lifecycle_now(tenant_id) is None:
                raise NotFound(f"there is no tenant {tenant_id!r}")
            before, after = await self._desk.stores.billing.set_billing(tenant_id, change, state=state, plan_id=plan_id)
            self._desk.caches.billing.put(tenant_id, after)
            self._desk.caches.plan_changed(tenant_id)
        old = before or BillingRecord(state=BillingState.TRIAL)
        if old.state is not after.state:
            payload = {"from": old.state.value, "to": after.state.value, "reason": change.reason}
            self._desk.emit(EventType.BILLING_STATE_CHANGED, EventSource.BILLING, tenant_id, change, payload)
        if old.plan_id != after.plan_id:
            moved = {"from": old.plan_id, "to": after.plan_id, "reason": change.reason}
            self._desk.emit(EventType.BILLING_PLAN_ASSIGNED, EventSource.BILLING, tenant_id, change, moved)
        return after
