"""The statements of tenants and standing: functions of a connection, or of a transaction where they change something."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from extauthz.errors import AlreadyExists
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.changed import ChangedKind
from extauthz.model.lifecycle import (
    AuditRecord,
    Change,
    LifecycleRecord,
    LifecycleState,
    Onboarding,
    Tenant,
    Transition,
)
from extauthz.providers import rules, state_rows
from extauthz.providers.sqlite_writing import Writing, one
from extauthz.providers.state_rows import (
    AUDIT_COLUMNS,
    BLOCKED_COLUMNS,
    IS_BLOCKED,
    PLAN_COLUMNS,
    TENANT_COLUMNS,
    Row,
)

FIND_LIFECYCLE: Final = "SELECT state, onboarding FROM tenants WHERE tenant_id = ?"
FIND_BILLING: Final = "SELECT state, plan_id FROM billing WHERE tenant_id = ?"
_GET_TENANT: Final = f"SELECT {TENANT_COLUMNS} FROM tenants WHERE tenant_id = ?"  # noqa: S608 - a constant of ours
_LIST_TENANTS: Final = f"SELECT {TENANT_COLUMNS} FROM tenants WHERE tenant_id > ? ORDER BY tenant_id LIMIT ?"  # noqa: S608 - a constant
_BLOCKED: Final = f"""
    SELECT {BLOCKED_COLUMNS} FROM tenants WHERE tenant_id > ? AND typeof(tenant_id) = 'text' AND {IS_BLOCKED}
    ORDER BY tenant_id LIMIT ?
"""  # noqa: S608 - constants of ours
_ADD_TENANT: Final = f"INSERT INTO tenants ({TENANT_COLUMNS}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608 - a constant of ours
_PUT_BILLING: Final = "INSERT OR REPLACE INTO billing (tenant_id, state, plan_id) VALUES (?, ?, ?)"
_HISTORY: Final = f"SELECT {AUDIT_COLUMNS} FROM audit WHERE tenant_id = ? ORDER BY id"  # noqa: S608 - a constant of ours
_PUT_PLAN: Final = f"INSERT OR REPLACE INTO planned_terminations ({PLAN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant
_PLANS: Final = f"SELECT {PLAN_COLUMNS} FROM planned_terminations ORDER BY tenant_id"  # noqa: S608 - a constant of ours
_OF_NOBODY: Final = "tenant_id NOT IN (SELECT tenant_id FROM tenants)"
_PLANS_OF_NOBODY: Final = f"SELECT tenant_id FROM planned_terminations WHERE {_OF_NOBODY}"  # noqa: S608 - a constant of ours
_END_PLANS_OF_NOBODY: Final = f"DELETE FROM planned_terminations WHERE {_OF_NOBODY}"  # noqa: S608 - a constant of ours
_END_PLAN: Final = "DELETE FROM planned_terminations WHERE tenant_id = ?"
_LIVE_KEYS: Final = "SELECT key_id FROM api_keys WHERE tenant_id = ? AND revoked_at IS NULL ORDER BY created_at, key_id"


def history(connection: sqlite3.Connection, tenant_id: str) -> Sequence[AuditRecord]:
    """The tenant's audit records, oldest first."""
    return tuple(map(state_rows.audit_record, connection.execute(_HISTORY, (tenant_id,))))


# Lifecycle


def find_lifecycle(connection: sqlite3.Connection, tenant_id: str) -> LifecycleRecord | None:
    """The tenant's record; None where there is no such tenant."""
    row = one(connection, FIND_LIFECYCLE, tenant_id)
    return None if row is None else state_rows.lifecycle_record(f"tenant {tenant_id!r}", row[0], row[1])


def get_tenant(connection: sqlite3.Connection, tenant_id: str) -> Tenant | None:
    """The tenant, None where there is none."""
    row = one(connection, _GET_TENANT, tenant_id)
    return None if row is None else state_rows.tenant(row)


def list_tenants(connection: sqlite3.Connection, after: str, limit: int) -> Sequence[Tenant]:
    """Tenants in the order of their ids."""
    return tuple(map(state_rows.tenant, connection.execute(_LIST_TENANTS, (after, limit))))


def blocked_tenants(
    connection: sqlite3.Connection, after: str, limit: int
) -> Sequence[tuple[str, LifecycleRecord | None]]:
    """Tenants that are not ACTIVE, in the order of their ids."""
    return tuple(map(state_rows.blocked, connection.execute(_BLOCKED, (after, limit))))


def create_tenant(writing: Writing, tenant: Tenant, change: Change, billing: BillingRecord | None) -> None:
    """Add a tenant that is not there, and its standing where one is given."""
    if one(writing.connection, FIND_LIFECYCLE, tenant.tenant_id) is not None:
        raise AlreadyExists(f"tenant {tenant.tenant_id!r} exists already")
    add_tenant(writing, tenant, change, billing)


def add_tenant(writing: Writing, tenant: Tenant, change: Change, billing: BillingRecord | None) -> None:
    """Add a tenant that is known not to be there, and its standing where one is given."""
    tenant_id, record = tenant.tenant_id, tenant.record
    row = (tenant_id, tenant.name, record.state.value, record.onboarding.value, tenant.created_at)
    writing.connection.execute(_ADD_TENANT, row)
    writing.note([rules.audit_lifecycle(tenant_id, None, record.state, change)])
    writing.changed(ChangedKind.CREATED, [tenant_id])
    if billing is not None:
        _put_billing(writing, tenant_id, find_billing(writing.connection, tenant_id), billing, change)


