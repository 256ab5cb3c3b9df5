"""Tenants: their creation, onboarding, lifecycle and history (spec section 2, OFFBOARD rules)."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from extauthz.changes.desk import Desk
from extauthz.changes.replicas import Replicas
from extauthz.errors import ChangeRefused, ExtauthzError, InvalidRecord
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.event import EventSource, EventType, Severity
from extauthz.model.lifecycle import (
    AuditRecord,
    Change,
    LifecycleRecord,
    LifecycleState,
    Onboarding,
    Tenant,
    Transition,
)
from extauthz.resilience.bounded import within

FINISH_SECONDS: Final = 10.0
"""For each step of finishing what was left half-done."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTenant:
    """What a tenant starts with. `plan_id` None means the default plan."""

    tenant_id: str
    name: str
    onboarding: Onboarding
    billing: BillingState
    plan_id: str | None


class TenantChanges:
    """Creates tenants and moves them along their tables.

    `replicas` is given where other replicas share the lifecycle store: a termination waits for them.
    """

    def __init__(self, desk: Desk, replicas: Replicas | None = None) -> None:
        self._desk = desk
        self._replicas = replicas

    async def create_tenant(self, new: NewTenant, change: Change) -> None:
        """Add a tenant with its standing.

        Raises:
            AlreadyExists: the id is taken.
            ProviderError: a store gave no answer.
        """
        await self._desk.finish(self._create_tenant(new, change))

    async def _create_tenant(self, new: NewTenant, change: Change) -> None:
        record = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=new.onboarding)
        tenant = Tenant(tenant_id=new.tenant_id, name=new.name, record=record, created_at=change.at)
        billing = BillingRecord(state=new.billing, plan_id=new.plan_id)
        same_store: object = self._desk.stores.lifecycle
        async with self._desk.changing(new.tenant_id):
            if same_store is self._desk.stores.billing:
                await self._desk.stores.lifecycle.create_tenant(tenant, change, billing)
                set_here = True
            else:
                await self._desk.stores.lifecycle.create_tenant(tenant, change)
                set_here = await self._desk.set_first_standing(new.tenant_id, billing, change)
            self._desk.caches.lifecycle.put(new.tenant_id, record)
            if set_here:
                self._desk.caches.billing.put(new.tenant_id, billing)
            else:
                self._desk.caches.billing.forget(new.tenant_id)
        payload = {"from": None, "to": record.state.value, "reason": change.reason}
        self._desk.emit(EventType.TENANT_LIFECYCLE_TRANSITION, EventSource.LIFECYCLE, new.tenant_id, change, payload)

    async def set_onboarding(self, tenant_id: str, to: Onboarding, change: Change) -> None:
        """`PENDING` to `COMPLETE`.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: back to PENDING.
        """
        await self._desk.finish(self._set_onboarding(tenant_id, to, change))

    async def _set_onboarding(self, tenant_id: str, to: Onboarding, change: Change) -> None:
        async with self._desk.changing(tenant_id):
            before, after = await self._desk.stores.lifecycle.set_onboarding(tenant_id, to, change)
            await self._show_lifecycle(tenant_id)
        if before is not after:
            payload = {"from": before.value, "to": after.value, "reason": change.reason}
            self._desk.emit(EventType.ONBOARDING_STATE_TRANSITION, EventSource.ONBOARDING, tenant_id, change, payload)

    async def transition(self, tenant_id: str, to: LifecycleState, change: Change) -> Transition:
        """Move a tenant along the table; the same state again is no change and no event (OFFBOARD-001).

        TERMINATED is reported once every live replica blocks the tenant; those that have not confirmed it in time are named
        (OFFBOARD-006). Asked again, it looks again.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move. It emits an event all the same (OFFBOARD-009).
            NotSupported: a store can't be changed from here; nothing was changed.
            ProviderError: a store gave no answer. A termination may be half-done; the next start finishes it.
        """
        made = await self._moved(tenant_id, to, change)
        if self._replicas is None or to is not LifecycleState.TERMINATED:
            return made
        return replace(made, pending_replicas=await self._replicas.unconfirmed())

    async def finish_terminations(self) -> None:
        """Finish the terminations that were begun and not ended, on whichever replica (OFFBOARD-005).

        Raises:
            ExtauthzError: a store gave no answer; what could be finished is.
        """
        failed: ExtauthzError | None = None
        for tenant_id, change in await within(FINISH_SECONDS, self._desk.stores.lifecycle.planned_terminations()):
            work = self._transition(tenant_id, LifecycleState.TERMINATED, change)
            try:
                await within(FINISH_SECONDS, self._desk.finish(work))
            except ChangeRefused as refused:
                _log.warning("termination_refused", tenant_id=tenant_id, error=str(refused))
            except ExtauthzError as error:
                failed = error
            else:
                _log.info("termination_finished", tenant_id=tenant_id)
        if failed is not None:
            raise failed

    async def _moved(self, tenant_id: str, to: LifecycleState, change: Change) -> Transition:
        try:
            return await self._desk.finish(self._transition(tenant_id, to, change))
        except ChangeRefused as refused:
            self._desk.observer.transition_failed(refused.code)
            self._emit_refused(tenant_id, to, change, refused)
            raise
        except ExtauthzError:
            self._desk.observer.transition_failed("provider_error")
            raise

    async def _transition(self, tenant_id: str, to: LifecycleState, change: Change) -> Transition:
        keys_here = self._desk.keys_live_with_tenants
        ends_keys_elsewhere = to is LifecycleState.TERMINATED and not keys_here
        async with self._desk.changing(tenant_id):
            revoked = await self._begin_termination(tenant_id, change) if ends_keys_elsewhere else 0
            made = await self._desk.stores.lifecycle.transition(tenant_id, to, change, revoke_keys=keys_here)
            self._deny_at_once(made)
            if ends_keys_elsewhere:
                # One that another replica was issuing meanwhile. From here on issuing notices by itself.
                revoked += len(await self._desk.stores.credentials.revoke_all(tenant_id, change))
                made = replace(made, revoked_keys=revoked)
            await self._show_lifecycle(tenant_id)
            if to is LifecycleState.TERMINATED:
                await self._forget_keys(tenant_id)
        if made.from_state is not made.to_state:
            self._told_transition(made, change)
        return made

    async def _begin_termination(self, tenant_id: str, change: Change) -> int:
        """Keys first where they live in another store: a half-done termination has no live key, and is finished later."""
        keys = self._desk.stores.credentials
        with suppress(InvalidRecord):  # a store of keys that can't be administered says so before anything is begun
            await keys.list_keys(tenant_id)
        await self._desk.stores.lifecycle.plan_termination(tenant_id, change)
        return len(await keys.revoke_all(tenant_id, change))

    def _deny_at_once(self, made: Transition) -> None:
        """A denial must hold from here on even if the store can't be read back. Onboarding hardly matters in these states."""
        if made.to_state is not LifecycleState.ACTIVE:
            record = LifecycleRecord(state=made.to_state, onboarding=Onboarding.COMPLETE)
            self._desk.caches.lifecycle.put(made.tenant_id, record)

    async def _show_lifecycle(self, tenant_id: str) -> None:
        """What the store has now becomes the fresh and the last-known state of this replica."""
        self._desk.caches.lifecycle.put(tenant_id, await self._desk.lifecycle_now(tenant_id))

    async def _forget_keys(self, tenant_id: str) -> None:
        credentials = self._desk.caches.credentials
        try:
            for key in await self._desk.stores.credentials.list_keys(tenant_id):
                credentials.forget(key.key_id)
        except InvalidRecord:  # which keys it has can't be told, but the tenant is terminated
            credentials.forget_all()
        self._desk.caches.forget_refusals()

    def _told_transition(self, made: Transition, change: Change) -> None:
        self._desk.observer.transitioned(made)
        payload = {
            "from": made.from_state.value,
            "to": made.to_state.value,
            "reason": change.reason,
            "revoked_keys": made.revoked_keys,
        }
        self._desk.emit(EventType.TENANT_LIFECYCLE_TRANSITION, EventSource.LIFECYCLE, made.tenant_id, change, payload)

    def _emit_refused(self, tenant_id: str, to: LifecycleState, change: Change, refused: ChangeRefused) -> None:
        payload = {"to": to.value, "reason": change.reason, "refused": refused.code, "detail": str(refused)}
        event_type = EventType.TENANT_LIFECYCLE_TRANSITION
        self._desk.emit(event_type, EventSource.LIFECYCLE, tenant_id, change, payload, Severity.WARN)

    async def history(self, tenant_id: str) -> list[AuditRecord]:
        """Every audit record of the tenant from every store, oldest first."""
        stores = self._desk.stores
        distinct = {id(store): store for store in (stores.lifecycle, stores.billing, stores.credentials)}
        records = [record for store in distinct.values() for record in await store.history(tenant_id)]
        return sorted(records, key=lambda record: record.change.at)
