"""Tenants, standing and keys in one SQLite file: the embedded default."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.deadline import Clock
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
from extauthz.providers import sqlite_file, sqlite_import, sqlite_keys, sqlite_state
from extauthz.providers.plan_rows import PlanReader
from extauthz.providers.sqlite_db import SqliteDatabase
from extauthz.providers.sqlite_schema import STATE_APPLICATION_ID, Kind, Migrations, SchemaStatus
from extauthz.providers.sqlite_shared import SqliteShared
from extauthz.providers.sqlite_uptime import boot_id, uptime

MIGRATIONS: Final = Migrations(directory=Path(__file__).parent / "migrations" / "state", revisions=("0001", "0002"))
KIND: Final = Kind(application_id=STATE_APPLICATION_ID, migrations=MIGRATIONS)

_OF_NOBODY: Final = (
    "a planned termination is dropped: there is no tenant %r; if its keys are kept elsewhere, see that they are revoked"
)
_log: Final = logging.getLogger(__name__)


def upgrade(path: str | Path) -> SchemaStatus:
    """Bring the state database at `path` to this version's schema; it is made where it is absent. Blocks.

    Raises:
        ProviderError: it can't be opened or written.
        SchemaMismatch: it is another program's, or newer than this version.
    """
    return sqlite_file.upgrade(Path(path), KIND)


def status(path: str | Path) -> SchemaStatus:
    """Which schema the state database at `path` has; changes nothing. Blocks.

    Raises:
        ProviderError: it can't be opened or read.
        SchemaMismatch: it is another program's.
    """
    return sqlite_file.status(Path(path), KIND)


class SqliteStore(SqliteShared):
    """Lifecycle, billing and credential store in one; a transition, its audit and the revoked keys are one transaction.

    Other processes may use the same file: each reads what the others changed (see `SqliteShared` for `replica`, `clock` and
    `boot`, which is asked of the system where it is None).

    Every method raises `ProviderError` where the database gives no answer, `InvalidRecord` where a row can't be read, and
    `SchemaMismatch` where the file is another program's or of another version; below only what is refused is listed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        readers: int = 4,
        replica: str = "",
        clock: Clock = uptime,
        boot: str | None = None,
    ) -> None:
        db = SqliteDatabase(path, application_id=STATE_APPLICATION_ID, migrations=MIGRATIONS, readers=readers)
        super().__init__(db, replica, clock, boot_id() if boot is None else boot)
        self._plans = PlanReader()

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._db.path

    async def start(self) -> None:
        """Open the file, set it up where it is empty. One that can't be reached is logged; each call tries again.

        Raises:
            SchemaMismatch: the file is another program's, or of another version.
        """
        await self._db.start()

    async def close(self) -> None:
        """Finish what is under way and close the file."""
        await self._db.close()

    async def history(self, tenant_id: str) -> Sequence[AuditRecord]:
        """The tenant's audit records, oldest first."""
        return await self._db.read(lambda db: sqlite_state.history(db, tenant_id))

    async def note(self, records: Sequence[AuditRecord]) -> None:
        """Add records of what was changed elsewhere."""
        if records:
            await self._write(lambda writing: writing.note(records))

    # Lifecycle

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        """The tenant's record; None where there is no such tenant."""
        return await self._db.read(lambda db: sqlite_state.find_lifecycle(db, tenant_id))

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, None where there is none."""
        return await self._db.read(lambda db: sqlite_state.get_tenant(db, tenant_id))

    async def list_tenants(self, after: str = "", limit: int = 100) -> Sequence[Tenant]:
        """Tenants with an id above `after` in the order of their ids, at most `limit`."""
        return await self._db.read(lambda db: sqlite_state.list_tenants(db, after, limit))

    async def blocked_tenants(self, after: str = "", limit: int = 1000) -> Sequence[tuple[str, LifecycleRecord | None]]:
        """Tenants that are not ACTIVE with an id above `after`, in the order of their ids, at most `limit`."""
        return await self._db.read(lambda db: sqlite_state.blocked_tenants(db, after, limit))

    async def create_tenant(self, tenant: Tenant, change: Change, billing: BillingRecord | None = None) -> None:
        """Add a tenant, and its standing where one is given.

        Raises:
            AlreadyExists: the id is taken.
        """
        await self._write(lambda writing: sqlite_state.create_tenant(writing, tenant, change, billing))

    async def import_tenants(
        self, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord] | None = None
    ) -> Sequence[str]:
        """Add all that are not there yet, in one transaction; the ids of those that were added.

        Raises:
            ImportConflict: some are there and are not the same.
        """
        return await self._write(lambda writing: sqlite_import.import_tenants(writing, tenants, change, billing or {}))

    async def set_onboarding(self, tenant_id: str, to: Onboarding, change: Change) -> tuple[Onboarding, Onboarding]:
        """`PENDING` to `COMPLETE`; (from, to).

        Raises:
            NotFound: no such tenant.
            InvalidTransition: back to PENDING.
        """
        return await self._write(lambda writing: sqlite_state.set_onboarding(writing, tenant_id, to, change))

    async def transition(self, tenant_id: str, to: LifecycleState, change: Change, *, revoke_keys: bool) -> Transition:
        """Move a tenant along the table; with `revoke_keys` a move to TERMINATED revokes its keys.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """
        return await self._write(
            lambda writing: sqlite_state.transition(writing, tenant_id, to, change, revoke_keys=revoke_keys)
        )

    async def plan_termination(self, tenant_id: str, change: Change) -> bool:
        """Keep in mind that a termination has begun; False where the tenant is TERMINATED already.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """
        return await self._write(lambda writing: sqlite_state.plan_termination(writing, tenant_id, change))

    async def planned_terminations(self) -> Sequence[tuple[str, Change]]:
        """Terminations that were begun and not finished. What can't be read is logged; what is of no tenant is dropped."""
        if await self._db.read(sqlite_state.plans_of_nobody):
            for tenant_id in await self._write(sqlite_state.drop_plans_of_nobody):
                _log.warning(_OF_NOBODY, tenant_id)
        return self._plans.read(await self._db.read(sqlite_state.planned_terminations))

    # Billing

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        """The tenant's record; None where there is none."""
        return await self._db.read(lambda db: sqlite_state.find_billing(db, tenant_id))

    async def set_billing(
        self, tenant_id: str, change: Change, *, state: BillingState | None = None, plan_id: str | None = None
    ) -> tuple[BillingRecord | None, BillingRecord]:
        """Set standing, plan or both (None: as it was); (before, after)."""
        return await self._write(lambda writing: sqlite_state.set_billing(writing, tenant_id, change, state, plan_id))

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        """The records of many tenants; those that have none are not in it."""
        return await self._db.read(lambda db: sqlite_import.find_standings(db, tenant_ids))

    # Credentials

    async def find_key(self, key_id: str) -> ApiKey | None:
        """The key of that id, revoked or expired ones too; None where there is none."""
        return await self._db.read(lambda db: sqlite_keys.find_key(db, key_id))

    async def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Note last-used times and renewed hashes, all in one transaction. An older use changes nothing."""
        if uses:
            await self._write(lambda writing: sqlite_keys.record_uses(writing, uses))

    async def issue_key(self, key: ApiKey, change: Change, *, require_active: bool) -> None:
        """Add a key; with `require_active` only for an ACTIVE tenant.

        Raises:
            AlreadyExists: the id is taken.
            TenantNotActive: OFFBOARD-007.
            NotFound: no such tenant.
        """
        await self._write(lambda writing: sqlite_keys.issue_key(writing, key, change, require_active=require_active))

    async def list_keys(self, tenant_id: str) -> Sequence[ApiKey]:
        """All keys of a tenant, oldest first."""
        return await self._db.read(lambda db: sqlite_keys.list_keys(db, tenant_id))

    async def revoke_key(self, tenant_id: str, key_id: str, change: Change) -> ApiKey:
        """Revoke one key; revoking it again changes nothing. The key as it is now.

        Raises:
            NotFound: the tenant has no such key.
        """
        return await self._write(lambda writing: sqlite_keys.revoke_key(writing, tenant_id, key_id, change))

    async def revoke_all(self, tenant_id: str, change: Change) -> Sequence[str]:
        """Revoke every live key of the tenant; the ids of those that were live."""
        return await self._write(lambda writing: sqlite_state.revoke_all(writing, tenant_id, change))
