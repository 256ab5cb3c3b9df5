"""What a provider server lets in: only what can be managed afterwards, and nothing by a field that was forgotten."""

import asyncio

import pytest
from google.protobuf.message import Message

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import billing_pb2, common_pb2, protection_pb2
from extauthz._gen.provider.v1 import lifecycle_pb2 as pb
from extauthz.model.identity import KeyUse
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.remote_change_messages import write_change
from extauthz.providers.remote_key_messages import write_key, write_uses
from extauthz.providers.remote_tenant_messages import write_lifecycle, write_tenant
from extauthz.providers.serve import Backends
from extauthz.providers.serve_calls import AnyServed, BadRequest
from extauthz.testing import in_virtual_time, run_virtual
from extauthz.testing.contracts_values import ACME, NOW, a_change, a_key, a_tenant
from extauthz.testing.fake_replicas import FakeSharedLog

RECORD = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)


def calls(store: MemoryStore | None = None) -> dict[str, AnyServed]:
    store = store or MemoryStore()
    protection = MemoryProtection(clock=lambda: 1_000.0, wall=lambda: 1_767_268_800.0)
    backends = Backends(lifecycle=store, credentials=store, store=store, protection=protection)
    return {served.rpc.method: served for served in backends.calls(asyncio.Event())}


BAD_IDS = ["", "bad id\n/../*", "x" * 129, "x" * 5_000, "_other", "é", "acme\n", ".", "a b", "a\x00"]
WHO = write_change(a_change())


def creating(tenant_id: str) -> list[tuple[str, Message]]:
    """Requests that would create or change something of that tenant, who can be no operator."""
    record = write_lifecycle(RECORD)
    tenant = admin.Tenant(tenant_id=tenant_id, record=record)
    trial = billing_pb2.BillingRecord(state=billing_pb2.BILLING_STATE_TRIAL)
    good = write_tenant(a_tenant())
    plan = billing_pb2.BillingRecord(state=billing_pb2.BILLING_STATE_TRIAL, plan_id=tenant_id)
    return [
        ("CreateTenant", admin.CreateTenantRequest(tenant=tenant, change=WHO)),
        ("CreateTenant", admin.CreateTenantRequest(tenant=good, change=WHO, billing=plan)),
        ("ImportTenants", admin.ImportTenantsRequest(tenants=[good, tenant], change=WHO)),
        ("ImportTenants", admin.ImportTenantsRequest(tenants=[good], change=WHO, billing={tenant_id: trial})),
        ("SetOnboarding", admin.SetOnboardingRequest(tenant_id=tenant_id, to=pb.ONBOARDING_COMPLETE, change=WHO)),
        (
            "TransitionTenant",
            admin.TransitionTenantRequest(tenant_id=tenant_id, to=pb.LIFECYCLE_STATE_SUSPENDED, change=WHO),
        ),
        ("PlanTermination", admin.PlanTerminationRequest(tenant_id=tenant_id, change=WHO)),
        ("SetBilling", admin.SetBillingRequest(tenant_id=tenant_id, change=WHO)),
        ("SetBilling", admin.SetBillingRequest(tenant_id=ACME, change=WHO, plan_id=tenant_id)),
        ("Charge", protection_pb2.ChargeRequest(tenant_id=tenant_id)),
        ("RecordUsage", protection_pb2.RecordUsageRequest(tenant_id=tenant_id, idempotency_key="once")),
        ("ClearUsage", protection_pb2.ClearUsageRequest(tenant_id=tenant_id)),
    ]


def of_keys(tenant_id: str, key_id: str = "key1") -> list[tuple[str, Message]]:
    """Requests that would change something which an operator may have, too."""
    key = write_key(a_key(key_id, tenant_id))
    return [
        ("IssueKey", admin.IssueKeyRequest(key=key, change=WHO)),
        ("RevokeKey", admin.RevokeKeyRequest(tenant_id=tenant_id, key_id=key_id, change=WHO)),
        ("RevokeAllKeys", admin.RevokeAllKeysRequest(tenant_id=tenant_id, change=WHO)),
        ("AddRecords", admin.AddRecordsRequest(records=[common_pb2.AuditRecord(tenant_id=tenant_id, change=WHO)])),
    ]


@pytest.mark.parametrize("tenant_id", BAD_IDS)
def test_nothing_is_created_that_nobody_could_manage_afterwards(tenant_id: str) -> None:
    store = MemoryStore()
    with_a_bad_key = of_keys(ACME, tenant_id)[:2]
    for method, request in (*creating(tenant_id), *of_keys(tenant_id), *with_a_bad_key):
        with pytest.raises(BadRequest) as refused:
            run_virtual(calls(store)[method].answer(request.SerializeToString(), 1.0))
        assert len(str(refused.value)) < 100, "the id is not repeated"
    assert not run_virtual(store.list_tenants())


