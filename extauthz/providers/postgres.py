"""Tenants, standing and keys in PostgreSQL, shared by any number of replicas."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import monotonic

import asyncpg

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.changed import StoredChange
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
from extauthz.providers import postgres_changes, postgres_state
from extauthz.providers import postgres_transactions as transactions
from extauthz.providers.plan_rows import PlanReader
from extauthz.providers.postgres_db import PostgresDatabase
from extauthz.providers.postgres_dial import DIAL_LIMIT
from extauthz.providers.postgres_lane import Lane
from extauthz.providers.postgres_listen import Listener
from extauthz.providers.postgres_policy import LookupPool, PoolPolicy
from extauthz.providers.postgres_tables import LINEAGE, status, upgrade

__all__ = ["LINEAGE", "LookupPool", "PoolPolicy", "PostgresStore", "status", "upgrade"]


class PostgresStore:
    """Lifecycle, billing and credential store in one, with its change log and the leases of its replicas.

    A transition, its audit, the revoked keys and what the change log tells are one transaction. `replica` is the origin of the
    changes that are made through this store.

    Every method raises `ProviderError` where the database gives no answer in time, `ProviderBusy` where all connections are in
    use, `InvalidRecord` where a row can't be read or a text can't be kept, and `SchemaMismatch` where the schema is another
    program's or of another version; below only what is refused is listed.
    """

    def __init__(self, url: str, *, replica: str = "", pools: PoolPolicy | None = None) -> None:
        policy = pools or PoolPolicy()
        self._db = PostgresDatabase(url, LINEAGE)
        self._origin = replica
        self._keys = self._lookups(policy.credentials, postgres_state.find_key)
        self._tenants = self._lookups(policy.lifecycle, postgres_state.find_lifecycle)
        self._standings = self._lookups(policy.billing, postgres_state.find_billing)
        self._plans = PlanReader()
        self._warm = policy.warm
        limit = policy.admin_timeout
        self._admin = self._db.lane(size=policy.admin_size, timeout=limit, patience=limit)
        self._feed = self._db.lane(size=policy.feed_size, timeout=limit, patience=limit)
        dial = partial(self._db.dialer.dial, DIAL_LIMIT)
        self._listener = Listener(dial, monotonic, pooled=self._db.target.pooled)

    def _lookups(self, pool: LookupPool, look: Callable[[asyncpg.Connection, str], Awaitable[object]]) -> Lane:
        """Connections for one kind of look-up, each made with a look for nobody."""
        return self._db.lane(size=pool.size, timeout=pool.timeout, rehearsal=lambda connection: look(connection, ""))

    async def start(self) -> None:
        """Look at the schema, set it up where there is none, and make connections, so that the first look-ups find them.

        A database that can't be reached is logged; each call tries again.

        Raises:
            SchemaMismatch: the schema is another program's, or of another version.
        """
        await self._db.start()
        if self._db.ready:
            looks = (self.find_key, self.find_lifecycle, self.find_billing)
            await asyncio.gather(*(look("") for look in looks for _ in range(self._warm)), return_exceptions=True)

    async def close(self) -> None:
        """End all connections."""
        await self._listener.close()
        await self._db.close()

    async def history(self, tenant_id: str) -> Sequence[AuditRecord]:
        """The tenant's audit records, oldest first."""
        return await self._admin.read(lambda db: postgres_state.history(db, tenant_id))

    async def note(self, records: Sequence[AuditRecord]) -> None:
        """Add records of what was changed elsewhere."""
        await self._admin.write(lambda db: postgres_state.note(db, records))

    # Lifecycle

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        """The tenant's record; None where there is no such tenant."""
        return await self._tenants.read(lambda db: postgres_state.find_lifecycle(db, tenant_id))

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, None where there is none."""
        return await self._admin.read(lambda db: postgres_state.get_tenant(db, tenant_id))

    async def list_tenants(self, after: str = "", limit: int = 100) -> Sequence[Tenant]:
        """Tenants with an id above `after` in the order of their ids, at most `limit`."""
        return await self._admin.read(lambda db: postgres_state.list_tenants(db, after, limit))

    async def blocked_tenants(self, after: str = "", limit: int = 1000) -> Sequence[tuple[str, LifecycleRecord | None]]:
        """Tenants that are not ACTIVE with an id above `after`, in the order of their ids, at most `limit`."""
        return await self._admin.read(lambda db: postgres_state.blocked_tenants(db, after, limit))

    async def create_tenant(self, tenant: Tenant, change: Change, billing: BillingRecord | None = None) -> None:
        """Add a tenant, and its standing where one is given.

        Raises:
            AlreadyExists: the id is taken.
        """
        await self._admin.write(lambda db: transactions.create_tenant(db, self._origin, tenant, change, billing))

    async def import_tenants(
        self, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord] | None = None
    ) -> Sequence[str]:
        """Add all that are not there yet; the ids of those that were added.

        Raises:
            ImportConflict: some are there and are not the same.
        """
        standings = billing or {}
        return await self._admin.write(
            lambda db: transactions.import_tenants(db, self._origin, tenants, change, standings)
        )

    async def set_onboarding(self, tenant_id: str, to: Onboarding, change: Change) -> tuple[Onboarding, Onboarding]:
        """`PENDING` to `COMPLETE`; (from, to).

        Raises:
            NotFound: no such tenant.
            InvalidTransition: back to PENDING.
        """
        return await self._admin.write(lambda db: transactions.set_onboarding(db, self._origin, tenant_id, to, change))

    async def transition(self, tenant_id: str, to: LifecycleState, change: Change, *, revoke_keys: bool) -> Transition:
        """Move a tenant along the table; with `revoke_keys` a move to TERMINATED revokes its keys.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """
        return await self._admin.write(
            lambda db: transactions.transition(db, self._origin, tenant_id, to, change, revoke_keys=revoke_keys)
        )

    async def plan_termination(self, tenant_id: str, change: Change) -> bool:
        """Keep in mind that a termination has begun; False where the tenant is TERMINATED already.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """
        return await self._admin.write(lambda db: transactions.plan_termination(db, tenant_id, change))

    async def planned_terminations(self) -> Sequence[tuple[str, Change]]:
        """Terminations that were begun and not finished."""
        return self._plans.read(await self._admin.read(transactions.planned_terminations))

    # Billing

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        """The tenant's record; None where there is none."""
        return await self._standings.read(lambda db: postgres_state.find_billing(db, tenant_id))

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        """The records of many tenants; those that have none are not in it."""
        return await self._admin.read(lambda db: postgres_state.find_standings(db, tenant_ids))

    async def set_billing(
        self, tenant_id: str, change: Change, *, state: BillingState | None = None, plan_id: str | None = None
    ) -> tuple[BillingRecord | None, BillingRecord]:
        """Set standing, plan or both (None: as it was); (before, after)."""
        return await self._admin.write(
            lambda db: transactions.set_billing(db, self._origin, tenant_id, change, state, plan_id)
        )

    # Credentials

    async def find_key(self, key_id: str) -> ApiKey | None:
        """The key of that id, revoked or expired ones too; None where there is none."""
        return await self._keys.read(lambda db: postgres_state.find_key(db, key_id))

    async def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Note last-used times and renewed hashes, all in one transaction. An older use changes nothing."""
        if uses:
            await self._admin.write(lambda db: postgres_state.record_uses(db, uses))

    async def issue_key(self, key: ApiKey, change: Change, *, require_active: bool) -> None:
        """Add a key; with `require_active` only for an ACTIVE tenant.

        Raises:
            AlreadyExists: the id is taken.
            TenantNotActive: OFFBOARD-007.
            NotFound: no such tenant.
        """
        await self._admin.write(
            lambda db: transactions.issue_key(db, self._origin, key, change, require_active=require_active)
        )

    async def list_keys(self, tenant_id: str) -> Sequence[ApiKey]:
        """All keys of a tenant, oldest first."""
        return await self._admin.read(lambda db: postgres_state.list_keys(db, tenant_id))

    async def revoke_key(self, tenant_id: str, key_id: str, change: Change) -> ApiKey:
        """Revoke one key; revoking it again changes nothing. The key as it is now.

        Raises:
            NotFound: the tenant has no such key.
        """
        return await self._admin.write(lambda db: transactions.revoke_key(db, self._origin, tenant_id, key_id, change))

    async def revoke_all(self, tenant_id: str, change: Change) -> Sequence[str]:
        """Revoke every live key of the tenant; the ids of those that were live."""
        return await self._admin.write(lambda db: transactions.revoke_all(db, self._origin, tenant_id, change))

    # Changes and leases

    async def last_change(self) -> int:
        """The `seq` of the newest change; 0 where there was none yet."""
        return await self._feed.read(postgres_changes.last_change)

    async def changes_after(self, seq: int, limit: int = 1000) -> Sequence[StoredChange]:
        """The changes above `seq` in their order, at most `limit`."""
        return await self._feed.read(lambda db: postgres_changes.changes_after(db, seq, limit))

    async def wait_for_change(self, seconds: float) -> None:
        """Return when there may be a new change, after `seconds` at the latest."""
        await self._listener.wait(seconds)

    async def renew_lease(self, replica: str, seen: int, seconds: float) -> None:
        """Say that `replica` lives for `seconds` more, and has brought its caches up to the change `seen`."""
        await self._feed.read(lambda db: postgres_changes.renew_lease(db, replica, seen, seconds))

    async def end_lease(self, replica: str) -> None:
        """Say that `replica` ends."""
        await self._feed.read(lambda db: postgres_changes.end_lease(db, replica))

    async def replicas_behind(self, seq: int) -> Sequence[str]:
        """The replicas with a live lease that have not seen the change `seq`."""
        return await self._feed.read(lambda db: postgres_changes.replicas_behind(db, seq))
