"""What a provider server makes of any request, over backends in process."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import lifecycle_pb2 as pb
from extauthz._gen.provider.v1 import protection_pb2
from extauthz.errors import AlreadyExists, ConfigError, ExtauthzError, InvalidRecord, ProviderError, ProviderTimeout
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.remote_change_messages import write_change
from extauthz.providers.remote_tenant_messages import write_lifecycle_answer, write_tenant
from extauthz.providers.serve import Backends, ProviderServer, ServePolicy, ServeTls
from extauthz.providers.serve_calls import AnyServed, BadRequest, Served
from extauthz.testing import VirtualLoop, in_virtual_time
from extauthz.testing.contracts_values import ACME, a_change, a_tenant
from extauthz.testing.fake_replicas import FakeSharedLog
from tests.any_message import any_message

RECORD = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)


def calls(store: MemoryStore | None = None) -> dict[str, AnyServed]:
    """Every call there is, over empty backends, by its method."""
    store = store or MemoryStore()
    log = FakeSharedLog()
    backends = Backends(
        lifecycle=store,
        billing=store,
        credentials=store,
        store=store,
        protection=MemoryProtection(clock=lambda: 1_000.0, wall=lambda: 1_767_268_800.0),
        events=MemoryEvents(),
        changes=log,
        leases=log,
    )
    return {served.rpc.method: served for served in backends.calls(asyncio.Event())}


every_call = pytest.mark.parametrize("method", calls())


def test_every_call_of_the_contracts_can_be_served() -> None:
    table = {each.method for each in vars(rpc).values() if isinstance(each, rpc.Rpc)}
    assert set(calls()) == table


# Any request


@every_call
def test_any_request_is_answered_or_refused(method: str) -> None:
    kind: type[Message] = calls()[method].rpc.request
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        @settings(max_examples=50)
        @given(any_message(kind), any_message(kind))
        def answered(first: Message, second: Message) -> None:
            served = calls()[method]
            for request in (first, second):
                with suppress(ExtauthzError):
                    answer = runner.run(served.answer(request.SerializeToString(), 60.0))
                    served.rpc.answer.FromString(answer)

        answered()


@every_call
def test_any_bytes_are_answered_or_refused(method: str) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        @given(st.binary(max_size=40))
        def answered(request: bytes) -> None:
            with suppress(ExtauthzError):
                runner.run(calls()[method].answer(request, 60.0))

        answered()


@in_virtual_time
async def test_a_request_that_cannot_be_read_is_the_callers_fault() -> None:
    served = calls()
    nobody = admin.CreateTenantRequest(tenant=write_tenant(a_tenant()))
    for method, request in (
        ("FindLifecycle", b"\xff\xff"),
        ("CreateTenant", nobody.SerializeToString()),
        ("TransitionTenant", admin.TransitionTenantRequest(tenant_id=ACME).SerializeToString()),
        ("Charge", protection_pb2.ChargeRequest().SerializeToString()),
        ("Charge", protection_pb2.ChargeRequest(tenant_id=ACME, cost_micros=-1).SerializeToString()),
        ("RecordUsage", protection_pb2.RecordUsageRequest(tenant_id=ACME, cost_micros=1).SerializeToString()),
    ):
        with pytest.raises(BadRequest):
            await served[method].answer(request, 1.0)


# Backends that misbehave


def find(backend: "Lifecycle") -> AnyServed:
    [served] = Backends(lifecycle=backend).calls(asyncio.Event())
    return served


class Lifecycle:
    """A lifecycle provider that answers after a time."""

    def __init__(self, answer: LifecycleRecord | Exception | None, seconds: float = 0.0) -> None:
        self._answer = answer
        self._seconds = seconds
        self.ended = 0

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:  # noqa: ARG002 - it says the same of all
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.ended += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@in_virtual_time
async def test_a_backend_that_hangs_is_left_at_the_callers_deadline() -> None:
    hung = Lifecycle(RECORD, seconds=3600.0)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(ProviderTimeout):
        await find(hung).answer(b"", 0.5)
    assert loop.time() - started == 0.5
    await asyncio.sleep(0)
    assert hung.ended == 1


@in_virtual_time
async def test_a_caller_that_leaves_takes_its_call_along() -> None:
    hung = Lifecycle(RECORD, seconds=3600.0)
    asked = asyncio.ensure_future(find(hung).answer(b"", 60.0))
    await asyncio.sleep(0.1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.sleep(0)
    assert hung.ended == 1


@in_virtual_time
async def test_what_a_backend_raises_is_passed_on() -> None:
    for error in (ProviderError("down"), InvalidRecord("damaged"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            await find(Lifecycle(error)).answer(b"", 1.0)


@in_virtual_time
async def test_a_value_that_cannot_be_written_is_one_records_fault() -> None:
    store = MemoryStore()
    await store.create_tenant(a_tenant(), a_change("\ud800"))
    with pytest.raises(InvalidRecord, match="written"):
        await calls(store)["ListHistory"].answer(admin.ListHistoryRequest(tenant_id=ACME).SerializeToString(), 1.0)


@in_virtual_time
async def test_no_such_tenant_is_said_in_so_many_words() -> None:
    answer = await find(Lifecycle(None)).answer(b"", 1.0)
    assert pb.FindLifecycleResponse.FromString(answer).WhichOneof("answer") == "no_such_tenant"
    assert write_lifecycle_answer(RECORD).WhichOneof("answer") == "record"


@in_virtual_time
async def test_an_import_tells_all_that_are_in_its_way() -> None:
    store = MemoryStore()
    for number in range(2_000):
        await store.create_tenant(a_tenant(f"t{number}", Onboarding.PENDING), a_change())
    request = admin.ImportTenantsRequest(
        tenants=[write_tenant(a_tenant(f"t{number}")) for number in range(2_000)], change=write_change(a_change())
    )
    answer = await calls(store)["ImportTenants"].answer(request.SerializeToString(), 1.0)
    assert len(admin.ImportTenantsResponse.FromString(answer).conflicting_ids) == 2_000


@in_virtual_time
async def test_a_change_that_is_refused_is_refused_by_name() -> None:
    store = MemoryStore()
    request = admin.CreateTenantRequest(tenant=write_tenant(a_tenant()), change=write_change(a_change()))
    served = calls(store)["CreateTenant"]
    await served.answer(request.SerializeToString(), 1.0)
    with pytest.raises(AlreadyExists):
        await served.answer(request.SerializeToString(), 1.0)


# What is served


def test_only_what_there_is_a_backend_for_is_served() -> None:
    store = MemoryStore()
    nothing = ProviderServer("127.0.0.1:0", Backends())
    assert nothing.services == frozenset()
    some = ProviderServer("127.0.0.1:0", Backends(lifecycle=store, events=MemoryEvents()))
    assert some.services == {"extauthz.provider.v1.LifecycleService", "extauthz.provider.v1.EventService"}
    every = ProviderServer("127.0.0.1:0", Backends(store=store))
    assert {name.rpartition(".")[2] for name in every.services} == {
        "AuditService",
        "LifecycleAdminService",
        "BillingAdminService",
        "CredentialAdminService",
    }


@pytest.mark.parametrize("listen", ["", "nowhere", "127.0.0.1:99999", "unix:", "grpc://127.0.0.1:1"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"host:port|unix|port must"):
        ProviderServer(listen, Backends())


def test_connections_end_when_they_are_told_to() -> None:
    assert ("grpc.max_connection_age_ms", 90_000) in ServePolicy(max_connection_age=90.0).options()
    assert not [name for name, _ in ServePolicy().options() if "connection_age" in name]


def test_a_file_for_tls_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"key\.pem cannot be read: No such file"):
        ServeTls(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem").credentials()


@in_virtual_time
async def test_a_call_is_read_asked_and_written_once() -> None:
    asked: list[str] = []

    async def ask(tenant_id: str) -> LifecycleRecord:
        asked.append(tenant_id)
        return RECORD

    served = Served(rpc.FIND_LIFECYCLE, lambda q: ask(q.tenant_id), write_lifecycle_answer)
    answer = await served.answer(pb.FindLifecycleRequest(tenant_id=ACME).SerializeToString(), 1.0)
    assert answer == write_lifecycle_answer(RECORD).SerializeToString()
    assert asked == [ACME]
