"""The statements of the state database: functions of a connection, each a whole transaction where it changes something."""

import sqlite3
from collections.abc import Iterable, Sequence

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
from extauthz.providers import rules, state_rows
from extauthz.providers.state_rows import AUDIT_COLUMNS, KEY_COLUMNS, TENANT_COLUMNS, Row

FIND_LIFECYCLE = "SELECT state, onboarding FROM tenants WHERE tenant_id = ?"
FIND_BILLING = "SELECT state, plan_id FROM billing WHERE tenant_id = ?"
_GET_TENANT = f"SELECT {TENANT_COLUMNS} FROM tenants WHERE tenant_id = ?"  # noqa: S608 - a constant of ours
_LIST_TENANTS = f"SELECT {TENANT_COLUMNS} FROM tenants WHERE tenant_id > ? ORDER BY tenant_id LIMIT ?"  # noqa: S608 - a constant
_ADD_TENANT = f"INSERT INTO tenants ({TENANT_COLUMNS}) VALUES (?, ?, ?, ?, ?)"  # noqa: S608 - a constant of ours
_PUT_BILLING = "INSERT OR REPLACE INTO billing (tenant_id, state, plan_id) VALUES (?, ?, ?)"
FIND_KEY = f"SELECT {KEY_COLUMNS} FROM api_keys WHERE key_id = ?"  # noqa: S608 - a constant of ours
_LIST_KEYS = f"SELECT {KEY_COLUMNS} FROM api_keys WHERE tenant_id = ? ORDER BY created_at, key_id"  # noqa: S608 - a constant
_ADD_KEY = f"INSERT INTO api_keys ({KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant of ours
_LIVE_KEYS = "SELECT key_id FROM api_keys WHERE tenant_id = ? AND revoked_at IS NULL ORDER BY created_at, key_id"
_RECORD_USE = """
    UPDATE api_keys SET last_used_at = ?2, secret_hash = coalesce(?3, secret_hash), hash_pepper = coalesce(?4, hash_pepper)
    WHERE key_id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2)
"""
_HISTORY = f"SELECT {AUDIT_COLUMNS} FROM audit WHERE tenant_id = ? ORDER BY id"  # noqa: S608 - a constant of ours
_ADD_AUDIT = f"INSERT INTO audit ({AUDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant of ours


def _one(connection: sqlite3.Connection, query: str, *values: object) -> Row | None:
    row: Row | None = connection.execute(query, values).fetchone()
    return row


def history(connection: sqlite3.Connection, tenant_id: str) -> Sequence[AuditRecord]:
    """The tenant's audit records, oldest first."""
    return tuple(map(state_rows.audit_record, connection.execute(_HISTORY, (tenant_id,))))


def _note(connection: sqlite3.Connection, records: Iterable[AuditRecord]) -> None:
    connection.executemany(_ADD_AUDIT, map(state_rows.from_audit_record, records))


# Lifecycle


def find_lifecycle(connection: sqlite3.Connection, tenant_id: str) -> LifecycleRecord | None:
    """The tenant's record; None where there is no such tenant."""
    row = _one(connection, FIND_LIFECYCLE, tenant_id)
    return None if row is None else state_rows.lifecycle_record(f"tenant {tenant_id!r}", row[0], row[1])


def get_tenant(connection: sqlite3.Connection, tenant_id: str) -> Tenant | None:
    """The tenant, None where there is none."""
    row = _one(connection, _GET_TENANT, tenant_id)
    return None if row is None else state_rows.tenant(row)


def list_tenants(connection: sqlite3.Connection, after: str, limit: int) -> Sequence[Tenant]:
    """Tenants in the order of their ids."""
    return tuple(map(state_rows.tenant, connection.execute(_LIST_TENANTS, (after, limit))))


def create_tenant(
    connection: sqlite3.Connection, tenant: Tenant, change: Change, billing: BillingRecord | None
) -> None:
    """Add a tenant, and its standing where one is given."""
    tenant_id, record = tenant.tenant_id, tenant.record
    if _one(connection, FIND_LIFECYCLE, tenant_id) is not None:
        raise AlreadyExists(f"tenant {tenant_id!r} exists already")
    row = (tenant_id, tenant.name, record.state.value, record.onboarding.value, tenant.created_at)
    connection.execute(_ADD_TENANT, row)
    _note(connection, [rules.audit_lifecycle(tenant_id, None, record.state, change)])
    if billing is not None:
        _put_billing(connection, tenant_id, find_billing(connection, tenant_id), billing, change)


def set_onboarding(
    connection: sqlite3.Connection, tenant_id: str, to: Onboarding, change: Change
) -> tuple[Onboarding, Onboarding]:
    """Complete the onboarding."""
    now = state_rows.onboarding(f"tenant {tenant_id!r}", _tenant(connection, tenant_id)[1])
    if rules.completes(tenant_id, now, to):
        connection.execute("UPDATE tenants SET onboarding = ? WHERE tenant_id = ?", (to.value, tenant_id))
        _note(connection, [rules.audit_onboarding(tenant_id, now, to, change)])
    return now, to


