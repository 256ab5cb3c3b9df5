"""The calls about limits, events and replicas, answered by any backend of ours."""

import asyncio
from typing import Final

from extauthz._gen.provider.v1 import events_pb2, protection_pb2, replicas_pb2
from extauthz.ports import ChangeLog, EventStore, ProtectionProvider, ReplicaLeases
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.remote_change_messages import (
    page_limit,
    read_id,
    read_idempotency_key,
    read_new_id,
    read_time,
)
from extauthz.providers.remote_event_messages import read_event, read_query, write_changes, write_event
from extauthz.providers.remote_protection_messages import (
    read_charge,
    read_clearing,
    read_count,
    write_result,
    write_usage,
)
from extauthz.providers.serve_calls import AnyServed, Served

_LONGEST_WAIT: Final = 30.0


def protection_calls(provider: ProtectionProvider) -> list[AnyServed]:
    """ProtectionService."""
    return [
        Served(rpc.CHARGE, lambda q: provider.charge(read_charge(q)), write_result),
        Served(
            rpc.GET_USAGE,
            lambda q: provider.usage(read_id(q.tenant_id)),
            lambda usage: protection_pb2.GetUsageResponse(usage=write_usage(usage)),
        ),
        Served(
            rpc.RECORD_USAGE,
            lambda q: provider.record_usage(
                read_new_id(q.tenant_id), read_count(q.cost_micros), read_idempotency_key(q.idempotency_key)
            ),
            lambda usage: protection_pb2.RecordUsageResponse(usage=write_usage(usage)),
        ),
        Served(
            rpc.CLEAR_USAGE,
            lambda q: provider.clear(read_clearing(q)),
            lambda _: protection_pb2.ClearUsageResponse(),
        ),
    ]


def event_calls(store: EventStore) -> list[AnyServed]:
    """EventService."""
    return [
        Served(
            rpc.APPEND_EVENTS,
            lambda q: store.append([read_event(each) for each in q.events]),
            lambda _: events_pb2.AppendEventsResponse(),
        ),
        Served(
            rpc.QUERY_EVENTS,
            lambda q: store.query(read_query(q)),
            lambda events: events_pb2.QueryEventsResponse(events=[write_event(each) for each in events]),
        ),
        Served(rpc.GET_SIZE, lambda _: store.size_bytes(), lambda size: events_pb2.GetSizeResponse(bytes=size)),
    ]


def change_calls(log: ChangeLog, stopping: asyncio.Event) -> list[AnyServed]:
    """ChangeService. Who waits for a change is answered at once when the server is `stopping`."""
    return [
        Served(
            rpc.GET_LAST_CHANGE,
            lambda _: log.last_change(),
            lambda seq: replicas_pb2.GetLastChangeResponse(seq=seq),
        ),
        Served(rpc.LIST_CHANGES, lambda q: log.changes_after(q.after, page_limit(q.limit)), write_changes),
        Served(
            rpc.WAIT_FOR_CHANGE,
            lambda q: _wait(log, q.after, min(read_time(q.seconds), _LONGEST_WAIT), stopping),
            lambda _: replicas_pb2.WaitForChangeResponse(),
        ),
    ]


async def _wait(log: ChangeLog, after: int, seconds: float, stopping: asyncio.Event) -> None:
    """The wait begins before the look at what is there already, so that no change falls between the two."""
    waits = {asyncio.ensure_future(log.wait_for_change(seconds)), asyncio.ensure_future(stopping.wait())}
    try:
        await asyncio.sleep(0)
        if await log.last_change() <= after:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def lease_calls(leases: ReplicaLeases) -> list[AnyServed]:
    """LeaseService."""
    return [
        Served(
            rpc.RENEW_LEASE,
            lambda q: leases.renew_lease(read_id(q.replica), q.seen, read_time(q.seconds)),
            lambda _: replicas_pb2.RenewLeaseResponse(),
        ),
        Served(
            rpc.END_LEASE,
            lambda q: leases.end_lease(read_id(q.replica)),
            lambda _: replicas_pb2.EndLeaseResponse(),
        ),
        Served(
            rpc.LIST_REPLICAS_BEHIND,
            lambda q: leases.replicas_behind(q.seq),
            lambda replicas: replicas_pb2.ListReplicasBehindResponse(replicas=replicas),
        ),
    ]