@in_virtual_time
async def test_operators_have_keys_and_records_and_are_no_tenant() -> None:
    served = calls()
    for method, request in of_keys("_system"):
        await served[method].answer(request.SerializeToString(), 1.0)
    answer = await served["ListHistory"].answer(admin.ListHistoryRequest(tenant_id="_system").SerializeToString(), 1.0)
    assert len(admin.ListHistoryResponse.FromString(answer).records) == 3  # issued, revoked, and what was added
    for method, request in creating("_system"):
        with pytest.raises(BadRequest):
            await served[method].answer(request.SerializeToString(), 1.0)


@pytest.mark.parametrize("tenant_id", BAD_IDS[1:])
def test_a_look_up_of_what_is_no_id_finds_none(tenant_id: str) -> None:
    served = calls()

    def said(method: str, request: Message) -> Message:
        kind: type[Message] = served[method].rpc.answer
        return kind.FromString(run_virtual(served[method].answer(request.SerializeToString(), 1.0)))

    found = said("FindLifecycle", pb.FindLifecycleRequest(tenant_id=tenant_id))
    assert found == pb.FindLifecycleResponse(no_such_tenant=pb.NoSuchTenant())
    shown = said("GetTenant", admin.GetTenantRequest(tenant_id=tenant_id))
    assert shown == admin.GetTenantResponse(no_such_tenant=pb.NoSuchTenant())
    used = said("GetUsage", protection_pb2.GetUsageRequest(tenant_id=tenant_id))
    assert used == protection_pb2.GetUsageResponse(usage=protection_pb2.Usage())


@in_virtual_time
async def test_who_forgets_a_field_clears_nobody() -> None:
    protection = MemoryProtection(clock=lambda: 1_000.0, wall=lambda: 1_767_268_800.0)
    clearing = {each.rpc.method: each for each in Backends(protection=protection).calls(asyncio.Event())}["ClearUsage"]
    await protection.record_usage(ACME, 7, "once")
    with pytest.raises(BadRequest, match="everybody"):
        await clearing.answer(b"", 1.0)
    assert (await protection.usage(ACME)).cost_today == 7
    everybody = protection_pb2.ClearUsageRequest(all=protection_pb2.AllTenants())
    await clearing.answer(everybody.SerializeToString(), 1.0)
    assert (await protection.usage(ACME)).cost_today == 0


@in_virtual_time
async def test_a_standing_is_left_as_it_was_by_leaving_it_out_and_in_no_other_way() -> None:
    served = calls()["SetBilling"]
    request = admin.SetBillingRequest(tenant_id=ACME, change=WHO, plan_id="pro")
    answer = admin.SetBillingResponse.FromString(await served.answer(request.SerializeToString(), 1.0))
    assert (answer.after.state, answer.after.plan_id) == (billing_pb2.BILLING_STATE_TRIAL, "pro")
    request.state = billing_pb2.BILLING_STATE_UNSPECIFIED
    with pytest.raises(BadRequest, match="number 0"):
        await served.answer(request.SerializeToString(), 1.0)


@in_virtual_time
async def test_a_limit_that_was_left_out_asks_for_one_and_none_is_above_1000() -> None:
    store = MemoryStore()
    for number in range(1_001):
        await store.create_tenant(a_tenant(f"t{number:04}"), a_change())

    async def listed(limit: int) -> int:
        request = admin.ListTenantsRequest(limit=limit)
        answer = await calls(store)["ListTenants"].answer(request.SerializeToString(), 1.0)
        return len(admin.ListTenantsResponse.FromString(answer).tenants)

    assert [await listed(limit) for limit in (0, -1, 1, 7, 1_000, 2**31 - 1)] == [1, 1, 1, 7, 1_000, 1_000]


# Without administration


def read_only(store: MemoryStore) -> dict[str, AnyServed]:
    log, protection = FakeSharedLog(), MemoryProtection(clock=lambda: 1_000.0, wall=lambda: 1_767_268_800.0)
    backends = Backends(
        lifecycle=store,
        billing=store,
        credentials=store,
        store=store,
        protection=protection,
        events=MemoryEvents(),
        changes=log,
        leases=log,
        read_only=True,
    )
    return {served.rpc.method: served for served in backends.calls(asyncio.Event())}


def test_a_server_that_is_read_only_serves_what_requests_need_and_nothing_that_administers() -> None:
    assert set(read_only(MemoryStore())) == {
        *("FindKey", "RecordUses", "FindLifecycle", "FindBilling"),
        *("Charge", "GetUsage", "RecordUsage"),
        *("AppendEvents", "QueryEvents", "GetSize"),
        *("GetLastChange", "ListChanges", "WaitForChange"),
    }


@in_virtual_time
async def test_through_a_server_that_is_read_only_no_key_gets_another_hash() -> None:
    use = KeyUse(key_id="key1", used_at=NOW + 1, secret_hash=b"mine", hash_pepper="pepper-2")
    found = []
    for made in (calls, read_only):
        store = MemoryStore()
        await store.issue_key(a_key(), a_change(), require_active=False)
        await made(store)["RecordUses"].answer(write_uses([use]).SerializeToString(), 1.0)
        key = await store.find_key("key1")
        assert key is not None
        found.append((key.last_used_at, key.secret_hash, key.hash_pepper))
    assert found == [(NOW + 1, b"mine", "pepper-2"), (NOW + 1, b"hash of key1", "pepper-1")]