def transition(
    connection: sqlite3.Connection, tenant_id: str, to: LifecycleState, change: Change, *, revoke_keys: bool
) -> Transition:
    """Move a tenant along the table: state, keys and audit together."""
    now = state_rows.lifecycle_state(f"tenant {tenant_id!r}", _tenant(connection, tenant_id)[0])
    revoked: Sequence[str] = ()
    if rules.moves(tenant_id, now, to):
        connection.execute("UPDATE tenants SET state = ? WHERE tenant_id = ?", (to.value, tenant_id))
        _note(connection, [rules.audit_lifecycle(tenant_id, now, to, change)])
        if revoke_keys and to is LifecycleState.TERMINATED:
            revoked = revoke_all(connection, tenant_id, change)
    return Transition(tenant_id=tenant_id, from_state=now, to_state=to, revoked_keys=len(revoked))


def _tenant(connection: sqlite3.Connection, tenant_id: str) -> Row:
    row = _one(connection, FIND_LIFECYCLE, tenant_id)
    if row is None:
        raise rules.no_tenant(tenant_id)
    return row


# Billing


def find_billing(connection: sqlite3.Connection, tenant_id: str) -> BillingRecord | None:
    """The tenant's standing; None where there is none."""
    row = _one(connection, FIND_BILLING, tenant_id)
    return None if row is None else state_rows.billing_record(f"billing of tenant {tenant_id!r}", row)


def set_billing(
    connection: sqlite3.Connection, tenant_id: str, change: Change, state: BillingState | None, plan_id: str | None
) -> tuple[BillingRecord | None, BillingRecord]:
    """Set standing, plan or both."""
    before = find_billing(connection, tenant_id)
    after = rules.merged(before, state, plan_id)
    _put_billing(connection, tenant_id, before, after, change)
    return before, after


def _put_billing(
    connection: sqlite3.Connection, tenant_id: str, before: BillingRecord | None, after: BillingRecord, change: Change
) -> None:
    connection.execute(_PUT_BILLING, (tenant_id, after.state.value, after.plan_id))
    _note(connection, rules.audit_billing(tenant_id, before, after, change))


# Credentials


def find_key(connection: sqlite3.Connection, key_id: str) -> ApiKey | None:
    """The key of that id; None where there is none."""
    row = _one(connection, FIND_KEY, key_id)
    return None if row is None else state_rows.api_key(row)


def list_keys(connection: sqlite3.Connection, tenant_id: str) -> Sequence[ApiKey]:
    """All keys of a tenant, oldest first."""
    return tuple(map(state_rows.api_key, connection.execute(_LIST_KEYS, (tenant_id,))))


def record_uses(connection: sqlite3.Connection, uses: Sequence[KeyUse]) -> None:
    """Note last-used times and renewed hashes, as `rules.used` has it, without reading the keys first."""
    connection.executemany(_RECORD_USE, map(_use_row, uses))


def _use_row(use: KeyUse) -> Row:
    if use.secret_hash is None or use.hash_pepper is None:
        return (use.key_id, use.used_at, None, None)
    return (use.key_id, use.used_at, use.secret_hash, use.hash_pepper)


def issue_key(connection: sqlite3.Connection, key: ApiKey, change: Change, *, require_active: bool) -> None:
    """Add a key; with `require_active` only for a tenant that is ACTIVE at this moment."""
    if require_active:
        record = find_lifecycle(connection, key.tenant_id)
        rules.require_active(key.tenant_id, None if record is None else record.state)
    if _one(connection, FIND_KEY, key.key_id) is not None:
        raise AlreadyExists(f"key {key.key_id!r} exists already")
    connection.execute(_ADD_KEY, tuple(state_rows.from_api_key(key)))
    _note(connection, [rules.audit_key_issued(key.tenant_id, key.key_id, change)])


def revoke_key(connection: sqlite3.Connection, tenant_id: str, key_id: str, change: Change) -> ApiKey:
    """Revoke one key; the key as it is now."""
    key = find_key(connection, key_id)
    if key is None or key.tenant_id != tenant_id:
        raise rules.no_key(tenant_id, key_id)
    if key.revoked_at is not None:
        return key
    _revoke(connection, tenant_id, [key_id], change)
    return find_key(connection, key_id) or key


def revoke_all(connection: sqlite3.Connection, tenant_id: str, change: Change) -> Sequence[str]:
    """Revoke every live key of the tenant; the ids of those that were live. Keys that can't be read are revoked too."""
    live = tuple(str(key_id) for (key_id,) in connection.execute(_LIVE_KEYS, (tenant_id,)))
    _revoke(connection, tenant_id, live, change)
    return live


def _revoke(connection: sqlite3.Connection, tenant_id: str, key_ids: Sequence[str], change: Change) -> None:
    rows = [(change.at, key_id) for key_id in key_ids]
    connection.executemany("UPDATE api_keys SET revoked_at = ? WHERE key_id = ?", rows)
    _note(connection, [rules.audit_key_revoked(tenant_id, key_id, change) for key_id in key_ids])
