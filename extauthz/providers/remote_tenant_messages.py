"""Tenants and their standing as messages of the provider contracts, and back. What has been sent by others is checked here."""

from collections.abc import Mapping

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import billing_pb2, lifecycle_pb2
from extauthz.errors import InvalidRecord
from extauthz.model.billing import BillingRecord
from extauthz.model.lifecycle import LifecycleRecord, Tenant, Transition
from extauthz.providers.remote_change_messages import read_id, read_time
from extauthz.providers.remote_words import BILLING_STATES, LIFECYCLE_STATES, ONBOARDING


def write_lifecycle(record: LifecycleRecord) -> lifecycle_pb2.LifecycleRecord:
    """A lifecycle record."""
    return lifecycle_pb2.LifecycleRecord(
        state=LIFECYCLE_STATES.number(record.state), onboarding=ONBOARDING.number(record.onboarding)
    )


def read_lifecycle(message: lifecycle_pb2.LifecycleRecord) -> LifecycleRecord:
    """A lifecycle record.

    Raises:
        InvalidRecord: a state that is not known here.
    """
    return LifecycleRecord(
        state=LIFECYCLE_STATES.member(message.state), onboarding=ONBOARDING.member(message.onboarding)
    )


def write_lifecycle_answer(record: LifecycleRecord | None) -> lifecycle_pb2.FindLifecycleResponse:
    """The answer to a look-up; None: there is no such tenant."""
    if record is None:
        return lifecycle_pb2.FindLifecycleResponse(no_such_tenant=lifecycle_pb2.NoSuchTenant())
    return lifecycle_pb2.FindLifecycleResponse(record=write_lifecycle(record))


def read_lifecycle_answer(message: lifecycle_pb2.FindLifecycleResponse) -> LifecycleRecord | None:
    """The answer to a look-up; None: there is no such tenant.

    Raises:
        InvalidRecord: it cannot be read, or says nothing.
    """
    match message.WhichOneof("answer"):
        case "record":
            return read_lifecycle(message.record)
        case "no_such_tenant":
            return None
    raise InvalidRecord("an answer says neither what the tenant's record is nor that there is none")


def write_tenant(tenant: Tenant) -> admin.Tenant:
    """A tenant."""
    return admin.Tenant(
        tenant_id=tenant.tenant_id,
        name=tenant.name,
        record=write_lifecycle(tenant.record),
        created_at=tenant.created_at,
    )


def read_tenant(message: admin.Tenant) -> Tenant:
    """A tenant.

    Raises:
        InvalidRecord: it cannot be read.
    """
    return Tenant(
        tenant_id=read_id(message.tenant_id),
        name=message.name,
        record=read_lifecycle(message.record),
        created_at=read_time(message.created_at),
    )


def write_tenant_answer(tenant: Tenant | None) -> admin.GetTenantResponse:
    """The answer to the question for a tenant; None: there is no such tenant."""
    if tenant is None:
        return admin.GetTenantResponse(no_such_tenant=lifecycle_pb2.NoSuchTenant())
    return admin.GetTenantResponse(tenant=write_tenant(tenant))


def read_tenant_answer(message: admin.GetTenantResponse) -> Tenant | None:
    """The answer to the question for a tenant; None: there is no such tenant.

    Raises:
        InvalidRecord: it cannot be read, or says nothing.
    """
    match message.WhichOneof("answer"):
        case "tenant":
            return read_tenant(message.tenant)
        case "no_such_tenant":
            return None
    raise InvalidRecord("an answer says neither what the tenant is nor that there is none")


def write_transition(made: Transition) -> admin.TransitionTenantResponse:
    """A move; the tenant is the one that was asked for."""
    return admin.TransitionTenantResponse(
        before=LIFECYCLE_STATES.number(made.from_state),
        after=LIFECYCLE_STATES.number(made.to_state),
        revoked_keys=made.revoked_keys,
    )


def read_transition(tenant_id: str, message: admin.TransitionTenantResponse) -> Transition:
    """A move of that tenant.

    Raises:
        InvalidRecord: a state that is not known here.
    """
    return Transition(
        tenant_id=tenant_id,
        from_state=LIFECYCLE_STATES.member(message.before),
        to_state=LIFECYCLE_STATES.member(message.after),
        revoked_keys=message.revoked_keys,
    )


# Billing


def write_billing(record: BillingRecord) -> billing_pb2.BillingRecord:
    """A billing record."""
    return billing_pb2.BillingRecord(state=BILLING_STATES.number(record.state), plan_id=record.plan_id)


def read_billing(message: billing_pb2.BillingRecord) -> BillingRecord:
    """A billing record.

    Raises:
        InvalidRecord: a state that is not known here.
    """
    return BillingRecord(
        state=BILLING_STATES.member(message.state), plan_id=message.plan_id if message.HasField("plan_id") else None
    )


def write_billing_answer(record: BillingRecord | None) -> billing_pb2.FindBillingResponse:
    """The answer to a look-up; None: billing knows no such tenant."""
    if record is None:
        return billing_pb2.FindBillingResponse(no_standing=billing_pb2.NoStanding())
    return billing_pb2.FindBillingResponse(record=write_billing(record))


def read_billing_answer(message: billing_pb2.FindBillingResponse) -> BillingRecord | None:
    """The answer to a look-up; None: billing knows no such tenant.

    Raises:
        InvalidRecord: it cannot be read, or says nothing.
    """
    match message.WhichOneof("answer"):
        case "record":
            return read_billing(message.record)
        case "no_standing":
            return None
    raise InvalidRecord("an answer says neither what the tenant's standing is nor that there is none")


def write_standings(standings: Mapping[str, BillingRecord]) -> dict[str, billing_pb2.BillingRecord]:
    """Billing records by tenant id."""
    return {tenant_id: write_billing(record) for tenant_id, record in standings.items()}


def read_standings(messages: Mapping[str, billing_pb2.BillingRecord]) -> dict[str, BillingRecord]:
    """Billing records by tenant id.

    Raises:
        InvalidRecord: one of them cannot be read.
    """
    return {tenant_id: read_billing(message) for tenant_id, message in messages.items()}
