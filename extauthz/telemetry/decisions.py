"""Decisions as events: every denial, anomalies, and a sample of the allows (spec section 6.3).

| denial | event type | source |
|---|---|---|
| a limit of the day (quota) | `billing_limit_evaluated` | `billing` |
| rate, burst, cost, and protection closed | `protection_decision` | `protection` |
| auth, lifecycle and billing states, and these gates closed | `unauthorized_access_attempt` | the gate |
| the request itself (path, message, context) | `unauthorized_access_attempt` | `system` |
| overloaded, our own error | `protection_decision` | `system` |
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from extauthz.model.decision import (
    BillingBlocked,
    Decision,
    Denial,
    Gate,
    LifecycleBlocked,
    LimitExceeded,
    RateLimited,
    Reason,
)
from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_TENANT, Actor, ActorType, Principal
from extauthz.model.protection import Dimension
from extauthz.model.request import CheckRequest
from extauthz.ports import EventSink, WallClock
from extauthz.telemetry.text import client_path, client_text, trace_id

ANONYMOUS: Final = Actor(type=ActorType.MACHINE, id="anonymous")
"""Who did it where nobody was authenticated."""

_SOURCES: Final = {
    Gate.AUTH: EventSource.AUTH,
    Gate.LIFECYCLE: EventSource.LIFECYCLE,
    Gate.BILLING: EventSource.BILLING,
    Gate.PROTECTION: EventSource.PROTECTION,
}
_OURS: Final = frozenset({Reason.OVERLOADED, Reason.INTERNAL})
_LIMITS: Final = frozenset({Reason.MAX_REQUESTS_PER_DAY, Reason.RATE, Reason.BURST, Reason.COST})

_log = structlog.get_logger(__name__)

Key = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class _Pending:
    """The first of several equal events, and how many there are."""

    due: float
    event: Event
    count: int = 0


class DecisionEvents:
    """A `CheckObserver` that emits events.

    Equal ones (tenant, gate, reason) within `window` seconds become one event with a `count`, emitted when the window ends; its
    time and details are the first one's. At most `max_pending` wait for that: then all of them go at once. `allow_sample_rate`
    is the share of allows that emit an event too, 0 to 1.
    """

    def __init__(
        self,
        *,
        sink: EventSink,
        wall: WallClock,
        new_event_id: Callable[[], str],
        allow_sample_rate: float = 0.0,
        chance: Callable[[], float] = random.random,
        window: float = 1.0,
        max_pending: int = 10_000,
    ) -> None:
        self._sink = sink
        self._wall = wall
        self._new_event_id = new_event_id
        self._allow_sample_rate = allow_sample_rate
        self._chance = chance
        self._window = window
        self._max_pending = max_pending
        self._pending: dict[Key, _Pending] = {}  # in the order in which they are due
        self._timer: asyncio.TimerHandle | None = None

    def checked(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        """Note one decision. Never raises."""
        try:
            if decision.denial is not None:
                self._note(request, decision, decision.denial.gate, decision.denial.reason)
            elif self._allow_sample_rate and self._chance() < self._allow_sample_rate:
                self._emit(self._begin(request, decision, Gate.NONE, Reason.NONE, seconds))
            if Dimension.ANOMALY in decision.warnings:
                self._note(request, decision, Gate.PROTECTION, Dimension.ANOMALY)
        except Exception as error:  # noqa: BLE001 - observing must never harm the answer
            _log.warning("a decision left no event", error=type(error).__name__)

    def flush(self) -> None:
        """Emit all that waits, at the end of the service."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._pending = self._pending, {}
        for pending in waiting.values():
            self._emit(pending)

    def _note(self, request: CheckRequest | None, decision: Decision, gate: str, reason: str) -> None:
        key = (_tenant_of(decision), gate, reason)
        pending = self._pending.get(key)
        if pending is None:
            if len(self._pending) >= self._max_pending:
                self.flush()
            pending = self._pending[key] = self._begin(request, decision, gate, reason)
            self._set_timer()
        pending.count += 1

    def _begin(
        self, request: CheckRequest | None, decision: Decision, gate: str, reason: str, seconds: float | None = None
    ) -> _Pending:
        event_type, source, severity = _classify(decision.denial, reason)
        payload = {"decision": "deny" if decision.denial else "allow", "gate": gate, "reason": reason}
        details = {} if seconds is None else {"latency_ms": round(seconds * 1000, 3)}
        event = Event(
            event_id=self._new_event_id(),
            type=event_type,
            source=source,
            tenant_id=_tenant_of(decision),
            timestamp=self._wall(),
            severity=severity,
            actor=_actor(decision.facts.principal),
            request_id=client_text(request.request_id) if request else "",
            trace_id=trace_id(request) if request else "",
            payload=payload | details | _details(request, decision),
        )
        return _Pending(due=asyncio.get_running_loop().time() + self._window, event=event)

    def _set_timer(self) -> None:
        if self._timer is None:
            due = next(iter(self._pending.values())).due
            self._timer = asyncio.get_running_loop().call_at(due, self._emit_due)

    def _emit_due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for key in [key for key, pending in self._pending.items() if pending.due <= now]:
            self._emit(self._pending.pop(key))
        if self._pending:
            self._set_timer()

    def _emit(self, pending: _Pending) -> None:
        payload = {**pending.event.payload, "count": max(1, pending.count)}
        self._sink.emit(replace(pending.event, payload=payload))


