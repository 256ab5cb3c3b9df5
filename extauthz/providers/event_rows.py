"""An event as a row of plain, unchangeable values: how the embedded stores keep it."""

import json
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from extauthz.errors import InvalidRecord
from extauthz.model.event import Event, EventQuery, EventSource, EventType, Severity
from extauthz.model.identity import Actor, ActorType

REQUIRED: Final = ("event_id", "tenant_id", "actor_id")
"""The texts that must not be empty; the other required fields are enums, or the timestamp."""


class EventRow(NamedTuple):
    """One event. Rows sort as events do: by `timestamp` (Unix seconds), then `event_id`. `payload` is JSON."""

    timestamp: float
    event_id: str
    tenant_id: str
    event_type: str
    event_source: str
    severity: str
    actor_type: str
    actor_id: str
    request_id: str
    trace_id: str
    payload: str


def to_row(event: Event) -> EventRow:
    """The row of an event. Text that is not UTF-8 and values that JSON has no form for are written as near as can be.

    Raises:
        InvalidRecord: a required field is missing (OBSERVE-003), or the payload cannot be written.
    """
    row = EventRow(
        timestamp=float(event.timestamp),
        event_id=_text(event.event_id),
        tenant_id=_text(event.tenant_id),
        event_type=event.type.value,
        event_source=event.source.value,
        severity=event.severity.value,
        actor_type=event.actor.type.value,
        actor_id=_text(event.actor.id),
        request_id=_text(event.request_id),
        trace_id=_text(event.trace_id),
        payload=_to_json(event.payload),
    )
    _require_complete(row)
    return row


def _require_complete(row: EventRow) -> None:
    for name in REQUIRED:
        if not getattr(row, name):
            raise InvalidRecord(f"an event without {name} is not stored")
    if not math.isfinite(row.timestamp):
        raise InvalidRecord("an event without a timestamp is not stored")


def _to_json(payload: Mapping[str, object]) -> str:
    try:
        return json.dumps(dict(payload), separators=(",", ":"), default=str, skipkeys=True, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(f"an event's payload cannot be written: {error}") from error


def _text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def from_row(row: EventRow) -> Event:
    """The event of a row.

    Raises:
        InvalidRecord: the row holds a word that this version does not know, or is damaged.
    """
    try:
        return Event(
            event_id=row.event_id,
            type=EventType(row.event_type),
            source=EventSource(row.event_source),
            tenant_id=row.tenant_id,
            timestamp=row.timestamp,
            severity=Severity(row.severity),
            actor=Actor(type=ActorType(row.actor_type), id=row.actor_id),
            request_id=row.request_id,
            trace_id=row.trace_id,
            payload=json.loads(row.payload),
        )
    except ValueError as error:
        raise InvalidRecord(f"event {row.event_id!r} cannot be read: {error}") from error


def begins_after(query: EventQuery) -> tuple[float, str]:
    """The (`timestamp`, `event_id`) above which the page starts. No event has an empty id, so `start` itself is included."""
    start = (query.start, "")
    return start if query.after is None else max(start, query.after)
