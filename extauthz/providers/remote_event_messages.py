"""Events and changes as messages of the provider contracts, and back. What has been sent by others is checked here."""

from collections.abc import Iterable

from extauthz._gen.provider.v1 import events_pb2 as pb
from extauthz._gen.provider.v1 import replicas_pb2
from extauthz.errors import InvalidRecord
from extauthz.model.changed import StoredChange
from extauthz.model.event import Event, EventQuery, EventSource, EventType
from extauthz.model.identity import Actor
from extauthz.providers.event_rows import EventRow, from_row, to_row
from extauthz.providers.remote_change_messages import page_limit, read_actor, read_time, write_actor
from extauthz.providers.remote_words import CHANGED_KINDS, SEVERITIES


def write_event(event: Event) -> pb.Event:
    """An event. Text that is not UTF-8 and values that JSON has no form for are written as near as can be.

    Raises:
        InvalidRecord: a required field is missing (OBSERVE-003), or the payload cannot be written.
    """
    row = to_row(event)
    actor = write_actor(event.actor)
    actor.id = row.actor_id
    return pb.Event(
        event_id=row.event_id,
        event_type=row.event_type,
        event_source=row.event_source,
        tenant_id=row.tenant_id,
        timestamp=row.timestamp,
        severity=SEVERITIES.number(event.severity),
        actor=actor,
        request_id=row.request_id,
        trace_id=row.trace_id,
        payload_json=row.payload,
    )


def read_event(message: pb.Event) -> Event:
    """An event.

    Raises:
        InvalidRecord: a word that is not known here, a required field that is missing, or a payload that is no JSON object.
    """
    event = _from_row(message)
    if not isinstance(event.payload, dict):
        raise InvalidRecord(f"the payload of event {message.event_id!r} is no JSON object")
    to_row(event)  # its required fields are there
    return event


def _from_row(message: pb.Event) -> Event:
    actor = read_actor(message.actor)
    try:
        return from_row(_row(message, actor))
    except RecursionError:
        raise InvalidRecord(f"the payload of event {message.event_id!r} is nested too deeply") from None


def _row(message: pb.Event, actor: Actor) -> EventRow:
    return EventRow(
        timestamp=read_time(message.timestamp),
        event_id=message.event_id,
        tenant_id=message.tenant_id,
        event_type=message.event_type,
        event_source=message.event_source,
        severity=SEVERITIES.member(message.severity).value,
        actor_type=actor.type.value,
        actor_id=actor.id,
        request_id=message.request_id,
        trace_id=message.trace_id,
        payload=message.payload_json or "{}",
    )


def write_query(query: EventQuery) -> pb.QueryEventsRequest:
    """A query."""
    after = query.after
    return pb.QueryEventsRequest(
        tenant_id=query.tenant_id,
        start=query.start,
        end=query.end,
        event_types=sorted(query.types),
        event_sources=sorted(query.sources),
        after=None if after is None else pb.EventPosition(timestamp=after[0], event_id=after[1]),
        limit=page_limit(query.limit),
    )


def read_query(message: pb.QueryEventsRequest) -> EventQuery:
    """A query.

    Raises:
        InvalidRecord: a type or source that is not known here, or a time that is none.
    """
    after = message.after
    try:
        types = frozenset(map(EventType, message.event_types))
        sources = frozenset(map(EventSource, message.event_sources))
    except ValueError as error:
        raise InvalidRecord(f"a query cannot be read: {error}") from None
    return EventQuery(
        tenant_id=message.tenant_id,
        start=read_time(message.start),
        end=read_time(message.end),
        types=types,
        sources=sources,
        after=(read_time(after.timestamp), after.event_id) if message.HasField("after") else None,
        limit=page_limit(message.limit),
    )


def write_changes(changes: Iterable[StoredChange]) -> replicas_pb2.ListChangesResponse:
    """Changes of a store."""
    return replicas_pb2.ListChangesResponse(
        changes=[
            replicas_pb2.StoredChange(
                seq=each.seq, kind=CHANGED_KINDS.number(each.kind), id=each.id, origin=each.origin
            )
            for each in changes
        ]
    )


def read_changes(message: replicas_pb2.ListChangesResponse) -> list[StoredChange]:
    """Changes of a store.

    Raises:
        InvalidRecord: one of them is of a kind that is not known here: it may be any change.
    """
    return [
        StoredChange(seq=each.seq, kind=CHANGED_KINDS.member(each.kind), id=each.id, origin=each.origin)
        for each in message.changes
    ]
