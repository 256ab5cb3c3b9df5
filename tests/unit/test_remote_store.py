"""Remote providers whose server says whatever it likes: the answer is a value or one of our errors."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from extauthz._gen.provider.v1 import administration_pb2 as admin
from extauthz._gen.provider.v1 import credentials_pb2, events_pb2, lifecycle_pb2, replicas_pb2
from extauthz.errors import ImportConflict, InvalidRecord, NotSupported, ProviderError, ProviderTimeout
from extauthz.model.billing import Limits
from extauthz.model.event import EventQuery
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.model.protection import CHARGED, Charge
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote import RemoteChannel, RemoteEvents, RemoteProtection, RemoteStore, RemoteTimeouts
from extauthz.providers.remote_rpc import Rpc
from extauthz.testing import VirtualLoop, in_virtual_time, run_virtual
from extauthz.testing.contracts_audit import a_record
from extauthz.testing.contracts_events import make_event
from extauthz.testing.contracts_values import ACME, a_change, a_key, a_tenant
from tests.any_message import any_message


class Scripted(RemoteChannel):
    """Answers every call with the same bytes, or with an error."""

    def __init__(self, answer: bytes | Exception = b"") -> None:
        super().__init__("grpc://nobody:1")
        self.answer = answer
        self.calls: list[tuple[str, bytes, float]] = []

    async def _call(self, rpc: Rpc[Any, Any], message: bytes, seconds: float) -> bytes:
        self.calls.append((rpc.path, message, seconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


CHARGE = Charge(tenant_id=ACME, limits=Limits(rate=1), blocking=frozenset(CHARGED))
QUERY = EventQuery(tenant_id=ACME, start=0.0, end=1.0)

Call = Callable[[RemoteChannel], Awaitable[object]]
CALLS: dict[Rpc[Any, Any], Call] = {
    rpc.FIND_KEY: lambda at: RemoteStore(at).find_key("key1"),
    rpc.RECORD_USES: lambda at: RemoteStore(at).record_uses([]),
    rpc.FIND_LIFECYCLE: lambda at: RemoteStore(at).find_lifecycle(ACME),
    rpc.FIND_BILLING: lambda at: RemoteStore(at).find_billing(ACME),
    rpc.CHARGE: lambda at: RemoteProtection(at).charge(CHARGE),
    rpc.GET_USAGE: lambda at: RemoteProtection(at).usage(ACME),
    rpc.RECORD_USAGE: lambda at: RemoteProtection(at).record_usage(ACME, 1, "once"),
    rpc.CLEAR_USAGE: lambda at: RemoteProtection(at).clear(None),
    rpc.APPEND_EVENTS: lambda at: RemoteEvents(at).append([make_event(1)]),
    rpc.QUERY_EVENTS: lambda at: RemoteEvents(at).query(QUERY),
    rpc.GET_SIZE: lambda at: RemoteEvents(at).size_bytes(),
    rpc.LIST_HISTORY: lambda at: RemoteStore(at).history(ACME),
    rpc.ADD_RECORDS: lambda at: RemoteStore(at).note([a_record(ACME, "cleared")]),
    rpc.CREATE_TENANT: lambda at: RemoteStore(at).create_tenant(a_tenant(), a_change()),
    rpc.IMPORT_TENANTS: lambda at: RemoteStore(at).import_tenants([a_tenant()], a_change()),
    rpc.GET_TENANT: lambda at: RemoteStore(at).get_tenant(ACME),
    rpc.LIST_TENANTS: lambda at: RemoteStore(at).list_tenants(),
    rpc.SET_ONBOARDING: lambda at: RemoteStore(at).set_onboarding(ACME, Onboarding.COMPLETE, a_change()),
    rpc.TRANSITION_TENANT: lambda at: RemoteStore(at).transition(
        ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=True
    ),
    rpc.PLAN_TERMINATION: lambda at: RemoteStore(at).plan_termination(ACME, a_change()),
    rpc.LIST_PLANNED_TERMINATIONS: lambda at: RemoteStore(at).planned_terminations(),
    rpc.SET_BILLING: lambda at: RemoteStore(at).set_billing(ACME, a_change(), plan_id="pro"),
    rpc.FIND_STANDINGS: lambda at: RemoteStore(at).find_standings([ACME]),
    rpc.ISSUE_KEY: lambda at: RemoteStore(at).issue_key(a_key(), a_change(), require_active=True),
    rpc.LIST_KEYS: lambda at: RemoteStore(at).list_keys(ACME),
    rpc.REVOKE_KEY: lambda at: RemoteStore(at).revoke_key(ACME, "key1", a_change()),
    rpc.REVOKE_ALL_KEYS: lambda at: RemoteStore(at).revoke_all(ACME, a_change()),
    rpc.GET_LAST_CHANGE: lambda at: RemoteStore(at).last_change(),
    rpc.LIST_CHANGES: lambda at: RemoteStore(at).changes_after(0),
    rpc.WAIT_FOR_CHANGE: lambda at: RemoteStore(at).wait_for_change(0.0),
    rpc.RENEW_LEASE: lambda at: RemoteStore(at).renew_lease("one", 1, 3.0),
    rpc.END_LEASE: lambda at: RemoteStore(at).end_lease("one"),
    rpc.LIST_REPLICAS_BEHIND: lambda at: RemoteStore(at).replicas_behind(1),
}
every_call = pytest.mark.parametrize("each", CALLS, ids=lambda each: each.method)


async def made(each: Rpc[Any, Any], channel: RemoteChannel) -> object:
    return await CALLS[each](channel)


@every_call
def test_any_message_is_a_value_or_an_invalid_record(each: Rpc[Any, Message]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        @given(any_message(each.answer))
        def answered(answer: Message) -> None:
            with suppress(InvalidRecord, ImportConflict):
                runner.run(made(each, Scripted(answer.SerializeToString())))

        answered()


@every_call
def test_any_bytes_are_a_value_or_an_invalid_record(each: Rpc[Any, Any]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        @given(st.binary(max_size=40))
        def answered(answer: bytes) -> None:
            with suppress(InvalidRecord, ImportConflict):
                runner.run(made(each, Scripted(answer)))

        answered()


@every_call
def test_every_call_asks_what_it_says_and_once(each: Rpc[Any, Any]) -> None:
    channel = Scripted(ProviderError("down"))
    with suppress(ProviderError):
        run_virtual(made(each, channel))
    [(path, message, _)] = channel.calls
    assert path == each.path
    each.request.FromString(message)


@in_virtual_time
async def test_each_look_up_has_the_deadline_of_its_provider() -> None:
    channel = Scripted(ProviderError("down"))
    timeouts = RemoteTimeouts(lifecycle=0.1, billing=0.2, credentials=0.3, changes=4.0)
    store = RemoteStore(channel, timeouts=timeouts)
    protection = RemoteProtection(channel, timeout=0.5, changes=6.0)
    events = RemoteEvents(channel, emit_timeout=0.7, query_timeout=8.0)
    for call in (
        store.find_lifecycle(ACME),
        store.find_billing(ACME),
        store.find_key("k"),
        store.get_tenant(ACME),
        protection.charge(CHARGE),
        protection.usage(ACME),
        events.append([]),
        events.query(QUERY),
    ):
        with pytest.raises(ProviderError):
            await call
    assert [seconds for _, _, seconds in channel.calls] == [0.1, 0.2, 0.3, 4.0, 0.5, 6.0, 0.7, 8.0]


@in_virtual_time
async def test_what_cannot_be_written_is_never_sent() -> None:
    channel = Scripted()
    for call in (
        RemoteStore(channel).find_lifecycle("\ud800"),
        RemoteStore(channel).create_tenant(a_tenant("\ud800"), a_change()),
        RemoteProtection(channel).record_usage(ACME, 2**63, "once"),
    ):
        with pytest.raises(InvalidRecord, match="written"):
            await call
    assert channel.calls == []


@in_virtual_time
async def test_the_record_of_another_is_none_of_the_one_that_was_asked_for() -> None:
    """A key of tenant B under the id of tenant A would let A's caller in as B."""
    key = credentials_pb2.ApiKey(key_id="key2", tenant_id="other")
    with pytest.raises(InvalidRecord, match="another"):
        await RemoteStore(Scripted(credentials_pb2.FindKeyResponse(key=key).SerializeToString())).find_key("key1")
    record = lifecycle_pb2.LifecycleRecord(
        state=lifecycle_pb2.LIFECYCLE_STATE_ACTIVE, onboarding=lifecycle_pb2.ONBOARDING_COMPLETE
    )
    tenant = admin.GetTenantResponse(tenant=admin.Tenant(tenant_id="other", record=record))
    with pytest.raises(InvalidRecord, match="another"):
        await RemoteStore(Scripted(tenant.SerializeToString())).get_tenant(ACME)


