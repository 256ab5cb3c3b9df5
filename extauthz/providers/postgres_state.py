"""The statements of the state tables: functions of a connection, each one query, or a part of one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import asyncpg

from extauthz.errors import AlreadyExists
from extauthz.model.billing import BillingRecord
from extauthz.model.identity import ApiKey, KeyUse
from extauthz.model.lifecycle import AuditRecord, Change, LifecycleRecord, Tenant
from extauthz.providers import rules, state_rows
from extauthz.providers.postgres_text import is_storable, kept, lower_bound
from extauthz.providers.state_rows import (
    AUDIT_COLUMNS,
    BLOCKED_COLUMNS,
    IS_BLOCKED,
    KEY_COLUMNS,
    TENANT_COLUMNS,
    Row,
)

FIND_LIFECYCLE: Final = "SELECT state, onboarding FROM extauthz.tenants WHERE tenant_id = $1"
FIND_BILLING: Final = "SELECT state, plan_id FROM extauthz.billing WHERE tenant_id = $1"
FIND_KEY: Final = f"SELECT {KEY_COLUMNS} FROM extauthz.api_keys WHERE key_id = $1"  # noqa: S608 - a constant of ours
_GET_TENANT: Final = f"SELECT {TENANT_COLUMNS} FROM extauthz.tenants WHERE tenant_id = $1"  # noqa: S608 - a constant
_GET_TENANTS: Final = f"SELECT {TENANT_COLUMNS} FROM extauthz.tenants WHERE tenant_id = ANY($1::text[])"  # noqa: S608 - see above
_LIST_TENANTS: Final = f"""
    SELECT {TENANT_COLUMNS} FROM extauthz.tenants WHERE tenant_id > $1 ORDER BY tenant_id LIMIT $2
"""  # noqa: S608 - a constant of ours
_BLOCKED: Final = f"""
    SELECT {BLOCKED_COLUMNS} FROM extauthz.tenants WHERE tenant_id > $1 AND {IS_BLOCKED} ORDER BY tenant_id LIMIT $2
"""  # noqa: S608 - constants of ours
_ADD_TENANTS: Final = f"""
    INSERT INTO extauthz.tenants ({TENANT_COLUMNS})
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[])
    ON CONFLICT DO NOTHING RETURNING tenant_id
"""  # noqa: S608 - a constant of ours
_FIND_STANDINGS: Final = "SELECT state, plan_id, tenant_id FROM extauthz.billing WHERE tenant_id = ANY($1::text[])"
_PUT_BILLING: Final = """
    INSERT INTO extauthz.billing (tenant_id, state, plan_id) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
    ON CONFLICT (tenant_id) DO UPDATE SET state = excluded.state, plan_id = excluded.plan_id
"""
_LIST_KEYS: Final = f"""
    SELECT {KEY_COLUMNS} FROM extauthz.api_keys WHERE tenant_id = $1 ORDER BY created_at, key_id
"""  # noqa: S608 - a constant of ours
_ADD_KEY: Final = f"""
    INSERT INTO extauthz.api_keys ({KEY_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT DO NOTHING RETURNING key_id
"""  # noqa: S608 - a constant of ours
_LIVE_KEYS: Final = """
    SELECT key_id, created_at FROM extauthz.api_keys WHERE tenant_id = $1 AND revoked_at IS NULL ORDER BY key_id FOR UPDATE
"""
_REVOKE: Final = "UPDATE extauthz.api_keys SET revoked_at = $1 WHERE key_id = ANY($2::text[])"
_RECORD_USE: Final = """
    UPDATE extauthz.api_keys SET
        last_used_at = $2, secret_hash = coalesce($3, secret_hash), hash_pepper = coalesce($4, hash_pepper)
    WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at <= $2)
"""
_HISTORY: Final = f"SELECT {AUDIT_COLUMNS} FROM extauthz.audit WHERE tenant_id = $1 ORDER BY id"  # noqa: S608 - a constant
_ADD_AUDIT: Final = f"""
    INSERT INTO extauthz.audit ({AUDIT_COLUMNS}) SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[], $9::text[]
    )
"""  # noqa: S608 - a constant of ours


async def one(connection: asyncpg.Connection, query: str, key: str) -> Row | None:
    """The row of a key, None where there is none: nor is there one of a key that no row can have."""
    row = await connection.fetchrow(query, key) if is_storable(key) else None
    return None if row is None else tuple(row)


async def _many(connection: asyncpg.Connection, query: str, key: str) -> Sequence[Row]:
    return [tuple(row) for row in await connection.fetch(query, key)] if is_storable(key) else []


# The audit trail


async def history(connection: asyncpg.Connection, tenant_id: str) -> Sequence[AuditRecord]:
    """The tenant's audit records, oldest first."""
    return tuple(map(state_rows.audit_record, await _many(connection, _HISTORY, tenant_id)))


async def note(connection: asyncpg.Connection, records: Iterable[AuditRecord]) -> None:
    """Add audit records, in their order."""
    rows = [tuple(map(kept, state_rows.from_audit_record(record))) for record in records]
    if rows:
        await connection.execute(_ADD_AUDIT, *zip(*rows, strict=True))


# Lifecycle


async def find_lifecycle(connection: asyncpg.Connection, tenant_id: str) -> LifecycleRecord | None:
    """The tenant's record; None where there is no such tenant."""
    row = await one(connection, FIND_LIFECYCLE, tenant_id)
    return None if row is None else state_rows.lifecycle_record(f"tenant {tenant_id!r}", row[0], row[1])


