"""An event as JSON, the same wherever events are shown or kept (spec section 6.3)."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum

from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.model.identity import Actor, ActorType


def to_rfc3339(timestamp: float) -> str:
    """Unix seconds as `2026-01-01T12:00:00.000000Z`: UTC, always six places, so that the text sorts as the time does.

    Raises:
        ValueError: not a finite number, or outside of the years 1 to 9999.
    """
    if not math.isfinite(timestamp):
        raise ValueError("a timestamp must be a finite number")
    try:
        moment = datetime.fromtimestamp(timestamp, UTC)
    except (OverflowError, OSError):
        raise ValueError("a timestamp must lie in the years 1 to 9999") from None
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def from_rfc3339(text: str) -> float:
    """Unix seconds of an RFC 3339 date and time with an offset.

    Raises:
        ValueError: not one.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a timestamp must have an offset or Z")
    return moment.timestamp()


def event_to_dict(event: Event) -> dict[str, object]:
    """The event with the names and in the order of the specification; values are plain JSON types.

    Raises:
        ValueError: the timestamp cannot be written.
    """
    return {
        "event_id": event.event_id,
        "event_type": event.type.value,
        "event_source": event.source.value,
        "tenant_id": event.tenant_id,
        "timestamp": to_rfc3339(event.timestamp),
        "severity": event.severity.value,
        "actor": {"type": event.actor.type.value, "id": event.actor.id},
        "context": {"request_id": event.request_id, "trace_id": event.trace_id},
        "payload": dict(event.payload),
    }


def event_from_dict(data: Mapping[str, object]) -> Event:
    """The event that `event_to_dict` wrote. `context` and `payload` may be missing.

    Raises:
        ValueError: a field is missing, of the wrong type, or holds a word that is not known.
    """
    actor, context = _mapping(data, "actor"), _mapping(data, "context", optional=True)
    return Event(
        event_id=_text(data, "event_id"),
        type=EventType(_text(data, "event_type")),
        source=EventSource(_text(data, "event_source")),
        tenant_id=_text(data, "tenant_id"),
        timestamp=from_rfc3339(_text(data, "timestamp")),
        severity=Severity(_text(data, "severity")),
        actor=Actor(type=ActorType(_text(actor, "type")), id=_text(actor, "id")),
        request_id=_text(context, "request_id", optional=True),
        trace_id=_text(context, "trace_id", optional=True),
        payload=_mapping(data, "payload", optional=True),
    )


def to_json(event: Event) -> str:
    """The event on one line. What JSON has no form for (it should not be in a payload) is written as its text.

    Raises:
        ValueError: the timestamp cannot be written, or the payload refers to itself or holds NaN or an infinity.
    """
    return json.dumps(event_to_dict(event), separators=(",", ":"), default=_plain, skipkeys=True, allow_nan=False)


def from_json(text: str) -> Event:
    """The event of one line.

    Raises:
        ValueError: not JSON, or not an event.
    """
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("an event must be a JSON object")  # noqa: TRY004 - one kind of error for all that may be wrong
    return event_from_dict(data)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)


def _text(data: Mapping[str, object], name: str, *, optional: bool = False) -> str:
    value = data.get(name, "")
    if not isinstance(value, str) or not (value or optional):
        raise ValueError(f"{name} must be {'a' if optional else 'a non-empty'} string")
    return value


def _mapping(data: Mapping[str, object], name: str, *, optional: bool = False) -> Mapping[str, object]:
    value = data.get(name, {} if optional else None)
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object")  # noqa: TRY004 - one kind of error for all that may be wrong
    return value
