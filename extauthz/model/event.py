"""What happened, append-only (spec section 6.3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from extauthz.model.identity import Actor


class EventType(StrEnum):
    """Every type of event there is."""

    TENANT_LIFECYCLE_TRANSITION = "tenant_lifecycle_transition"
    ONBOARDING_STATE_TRANSITION = "onboarding_state_transition"
    BILLING_STATE_CHANGED = "billing_state_changed"
    BILLING_PLAN_ASSIGNED = "billing_plan_assigned"
    BILLING_LIMIT_EVALUATED = "billing_limit_evaluated"
    PROTECTION_DECISION = "protection_decision"
    PROTECTION_ANOMALY_DETECTED = "protection_anomaly_detected"
    UNAUTHORIZED_ACCESS_ATTEMPT = "unauthorized_access_attempt"
    GATE_BYPASS_CHANGED = "gate_bypass_changed"
    CIRCUIT_STATE_CHANGED = "circuit_state_changed"
    CONFIG_RELOADED = "config_reloaded"
    RATE_LIMIT_RESET = "rate_limit_reset"


class EventSource(StrEnum):
    """Which part of the system an event comes from."""

    ONBOARDING = "onboarding"
    LIFECYCLE = "lifecycle"
    BILLING = "billing"
    PROTECTION = "protection"
    AUTH = "auth"
    FOUNDER = "founder"
    SYSTEM = "system"


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `timestamp` is Unix seconds (shown as RFC 3339 in UTC); order is (`timestamp`, `event_id`).

    `event_id` is a UUIDv7. `tenant_id` is `_system` for the system's own. `payload` holds plain JSON values.
    """

    event_id: str
    type: EventType
    source: EventSource
    tenant_id: str
    timestamp: float
    severity: Severity
    actor: Actor
    request_id: str = ""
    trace_id: str = ""
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Which events: one tenant, `start` ≤ timestamp < `end` (Unix seconds), the given types and sources (empty: all).

    `after` is the (timestamp, event_id) of the last event of the page before, None for the first page.
    """

    tenant_id: str
    start: float
    end: float
    types: frozenset[EventType] = frozenset()
    sources: frozenset[EventSource] = frozenset()
    after: tuple[float, str] | None = None
    limit: int = 100
