"""The changes of the state tables: functions of a connection that is in a transaction, which is theirs alone.

Each takes the tenant's lock first, so that what it reads cannot change before it writes, whether the tenant exists or not.
`origin` is the replica that makes the change. The change log is told last.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.changed import ChangedKind
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import AuditRecord, Change, LifecycleState, Onboarding, Tenant, Transition
from extauthz.providers import postgres_state, rules, state_rows
from extauthz.providers.postgres_changes import tell
from extauthz.providers.postgres_state import FIND_LIFECYCLE
from extauthz.providers.postgres_text import kept, storable
from extauthz.providers.state_rows import PLAN_COLUMNS, Row

_LOCK_TENANT: Final = """
    SELECT pg_advisory_xact_lock_shared(hashtextextended('extauthz tenants', 0)),
        pg_advisory_xact_lock(hashtextextended($1, 4711))
"""
"""All changes of single tenants go together; an import, which would need too many locks, waits for them and they for it."""

_LOCK_TENANTS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('extauthz tenants', 0))"
_SET_STATE: Final = "UPDATE extauthz.tenants SET state = $2 WHERE tenant_id = $1"
_SET_ONBOARDING: Final = "UPDATE extauthz.tenants SET onboarding = $2 WHERE tenant_id = $1"
_PLAN: Final = f"""
    INSERT INTO extauthz.planned_terminations ({PLAN_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id) DO UPDATE SET actor_type = excluded.actor_type, actor_id = excluded.actor_id,
        reason = excluded.reason, at = excluded.at, request_id = excluded.request_id
"""  # noqa: S608 - a constant of ours
_PLANNED: Final = f"SELECT {PLAN_COLUMNS} FROM extauthz.planned_terminations ORDER BY at, tenant_id"  # noqa: S608 - see above
_END_PLAN: Final = "DELETE FROM extauthz.planned_terminations WHERE tenant_id = $1"


async def _lock(connection: asyncpg.Connection, tenant_id: str) -> None:
    await connection.execute(_LOCK_TENANT, storable(tenant_id))


# Lifecycle


async def create_tenant(
    connection: asyncpg.Connection, origin: str, tenant: Tenant, change: Change, billing: BillingRecord | None
) -> None:
    """Add a tenant, and its standing where one is given."""
    await _lock(connection, tenant.tenant_id)
    await postgres_state.add_tenants(connection, [tenant])
    standings = {} if billing is None else {tenant.tenant_id: billing}
    before = await postgres_state.find_standings(connection, standings)
    await _settle(connection, origin, [tenant], change, standings, before)


async def import_tenants(
    connection: asyncpg.Connection,
    origin: str,
    tenants: Sequence[Tenant],
    change: Change,
    standings: Mapping[str, BillingRecord],
) -> Sequence[str]:
    """Add all that are not there yet; the ids of those that were added."""
    await connection.execute(_LOCK_TENANTS)
    ids = {tenant.tenant_id for tenant in tenants}
    there = await postgres_state.get_tenants(connection, ids)
    theirs = await postgres_state.find_standings(connection, ids)
    new = rules.new_tenants(tenants, standings, there, theirs)
    if new:
        await postgres_state.add_tenants(connection, new)
        await _settle(connection, origin, new, change, standings, theirs)
    return tuple(tenant.tenant_id for tenant in new)


async def _settle(
    connection: asyncpg.Connection,
    origin: str,
    tenants: Sequence[Tenant],
    change: Change,
    standings: Mapping[str, BillingRecord],
    before: Mapping[str, BillingRecord],
) -> None:
    """What belongs to new tenants: standing, audit, change log."""
    records: list[AuditRecord] = []
    after = {each.tenant_id: standings[each.tenant_id] for each in tenants if each.tenant_id in standings}
    for tenant in tenants:
        tenant_id = tenant.tenant_id
        records.append(rules.audit_lifecycle(tenant_id, None, tenant.record.state, change))
        if tenant_id in after:
            records.extend(rules.audit_billing(tenant_id, before.get(tenant_id), after[tenant_id], change))
    await postgres_state.put_standings(connection, after)
    await postgres_state.note(connection, records)
    await tell(connection, origin, [(ChangedKind.CREATED, tenant.tenant_id) for tenant in tenants])


async def set_onboarding(
    connection: asyncpg.Connection, origin: str, tenant_id: str, to: Onboarding, change: Change
) -> tuple[Onboarding, Onboarding]:
    """Complete the onboarding."""
    now = state_rows.onboarding(f"tenant {tenant_id!r}", (await _locked_tenant(connection, tenant_id))[1])
    if rules.completes(tenant_id, now, to):
        await connection.execute(_SET_ONBOARDING, tenant_id, to.value)
        await postgres_state.note(connection, [rules.audit_onboarding(tenant_id, now, to, change)])
        await tell(connection, origin, [(ChangedKind.LIFECYCLE, tenant_id)])
    return now, to


async def transition(
    connection: asyncpg.Connection,
    origin: str,
    tenant_id: str,
    to: LifecycleState,
    change: Change,
    *,
    revoke_keys: bool,
) -> Transition:
    """Move a tenant along the table: state, keys, plan and audit together."""
    now = await _locked_state(connection, tenant_id)
    revoked: Sequence[str] = ()
    if to is LifecycleState.TERMINATED:
        await connection.execute(_END_PLAN, tenant_id)
    if rules.moves(tenant_id, now, to):
        await connection.execute(_SET_STATE, tenant_id, to.value)
        await postgres_state.note(connection, [rules.audit_lifecycle(tenant_id, now, to, change)])
        if revoke_keys and to is LifecycleState.TERMINATED:
            revoked = await _revoke_live(connection, tenant_id, change)
        await tell(connection, origin, [(ChangedKind.LIFECYCLE, tenant_id), *_keys(revoked)])
    return Transition(tenant_id=tenant_id, from_state=now, to_state=to, revoked_keys=len(revoked))


async def plan_termination(connection: asyncpg.Connection, tenant_id: str, change: Change) -> bool:
    """Keep in mind that a termination has begun."""
    now = await _locked_state(connection, tenant_id)
    planned = rules.moves(tenant_id, now, LifecycleState.TERMINATED)
    if planned:
        await connection.execute(_PLAN, *map(kept, state_rows.from_termination_plan(tenant_id, change)))
    return planned


async def planned_terminations(connection: asyncpg.Connection) -> Sequence[Row]:
    """Terminations that were begun and not finished: rows of PLAN_COLUMNS."""
    return [tuple(row) for row in await connection.fetch(_PLANNED)]


async def _locked_state(connection: asyncpg.Connection, tenant_id: str) -> LifecycleState:
    return state_rows.lifecycle_state(f"tenant {tenant_id!r}", (await _locked_tenant(connection, tenant_id))[0])


async def _locked_tenant(connection: asyncpg.Connection, tenant_id: str) -> Row:
    await _lock(connection, tenant_id)
    row = await postgres_state.one(connection, FIND_LIFECYCLE, tenant_id)
    if row is None:
        raise rules.no_tenant(tenant_id)
    return row


# Billing


async def set_billing(
    connection: asyncpg.Connection,
    origin: str,
    tenant_id: str,
    change: Change,
    state: BillingState | None,
    plan_id: str | None,
) -> tuple[BillingRecord | None, BillingRecord]:
    """Set standing, plan or both."""
    await _lock(connection, tenant_id)
    before = await postgres_state.find_billing(connection, tenant_id)
    after = rules.merged(before, state, plan_id)
    records = rules.audit_billing(tenant_id, before, after, change)
    if records:
        await postgres_state.put_standings(connection, {tenant_id: after})
        await postgres_state.note(connection, records)
        await tell(connection, origin, [(ChangedKind.BILLING, tenant_id)])
    return before, after


# Credentials


async def issue_key(
    connection: asyncpg.Connection, origin: str, key: ApiKey, change: Change, *, require_active: bool
) -> None:
    """Add a key; with `require_active` only for a tenant that is ACTIVE at this moment, and stays so until the key is there."""
    await _lock(connection, key.tenant_id)
    if require_active:
        record = await postgres_state.find_lifecycle(connection, key.tenant_id)
        rules.require_active(key.tenant_id, None if record is None else record.state)
    await postgres_state.add_key(connection, key)
    await postgres_state.note(connection, [rules.audit_key_issued(key.tenant_id, key.key_id, change)])
    await tell(connection, origin, _keys([key.key_id]))


async def revoke_key(
    connection: asyncpg.Connection, origin: str, tenant_id: str, key_id: str, change: Change
) -> ApiKey:
    """Revoke one key; the key as it is now."""
    await _lock(connection, tenant_id)
    key = await postgres_state.find_key(connection, key_id)
    if key is None or key.tenant_id != tenant_id:
        raise rules.no_key(tenant_id, key_id)
    if key.revoked_at is not None:
        return key
    await postgres_state.revoke(connection, tenant_id, [key_id], change)
    await tell(connection, origin, _keys([key_id]))
    return await postgres_state.find_key(connection, key_id) or key


async def revoke_all(connection: asyncpg.Connection, origin: str, tenant_id: str, change: Change) -> Sequence[str]:
    """Revoke every live key of the tenant, those that can't be read too; the ids of those that were live."""
    await _lock(connection, tenant_id)
    live = await _revoke_live(connection, tenant_id, change)
    await tell(connection, origin, _keys(live))
    return live


async def _revoke_live(connection: asyncpg.Connection, tenant_id: str, change: Change) -> Sequence[str]:
    live = await postgres_state.live_keys(connection, tenant_id)
    await postgres_state.revoke(connection, tenant_id, live, change)
    return live


def _keys(key_ids: Sequence[str]) -> list[tuple[ChangedKind, str]]:
    return [(ChangedKind.KEY, key_id) for key_id in key_ids]