async def get_tenant(connection: asyncpg.Connection, tenant_id: str) -> Tenant | None:
    """The tenant, None where there is none."""
    row = await one(connection, _GET_TENANT, tenant_id)
    return None if row is None else state_rows.tenant(row)


async def get_tenants(connection: asyncpg.Connection, tenant_ids: Iterable[str]) -> Mapping[str, Tenant]:
    """Those of many tenants that there are, by id."""
    rows = await connection.fetch(_GET_TENANTS, list(filter(is_storable, tenant_ids)))
    return {tenant.tenant_id: tenant for tenant in (state_rows.tenant(tuple(row)) for row in rows)}


async def list_tenants(connection: asyncpg.Connection, after: str, limit: int) -> Sequence[Tenant]:
    """Tenants in the order of their ids, byte by byte."""
    rows = await connection.fetch(_LIST_TENANTS, lower_bound(after), max(0, limit))
    return tuple(state_rows.tenant(tuple(row)) for row in rows)


async def blocked_tenants(
    connection: asyncpg.Connection, after: str, limit: int
) -> Sequence[tuple[str, LifecycleRecord | None]]:
    """Tenants that are not ACTIVE, in the order of their ids, byte by byte."""
    rows = await connection.fetch(_BLOCKED, lower_bound(after), max(0, limit))
    return tuple(state_rows.blocked(tuple(row)) for row in rows)


async def add_tenants(connection: asyncpg.Connection, tenants: Sequence[Tenant]) -> None:
    """Add tenants, all of them.

    Raises:
        AlreadyExists: an id is taken.
    """
    rows = [
        (each.tenant_id, each.name, each.record.state.value, each.record.onboarding.value, each.created_at)
        for each in tenants
    ]
    added = {str(row[0]) for row in await connection.fetch(_ADD_TENANTS, *zip(*rows, strict=True))}
    for tenant in tenants:
        if tenant.tenant_id not in added:
            raise AlreadyExists(f"tenant {tenant.tenant_id!r} exists already")


# Billing


async def find_billing(connection: asyncpg.Connection, tenant_id: str) -> BillingRecord | None:
    """The tenant's standing; None where there is none."""
    row = await one(connection, FIND_BILLING, tenant_id)
    return None if row is None else state_rows.billing_record(f"billing of tenant {tenant_id!r}", row)


async def find_standings(connection: asyncpg.Connection, tenant_ids: Iterable[str]) -> Mapping[str, BillingRecord]:
    """Those of many tenants that have one, by id."""
    rows = await connection.fetch(_FIND_STANDINGS, list(filter(is_storable, tenant_ids)))
    return {str(row[2]): state_rows.billing_record(f"billing of tenant {row[2]!r}", tuple(row)) for row in rows}


async def put_standings(connection: asyncpg.Connection, standings: Mapping[str, BillingRecord]) -> None:
    """Set the standing of each tenant."""
    if standings:
        rows = [(tenant_id, each.state.value, each.plan_id) for tenant_id, each in standings.items()]
        await connection.execute(_PUT_BILLING, *zip(*rows, strict=True))


# Credentials


async def find_key(connection: asyncpg.Connection, key_id: str) -> ApiKey | None:
    """The key of that id; None where there is none."""
    row = await one(connection, FIND_KEY, key_id)
    return None if row is None else state_rows.api_key(row)


async def list_keys(connection: asyncpg.Connection, tenant_id: str) -> Sequence[ApiKey]:
    """All keys of a tenant, oldest first."""
    return tuple(map(state_rows.api_key, await _many(connection, _LIST_KEYS, tenant_id)))


async def add_key(connection: asyncpg.Connection, key: ApiKey) -> None:
    """Add a key.

    Raises:
        AlreadyExists: the id is taken.
    """
    if await connection.fetchval(_ADD_KEY, *state_rows.from_api_key(key)) is None:
        raise AlreadyExists(f"key {key.key_id!r} exists already")


async def record_uses(connection: asyncpg.Connection, uses: Sequence[KeyUse]) -> None:
    """Note last-used times and renewed hashes, as `rules.used` has it, without reading the keys first.

    In the order of their ids: two batches at once would otherwise wait for each other for ever.
    """
    rows = sorted((_use_row(use) for use in uses if is_storable(use.key_id)), key=lambda row: str(row[0]))
    await connection.executemany(_RECORD_USE, rows)


def _use_row(use: KeyUse) -> Row:
    if use.secret_hash is None or use.hash_pepper is None:
        return (use.key_id, use.used_at, None, None)
    return (use.key_id, use.used_at, use.secret_hash, use.hash_pepper)


async def live_keys(connection: asyncpg.Connection, tenant_id: str) -> Sequence[str]:
    """The ids of the tenant's live keys, oldest first, whether they can be read or not; locked for the transaction."""
    rows = sorted(await _many(connection, _LIVE_KEYS, tenant_id), key=lambda row: (row[1], row[0]))
    return tuple(str(row[0]) for row in rows)


async def revoke(connection: asyncpg.Connection, tenant_id: str, key_ids: Sequence[str], change: Change) -> None:
    """Revoke keys of a tenant, each audited."""
    if key_ids:
        await connection.execute(_REVOKE, change.at, list(key_ids))
        await note(connection, [rules.audit_key_revoked(tenant_id, key_id, change) for key_id in key_ids])
