"""Many tenants at once, in and out of the state database."""

import sqlite3
from collections.abc import Mapping, Sequence

from extauthz.model.billing import BillingRecord
from extauthz.model.lifecycle import Change, Tenant
from extauthz.providers import rules, sqlite_state
from extauthz.providers.sqlite_writing import Writing


def import_tenants(
    writing: Writing, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord]
) -> Sequence[str]:
    """Add all that are not there yet, with their standings; the ids of those that were added."""
    ids = [tenant.tenant_id for tenant in tenants]
    found = (sqlite_state.get_tenant(writing.connection, tenant_id) for tenant_id in dict.fromkeys(ids))
    there = {tenant.tenant_id: tenant for tenant in found if tenant is not None}
    theirs = find_standings(writing.connection, [tenant_id for tenant_id in there if tenant_id in billing])
    new = rules.new_tenants(tenants, billing, there, theirs)
    for tenant in new:
        sqlite_state.add_tenant(writing, tenant, change, billing.get(tenant.tenant_id))
    return tuple(tenant.tenant_id for tenant in new)


def find_standings(connection: sqlite3.Connection, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
    """The standings of many tenants, each by its primary key: with the ids as JSON, SQLite would cut them at a NUL."""
    found = ((tenant_id, sqlite_state.find_billing(connection, tenant_id)) for tenant_id in dict.fromkeys(tenant_ids))
    return {tenant_id: record for tenant_id, record in found if record is not None}