def set_onboarding(writing: Writing, tenant_id: str, to: Onboarding, change: Change) -> tuple[Onboarding, Onboarding]:
    """Complete the onboarding."""
    now = state_rows.onboarding(f"tenant {tenant_id!r}", _tenant(writing, tenant_id)[1])
    if rules.completes(tenant_id, now, to):
        writing.connection.execute("UPDATE tenants SET onboarding = ? WHERE tenant_id = ?", (to.value, tenant_id))
        writing.note([rules.audit_onboarding(tenant_id, now, to, change)])
        writing.changed(ChangedKind.LIFECYCLE, [tenant_id])
    return now, to


def transition(
    writing: Writing, tenant_id: str, to: LifecycleState, change: Change, *, revoke_keys: bool
) -> Transition:
    """Move a tenant along the table: state, keys, the end of a plan and audit together."""
    now = _state(writing, tenant_id)
    revoked: Sequence[str] = ()
    if to is LifecycleState.TERMINATED:
        writing.connection.execute(_END_PLAN, (tenant_id,))
    if rules.moves(tenant_id, now, to):
        writing.connection.execute("UPDATE tenants SET state = ? WHERE tenant_id = ?", (to.value, tenant_id))
        writing.note([rules.audit_lifecycle(tenant_id, now, to, change)])
        writing.changed(ChangedKind.LIFECYCLE, [tenant_id])
        if revoke_keys and to is LifecycleState.TERMINATED:
            revoked = revoke_all(writing, tenant_id, change)
    return Transition(tenant_id=tenant_id, from_state=now, to_state=to, revoked_keys=len(revoked))


def plan_termination(writing: Writing, tenant_id: str, change: Change) -> bool:
    """Keep in mind that a termination has begun."""
    planned = rules.moves(tenant_id, _state(writing, tenant_id), LifecycleState.TERMINATED)
    if planned:
        writing.connection.execute(_PUT_PLAN, tuple(state_rows.from_termination_plan(tenant_id, change)))
    return planned


def planned_terminations(connection: sqlite3.Connection) -> Sequence[Row]:
    """Terminations that were begun and not finished, as rows of PLAN_COLUMNS."""
    return connection.execute(_PLANS).fetchall()


def plans_of_nobody(connection: sqlite3.Connection) -> Sequence[object]:
    """Whose termination was begun though there is no such tenant (any more)."""
    return tuple(tenant_id for (tenant_id,) in connection.execute(_PLANS_OF_NOBODY))


def drop_plans_of_nobody(writing: Writing) -> Sequence[object]:
    """Drop them; whose they were."""
    dropped = plans_of_nobody(writing.connection)
    writing.connection.execute(_END_PLANS_OF_NOBODY)
    return dropped


def _state(writing: Writing, tenant_id: str) -> LifecycleState:
    return state_rows.lifecycle_state(f"tenant {tenant_id!r}", _tenant(writing, tenant_id)[0])


def _tenant(writing: Writing, tenant_id: str) -> Row:
    row = one(writing.connection, FIND_LIFECYCLE, tenant_id)
    if row is None:
        raise rules.no_tenant(tenant_id)
    return row


# The end of keys: part of the end of a tenant


def revoke_all(writing: Writing, tenant_id: str, change: Change) -> Sequence[str]:
    """Revoke every live key of the tenant; the ids of those that were live. Keys that can't be read are revoked too."""
    live = tuple(str(key_id) for (key_id,) in writing.connection.execute(_LIVE_KEYS, (tenant_id,)))
    revoke(writing, tenant_id, live, change)
    return live


def revoke(writing: Writing, tenant_id: str, key_ids: Sequence[str], change: Change) -> None:
    """Revoke these live keys of the tenant."""
    rows = [(change.at, key_id) for key_id in key_ids]
    writing.connection.executemany("UPDATE api_keys SET revoked_at = ? WHERE key_id = ?", rows)
    writing.note([rules.audit_key_revoked(tenant_id, key_id, change) for key_id in key_ids])
    writing.changed(ChangedKind.KEY, key_ids)


# Billing


def find_billing(connection: sqlite3.Connection, tenant_id: str) -> BillingRecord | None:
    """The tenant's standing; None where there is none."""
    row = one(connection, FIND_BILLING, tenant_id)
    return None if row is None else state_rows.billing_record(f"billing of tenant {tenant_id!r}", row)


def set_billing(
    writing: Writing, tenant_id: str, change: Change, state: BillingState | None, plan_id: str | None
) -> tuple[BillingRecord | None, BillingRecord]:
    """Set standing, plan or both."""
    before = find_billing(writing.connection, tenant_id)
    after = rules.merged(before, state, plan_id)
    if after != before:
        _put_billing(writing, tenant_id, before, after, change)
        writing.changed(ChangedKind.BILLING, [tenant_id])
    return before, after


def _put_billing(
    writing: Writing, tenant_id: str, before: BillingRecord | None, after: BillingRecord, change: Change
) -> None:
    writing.connection.execute(_PUT_BILLING, (tenant_id, after.state.value, after.plan_id))
    writing.note(rules.audit_billing(tenant_id, before, after, change))
