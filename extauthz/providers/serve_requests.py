"""Requests that create something, read more strictly than answers are: what is let in must be manageable afterwards."""

from collections.abc import Mapping

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import billing_pb2, common_pb2, credentials_pb2
from extauthz.model.billing import BillingRecord
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import AuditRecord, Tenant
from extauthz.providers.remote_change_messages import read_audit, read_new_id, read_owner_id
from extauthz.providers.remote_key_messages import read_key
from extauthz.providers.remote_tenant_messages import read_billing, read_tenant

# Every one of them raises InvalidRecord where the message cannot be read or an id in it is none.


def new_tenant(message: admin.Tenant) -> Tenant:
    """A tenant to add; `_system` is none."""
    read_new_id(message.tenant_id)
    return read_tenant(message)


def new_standing(message: billing_pb2.BillingRecord) -> BillingRecord:
    """The standing of a new tenant."""
    new_plan(message)
    return read_billing(message)


def new_plan(message: billing_pb2.BillingRecord | admin.SetBillingRequest) -> str | None:
    """The plan to put a tenant on; None: none was named."""
    return read_new_id(message.plan_id) if message.HasField("plan_id") else None


def new_standings(messages: Mapping[str, billing_pb2.BillingRecord]) -> dict[str, BillingRecord]:
    """The standings of new tenants by their ids."""
    return {read_new_id(tenant_id): new_standing(message) for tenant_id, message in messages.items()}


def new_key(message: credentials_pb2.ApiKey) -> ApiKey:
    """A key to add, of a tenant or of `_system`."""
    read_new_id(message.key_id)
    read_owner_id(message.tenant_id)
    return read_key(message)


def new_audit(message: common_pb2.AuditRecord) -> AuditRecord:
    """An audit record to add, of a tenant or of `_system`."""
    read_owner_id(message.tenant_id)
    return read_audit(message)