def _tenant_of(decision: Decision) -> str:
    principal = decision.facts.principal
    return SYSTEM_TENANT if principal is None else principal.tenant_id


def _actor(principal: Principal | None) -> Actor:
    return ANONYMOUS if principal is None else Actor(type=ActorType.MACHINE, id=client_text(principal.subject))


def _classify(denial: Denial | None, reason: str) -> tuple[EventType, EventSource, Severity]:
    if reason == Dimension.ANOMALY:
        return EventType.PROTECTION_ANOMALY_DETECTED, EventSource.PROTECTION, Severity.WARN
    if denial is None:
        return EventType.PROTECTION_DECISION, EventSource.PROTECTION, Severity.INFO
    source = _SOURCES.get(denial.gate, EventSource.SYSTEM)
    severity = Severity.INFO if denial.reason in _LIMITS else Severity.WARN
    if denial.reason is Reason.MAX_REQUESTS_PER_DAY:
        return EventType.BILLING_LIMIT_EVALUATED, source, severity
    if denial.gate is Gate.PROTECTION or denial.reason in _OURS:
        return EventType.PROTECTION_DECISION, source, Severity.ERROR if denial.reason is Reason.INTERNAL else severity
    return EventType.UNAUTHORIZED_ACCESS_ATTEMPT, source, severity


def _details(request: CheckRequest | None, decision: Decision) -> dict[str, object]:
    """What helps to understand one decision: nothing from headers or query, client text capped."""
    details: dict[str, object] = {"decision_id": decision.decision_id}
    if request is not None:
        details["method"] = client_text(request.method, 20)
        details["path"] = client_path(request.path)
        details["source_address"] = client_text(request.source_address, 64)
    if decision.route is not None:
        details["route_class"] = decision.route.route_class.value
    if decision.degraded:
        details["degraded"] = [gate.value for gate in decision.degraded]
    if decision.denial is not None:
        details |= _denial_details(decision.denial)
    return details


def _denial_details(denial: Denial) -> dict[str, object]:
    note: dict[str, object] = {"note": denial.note} if denial.note else {}
    match denial.detail:
        case LifecycleBlocked(state=state):
            return note | {"state": state.value}
        case BillingBlocked(billing_state=state):
            return note | {"billing_state": state.value}
        case LimitExceeded(dimension=dimension, current=current, allowed=allowed, plan_id=plan):
            return note | {"dimension": dimension.value, "current": current, "allowed": allowed, "plan": plan}
        case RateLimited(dimension=dimension, outcome=outcome):
            return note | {"dimension": dimension.value, "outcome": outcome.value}
        case None:
            return note
