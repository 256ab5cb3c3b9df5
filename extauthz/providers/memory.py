"""Tenants, standing and keys in this process's memory: for trying out, and for tests. Gone when the process ends."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from extauthz.errors import AlreadyExists
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.identity import ApiKey, KeyUse
from extauthz.model.lifecycle import (
    AuditRecord,
    Change,
    LifecycleRecord,
    LifecycleState,
    Onboarding,
    Tenant,
    Transition,
)
from extauthz.providers import rules


class MemoryStore:
    """Lifecycle, billing and credential store in one. No method waits for anything, so each is a transaction by itself."""

    def __init__(self) -> None:
        self._tenants: dict[str, Tenant] = {}
        self._billing: dict[str, BillingRecord] = {}
        self._keys: dict[str, ApiKey] = {}
        self._key_ids: defaultdict[str, set[str]] = defaultdict(set)
        self._audit: defaultdict[str, list[AuditRecord]] = defaultdict(list)
        self._terminations: dict[str, Change] = {}

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do: what was kept stays until the object goes."""

    async def history(self, tenant_id: str) -> Sequence[AuditRecord]:
        """The tenant's audit records, oldest first."""
        return tuple(self._audit.get(tenant_id, ()))

    async def note(self, records: Sequence[AuditRecord]) -> None:
        """Add records of what was changed elsewhere."""
        self._note(records)

    def _note(self, records: Iterable[AuditRecord]) -> None:
        for record in records:
            self._audit[record.tenant_id].append(record)

    # Lifecycle

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        """The tenant's record; None where there is no such tenant."""
        tenant = self._tenants.get(tenant_id)
        return None if tenant is None else tenant.record

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, None where there is none."""
        return self._tenants.get(tenant_id)

    async def list_tenants(self, after: str = "", limit: int = 100) -> Sequence[Tenant]:
        """Tenants with an id above `after` in the order of their ids, at most `limit`."""
        ids = sorted(tenant_id for tenant_id in self._tenants if tenant_id > after)
        return tuple(self._tenants[tenant_id] for tenant_id in ids[:limit])

    async def create_tenant(self, tenant: Tenant, change: Change, billing: BillingRecord | None = None) -> None:
        """Add a tenant, and its standing where one is given.

        Raises:
            AlreadyExists: the id is taken.
        """
        tenant_id = tenant.tenant_id
        if tenant_id in self._tenants:
            raise AlreadyExists(f"tenant {tenant_id!r} exists already")
        self._tenants[tenant_id] = tenant
        self._note([rules.audit_lifecycle(tenant_id, None, tenant.record.state, change)])
        if billing is not None:
            self._put_billing(tenant_id, billing, change)

    async def import_tenants(
        self, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord] | None = None
    ) -> Sequence[str]:
        """Add all that are not there yet; the ids of those that were added.

        Raises:
            ImportConflict: some are there and are not the same.
        """
        standings = billing or {}
        new = rules.new_tenants(tenants, standings, self._tenants, self._billing)
        for tenant in new:
            await self.create_tenant(tenant, change, standings.get(tenant.tenant_id))
        return tuple(tenant.tenant_id for tenant in new)

    async def set_onboarding(self, tenant_id: str, to: Onboarding, change: Change) -> tuple[Onboarding, Onboarding]:
        """`PENDING` to `COMPLETE`; (from, to).

        Raises:
            NotFound: no such tenant.
            InvalidTransition: back to PENDING.
        """
        tenant = self._tenant(tenant_id)
        now = tenant.record.onboarding
        if rules.completes(tenant_id, now, to):
            self._tenants[tenant_id] = replace(tenant, record=replace(tenant.record, onboarding=to))
            self._note([rules.audit_onboarding(tenant_id, now, to, change)])
        return now, to

    async def transition(self, tenant_id: str, to: LifecycleState, change: Change, *, revoke_keys: bool) -> Transition:
        """Move a tenant along the table; with `revoke_keys` a move to TERMINATED revokes its keys.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """
        tenant = self._tenant(tenant_id)
        now = tenant.record.state
        revoked: Sequence[str] = ()
        if to is LifecycleState.TERMINATED:
            self._terminations.pop(tenant_id, None)
        if rules.moves(tenant_id, now, to):
            self._tenants[tenant_id] = replace(tenant, record=replace(tenant.record, state=to))
            self._note([rules.audit_lifecycle(tenant_id, now, to, change)])
            if revoke_keys and to is LifecycleState.TERMINATED:
                revoked = self._revoke_live(tenant_id, change)
        return Transition(tenant_id=tenant_id, from_state=now, to_state=to, revoked_keys=len(revoked))

    async def plan_termination(self, tenant_id: str, change: Change) -> bool:
        """Keep in mind that a termination has begun; False where the tenant is TERMINATED already.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """
        planned = rules.moves(tenant_id, self._tenant(tenant_id).record.state, LifecycleState.TERMINATED)
        if planned:
            self._terminations[tenant_id] = change
        return planned

    async def planned_terminations(self) -> Sequence[tuple[str, Change]]:
        """Terminations that were begun and not finished."""
        return tuple(self._terminations.items())

    def _tenant(self, tenant_id: str) -> Tenant:
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            raise rules.no_tenant(tenant_id)
        return tenant

    # Billing

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        """The tenant's record; None where there is none."""
        return self._billing.get(tenant_id)

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        """The records of many tenants; those that have none are not in it."""
        return {tenant_id: self._billing[tenant_id] for tenant_id in tenant_ids if tenant_id in self._billing}

    async def set_billing(
        self, tenant_id: str, change: Change, *, state: BillingState | None = None, plan_id: str | None = None
    ) -> tuple[BillingRecord | None, BillingRecord]:
        """Set standing, plan or both (None: as it was); (before, after)."""
        before = self._billing.get(tenant_id)
        after = rules.merged(before, state, plan_id)
        self._put_billing(tenant_id, after, change)
        return before, after

    def _put_billing(self, tenant_id: str, after: BillingRecord, change: Change) -> None:
        before = self._billing.get(tenant_id)
        self._billing[tenant_id] = after
        self._note(rules.audit_billing(tenant_id, before, after, change))

    # Credentials

    async def find_key(self, key_id: str) -> ApiKey | None:
        """The key of that id, revoked or expired ones too; None where there is none."""
        return self._keys.get(key_id)

    async def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Note last-used times and renewed hashes. A use older than the one on record changes nothing."""
        for use in uses:
            key = self._keys.get(use.key_id)
            if key is not None:
                self._keys[use.key_id] = rules.used(key, use)

    async def issue_key(self, key: ApiKey, change: Change, *, require_active: bool) -> None:
        """Add a key; with `require_active` only for an ACTIVE tenant.

        Raises:
            AlreadyExists: the id is taken.
            TenantNotActive: OFFBOARD-007.
            NotFound: no such tenant.
        """
        if require_active:
            tenant = self._tenants.get(key.tenant_id)
            rules.require_active(key.tenant_id, None if tenant is None else tenant.record.state)
        if key.key_id in self._keys:
            raise AlreadyExists(f"key {key.key_id!r} exists already")
        self._keys[key.key_id] = key
        self._key_ids[key.tenant_id].add(key.key_id)
        self._note([rules.audit_key_issued(key.tenant_id, key.key_id, change)])

    async def list_keys(self, tenant_id: str) -> Sequence[ApiKey]:
        """All keys of a tenant, oldest first."""
        return tuple(self._keys_of(tenant_id))

    def _keys_of(self, tenant_id: str) -> list[ApiKey]:
        keys = [self._keys[key_id] for key_id in self._key_ids.get(tenant_id, ())]
        return sorted(keys, key=lambda key: (key.created_at, key.key_id))

    async def revoke_key(self, tenant_id: str, key_id: str, change: Change) -> ApiKey:
        """Revoke one key; revoking it again changes nothing. The key as it is now.

        Raises:
            NotFound: the tenant has no such key.
        """
        key = self._keys.get(key_id)
        if key is None or key.tenant_id != tenant_id:
            raise rules.no_key(tenant_id, key_id)
        if key.revoked_at is None:
            self._revoke(key, change)
        return self._keys[key_id]

    async def revoke_all(self, tenant_id: str, change: Change) -> Sequence[str]:
        """Revoke every live key of the tenant; the ids of those that were live."""
        return self._revoke_live(tenant_id, change)

    def _revoke_live(self, tenant_id: str, change: Change) -> Sequence[str]:
        live = [key for key in self._keys_of(tenant_id) if key.revoked_at is None]
        for key in live:
            self._revoke(key, change)
        return tuple(key.key_id for key in live)

    def _revoke(self, key: ApiKey, change: Change) -> None:
        self._keys[key.key_id] = replace(key, revoked_at=change.at)
        self._note([rules.audit_key_revoked(key.tenant_id, key.key_id, change)])
