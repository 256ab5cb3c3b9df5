"""What a change comes to, told from what stands and what is wanted: pure, the same for every store, with the audit's words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from extauthz.errors import ImportConflict, InvalidTransition, NotFound, TenantNotActive
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.event import EventType
from extauthz.model.identity import ApiKey, KeyUse
from extauthz.model.lifecycle import TRANSITIONS, AuditRecord, Change, LifecycleState, Onboarding, Tenant

KEY_ISSUED: Final = "api_key_issued"
KEY_REVOKED: Final = "api_key_revoked"


def moves(tenant_id: str, now: LifecycleState, to: LifecycleState) -> bool:
    """Whether the move changes anything; the same state again does not (OFFBOARD-001).

    Raises:
        InvalidTransition: the table has no such move (OFFBOARD-001 to -003).
    """
    if now is to:
        return False
    if to not in TRANSITIONS[now]:
        raise InvalidTransition(f"tenant {tenant_id!r} is {now.value} and cannot become {to.value}")
    return True


def completes(tenant_id: str, now: Onboarding, to: Onboarding) -> bool:
    """Whether onboarding is completed by this; the same again changes nothing.

    Raises:
        InvalidTransition: back to PENDING.
    """
    if now is to:
        return False
    if to is Onboarding.PENDING:
        raise InvalidTransition(f"the onboarding of tenant {tenant_id!r} is {now.value} and never goes back")
    return True


def require_active(tenant_id: str, state: LifecycleState | None) -> None:
    """No new credential unless the tenant is ACTIVE (OFFBOARD-007). `state` None: there is no such tenant.

    Raises:
        NotFound: no such tenant.
        TenantNotActive: it is in another state.
    """
    if state is None:
        raise no_tenant(tenant_id)
    if state is not LifecycleState.ACTIVE:
        raise TenantNotActive(f"tenant {tenant_id!r} is {state.value}; only an ACTIVE tenant gets new keys")


def no_tenant(tenant_id: str) -> NotFound:
    """The error for a tenant that is not there."""
    return NotFound(f"there is no tenant {tenant_id!r}")


def no_key(tenant_id: str, key_id: str) -> NotFound:
    """The error for a key that the tenant does not have."""
    return NotFound(f"tenant {tenant_id!r} has no key {key_id!r}")


def same_tenant(given: Tenant, standing: BillingRecord | None, there: Tenant, its: BillingRecord | None) -> bool:
    """Whether an imported tenant is the one that is there: name, record, and standing where one is given."""
    same = (given.name, given.record) == (there.name, there.record)
    return same and (standing is None or standing == its)


def new_tenants(
    given: Sequence[Tenant],
    standings: Mapping[str, BillingRecord],
    there: Mapping[str, Tenant],
    theirs: Mapping[str, BillingRecord],
) -> Sequence[Tenant]:
    """The tenants of an import that are not there yet, each once, in the order given.

    `standings` are those that are imported with them, `there` and `theirs` the tenants that exist, with their standings.

    Raises:
        ImportConflict: some exist, or came before in the same import, and are not the same.
    """
    new: dict[str, Tenant] = {}
    conflicts: dict[str, None] = {}
    for tenant in given:
        tenant_id = tenant.tenant_id
        standing = standings.get(tenant_id)
        its = theirs.get(tenant_id) if tenant_id in there else standing
        known = there.get(tenant_id) or new.setdefault(tenant_id, tenant)
        if not same_tenant(tenant, standing, known, its):
            conflicts[tenant_id] = None
    if conflicts:
        raise ImportConflict(tuple(conflicts))
    return tuple(new.values())


def merged(before: BillingRecord | None, state: BillingState | None, plan_id: str | None) -> BillingRecord:
    """The standing after a change; None leaves a part as it was, and what never was is `TRIAL` on the default plan."""
    base = before or BillingRecord(state=BillingState.TRIAL)
    return BillingRecord(state=state or base.state, plan_id=base.plan_id if plan_id is None else plan_id)


def used(key: ApiKey, use: KeyUse) -> ApiKey:
    """The key after a use, with its renewed hash if there is one; an older use than the last changes nothing."""
    if key.last_used_at is not None and use.used_at < key.last_used_at:
        return key
    if use.secret_hash is None or use.hash_pepper is None:
        return replace(key, last_used_at=use.used_at)
    return replace(key, last_used_at=use.used_at, secret_hash=use.secret_hash, hash_pepper=use.hash_pepper)


# Audit records


def audit_lifecycle(
    tenant_id: str, before: LifecycleState | None, after: LifecycleState, change: Change
) -> AuditRecord:
    """Of a lifecycle change; `before` None for a new tenant."""
    what = EventType.TENANT_LIFECYCLE_TRANSITION
    return _record(tenant_id, what, before.value if before else "", after.value, change)


def audit_onboarding(tenant_id: str, before: Onboarding, after: Onboarding, change: Change) -> AuditRecord:
    """Of an onboarding change."""
    return _record(tenant_id, EventType.ONBOARDING_STATE_TRANSITION, before.value, after.value, change)


def audit_billing(
    tenant_id: str, before: BillingRecord | None, after: BillingRecord, change: Change
) -> tuple[AuditRecord, ...]:
    """Of a billing change: one record for the state, one for the plan, none for what stayed as it was (BILLING-004)."""
    state, plan = (before.state.value, before.plan_id or "") if before else ("", "")
    pairs = (
        (EventType.BILLING_STATE_CHANGED, state, after.state.value),
        (EventType.BILLING_PLAN_ASSIGNED, plan, after.plan_id or ""),
    )
    return tuple(_record(tenant_id, what, old, new, change) for what, old, new in pairs if old != new)


def audit_key_issued(tenant_id: str, key_id: str, change: Change) -> AuditRecord:
    """Of a new key."""
    return _record(tenant_id, KEY_ISSUED, "", key_id, change)


def audit_key_revoked(tenant_id: str, key_id: str, change: Change) -> AuditRecord:
    """Of a key that ended."""
    return _record(tenant_id, KEY_REVOKED, key_id, "", change)


def _record(tenant_id: str, what: str, before: str, after: str, change: Change) -> AuditRecord:
    return AuditRecord(tenant_id=tenant_id, what=str(what), before=before, after=after, change=change)