@in_virtual_time
async def test_a_page_has_1_to_1000_and_none_is_not_asked_for() -> None:
    channel = Scripted()
    store, events = RemoteStore(channel), RemoteEvents(channel)
    for limit in (0, -1):
        assert not await store.list_tenants(limit=limit)
        assert not await store.changes_after(0, limit)
        assert not await events.query(replace(QUERY, limit=limit))
    assert channel.calls == []
    await store.list_tenants(limit=2**40)
    await store.changes_after(0, 2**40)
    await events.query(replace(QUERY, limit=2**40))
    kinds: tuple[Any, ...] = (admin.ListTenantsRequest, replicas_pb2.ListChangesRequest, events_pb2.QueryEventsRequest)
    asked = [kind.FromString(message) for kind, (_, message, _) in zip(kinds, channel.calls, strict=True)]
    assert [each.limit for each in asked] == [1000, 1000, 1000]


@in_virtual_time
async def test_what_an_operator_leaves_as_it_was_is_not_sent() -> None:
    channel = Scripted(ProviderError("down"))
    with pytest.raises(ProviderError):
        await RemoteStore(channel).set_billing(ACME, a_change(), plan_id="pro")
    sent = admin.SetBillingRequest.FromString(channel.calls[0][1])
    assert (sent.HasField("state"), sent.plan_id) == (False, "pro")


