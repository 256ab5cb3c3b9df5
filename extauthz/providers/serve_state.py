"""The calls about tenants, standing and keys, answered by any backend of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import credentials_pb2
from extauthz.errors import ImportConflict
from extauthz.model.billing import BillingRecord
from extauthz.model.identity import KeyUse
from extauthz.model.lifecycle import Change, Tenant
from extauthz.ports import (
    AuditTrail,
    BillingProvider,
    BillingStore,
    CredentialProvider,
    CredentialStore,
    LifecycleProvider,
    LifecycleStore,
    StateStore,
)
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote_change_messages import (
    page_limit,
    read_change,
    read_new_id,
    read_owner_id,
    write_audit,
    write_change,
)
from extauthz.providers.remote_key_messages import read_uses, write_key, write_key_answer
from extauthz.providers.remote_tenant_messages import (
    write_billing,
    write_billing_answer,
    write_lifecycle_answer,
    write_standings,
    write_tenant,
    write_tenant_answer,
    write_transition,
)
from extauthz.providers.remote_words import BILLING_STATES, LIFECYCLE_STATES, ONBOARDING
from extauthz.providers.serve_calls import AnyServed, Served
from extauthz.providers.serve_requests import new_audit, new_key, new_plan, new_standing, new_standings, new_tenant

# Look-ups


def lifecycle_calls(provider: LifecycleProvider) -> list[AnyServed]:
    """LifecycleService."""
    return [Served(rpc.FIND_LIFECYCLE, lambda q: provider.find_lifecycle(q.tenant_id), write_lifecycle_answer)]


def billing_calls(provider: BillingProvider) -> list[AnyServed]:
    """BillingService."""
    return [Served(rpc.FIND_BILLING, lambda q: provider.find_billing(q.tenant_id), write_billing_answer)]


def credential_calls(provider: CredentialProvider, *, renewing: bool) -> list[AnyServed]:
    """CredentialService. Without `renewing` a use of a key never replaces its hash."""
    return [
        Served(rpc.FIND_KEY, lambda q: provider.find_key(q.key_id), write_key_answer),
        Served(
            rpc.RECORD_USES,
            lambda q: provider.record_uses(read_uses(q) if renewing else [_time_alone(use) for use in read_uses(q)]),
            lambda _: credentials_pb2.RecordUsesResponse(),
        ),
    ]


def _time_alone(use: KeyUse) -> KeyUse:
    return replace(use, secret_hash=None, hash_pepper=None)


# Administration


def administration_calls(store: StateStore) -> list[AnyServed]:
    """AuditService and the ...AdminService ones."""
    return [*_audit(store), *_tenants(store), *_moves(store), *_billing(store), *_keys(store)]


def _audit(trail: AuditTrail) -> list[AnyServed]:
    return [
        Served(
            rpc.LIST_HISTORY,
            lambda q: trail.history(q.tenant_id),
            lambda records: admin.ListHistoryResponse(records=[write_audit(each) for each in records]),
        ),
        Served(
            rpc.ADD_RECORDS,
            lambda q: trail.note([new_audit(each) for each in q.records]),
            lambda _: admin.AddRecordsResponse(),
        ),
    ]


def _tenants(store: LifecycleStore) -> list[AnyServed]:
    return [
        Served(
            rpc.CREATE_TENANT,
            lambda q: store.create_tenant(
                new_tenant(q.tenant),
                read_change(q.change),
                new_standing(q.billing) if q.HasField("billing") else None,
            ),
            lambda _: admin.CreateTenantResponse(),
        ),
        Served(
            rpc.IMPORT_TENANTS,
            lambda q: _import(
                store, [new_tenant(each) for each in q.tenants], read_change(q.change), new_standings(q.billing)
            ),
            lambda answer: answer,
        ),
        Served(
            rpc.GET_TENANT,
            lambda q: store.get_tenant(q.tenant_id),
            write_tenant_answer,
        ),
        Served(
            rpc.LIST_TENANTS,
            lambda q: store.list_tenants(q.after, page_limit(q.limit)),
            lambda tenants: admin.ListTenantsResponse(tenants=[write_tenant(each) for each in tenants]),
        ),
    ]


async def _import(
    store: LifecycleStore, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord]
) -> admin.ImportTenantsResponse:
    """Which tenants are in the way is part of the answer: metadata has no room for a thousand ids."""
    try:
        return admin.ImportTenantsResponse(added_ids=await store.import_tenants(tenants, change, billing))
    except ImportConflict as conflict:
        return admin.ImportTenantsResponse(conflicting_ids=conflict.ids)


def _moves(store: LifecycleStore) -> list[AnyServed]:
    return [
        Served(
            rpc.SET_ONBOARDING,
            lambda q: store.set_onboarding(read_new_id(q.tenant_id), ONBOARDING.member(q.to), read_change(q.change)),
            lambda moved: admin.SetOnboardingResponse(
                before=ONBOARDING.number(moved[0]), after=ONBOARDING.number(moved[1])
            ),
        ),
        Served(
            rpc.TRANSITION_TENANT,
            lambda q: store.transition(
                read_new_id(q.tenant_id),
                LIFECYCLE_STATES.member(q.to),
                read_change(q.change),
                revoke_keys=q.revoke_keys,
            ),
            write_transition,
        ),
        Served(
            rpc.PLAN_TERMINATION,
            lambda q: store.plan_termination(read_new_id(q.tenant_id), read_change(q.change)),
            lambda planned: admin.PlanTerminationResponse(planned=planned),
        ),
        Served(
            rpc.LIST_PLANNED_TERMINATIONS,
            lambda _: store.planned_terminations(),
            lambda planned: admin.ListPlannedTerminationsResponse(
                terminations=[
                    admin.PlannedTermination(tenant_id=tenant_id, change=write_change(change))
                    for tenant_id, change in planned
                ]
            ),
        ),
    ]


def _billing(store: BillingStore) -> list[AnyServed]:
    return [
        Served(
            rpc.SET_BILLING,
            lambda q: store.set_billing(
                read_new_id(q.tenant_id),
                read_change(q.change),
                state=BILLING_STATES.member(q.state) if q.HasField("state") else None,
                plan_id=new_plan(q),
            ),
            lambda moved: admin.SetBillingResponse(
                before=None if moved[0] is None else write_billing(moved[0]), after=write_billing(moved[1])
            ),
        ),
        Served(
            rpc.FIND_STANDINGS,
            lambda q: store.find_standings(tuple(q.tenant_ids)),
            lambda standings: admin.FindStandingsResponse(standings=write_standings(standings)),
        ),
    ]


def _keys(store: CredentialStore) -> list[AnyServed]:
    return [
        Served(
            rpc.ISSUE_KEY,
            lambda q: store.issue_key(new_key(q.key), read_change(q.change), require_active=q.require_active),
            lambda _: admin.IssueKeyResponse(),
        ),
        Served(
            rpc.LIST_KEYS,
            lambda q: store.list_keys(q.tenant_id),
            lambda keys: admin.ListKeysResponse(keys=[write_key(each) for each in keys]),
        ),
        Served(
            rpc.REVOKE_KEY,
            lambda q: store.revoke_key(read_owner_id(q.tenant_id), read_new_id(q.key_id), read_change(q.change)),
            lambda key: admin.RevokeKeyResponse(key=write_key(key)),
        ),
        Served(
            rpc.REVOKE_ALL_KEYS,
            lambda q: store.revoke_all(read_owner_id(q.tenant_id), read_change(q.change)),
            lambda ids: admin.RevokeAllKeysResponse(key_ids=ids),
        ),
    ]