@in_virtual_time
async def test_a_size_that_is_not_served_is_not_known() -> None:
    assert await RemoteEvents(Scripted(NotSupported("no"))).size_bytes() == 0


# Waiting for changes


@pytest.mark.parametrize("error", [ProviderError("down"), NotSupported("no"), InvalidRecord("odd")])
def test_a_wait_that_does_not_work_neither_raises_nor_hurries(error: Exception) -> None:
    assert waited(error, 30.0) == 0.5
    assert waited(error, 0.125) == 0.125


def test_a_wait_whose_time_is_up_has_waited_already() -> None:
    assert waited(ProviderTimeout("late"), 30.0) == 0.0


def waited(error: Exception, seconds: float) -> float:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await RemoteStore(Scripted(error)).wait_for_change(seconds)
        return loop.time() - started

    return run_virtual(main())


@in_virtual_time
async def test_a_wait_begins_after_what_was_seen_last() -> None:
    """So a change between the look and the wait ends it at once."""
    channel = Scripted()
    store = RemoteStore(channel)

    async def after() -> int:
        await store.wait_for_change(1.0)
        return replicas_pb2.WaitForChangeRequest.FromString(channel.calls[-1][1]).after

    assert await after() == 0
    channel.answer = replicas_pb2.GetLastChangeResponse(seq=7).SerializeToString()
    await store.last_change()
    channel.answer = b""
    assert await after() == 7
    change = replicas_pb2.StoredChange(seq=9, kind=replicas_pb2.CHANGED_KIND_KEY, id="key1")
    channel.answer = replicas_pb2.ListChangesResponse(changes=[change]).SerializeToString()
    assert [each.seq for each in await store.changes_after(7)] == [9]
    channel.answer = b""
    assert await after() == 9
    await store.changes_after(9)
    assert await after() == 9
