"""Decisions become events: merged, classified, without a word too much (spec section 6.3)."""

import asyncio
import itertools

import pytest

from extauthz.model.billing import BillingState
from extauthz.model.decision import (
    BillingBlocked,
    Decision,
    Denial,
    Detail,
    Facts,
    Gate,
    LifecycleBlocked,
    LimitExceeded,
    RateLimited,
    Reason,
)
from extauthz.model.event import EventSource, EventType, Severity
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import Dimension, Outcome
from extauthz.model.request import CheckRequest, Route, RouteClass
from extauthz.telemetry.decisions import DecisionEvents
from extauthz.telemetry.fanout import Fanout
from extauthz.testing.builders import make_principal, make_request
from extauthz.testing.clock import FakeWallClock, in_virtual_time
from extauthz.testing.fakes import RecordingObserver, RecordingSink

SDK = Route(route_class=RouteClass.SDK)
DETAILS: dict[Reason, Detail] = {
    Reason.SUSPENDED: LifecycleBlocked(state=LifecycleState.SUSPENDED, allowed_states=(LifecycleState.ACTIVE,)),
    Reason.RATE: RateLimited(dimension=Dimension.RATE, outcome=Outcome.REJECT),
    Reason.MAX_REQUESTS_PER_DAY: LimitExceeded(
        dimension=Dimension.QUOTA, current=2, allowed=2, plan_id="free", billing_state=None
    ),
}


def deny(gate: Gate, reason: Reason, tenant: str | None = "acme", *, note: str = "") -> Decision:
    detail = DETAILS.get(reason)
    if gate is Gate.BILLING and reason is Reason.SUSPENDED:
        detail = BillingBlocked(billing_state=BillingState.SUSPENDED)
    return Decision(
        decision_id="d-1",
        denial=Denial(gate=gate, reason=reason, detail=detail, note=note),
        route=SDK,
        facts=Facts(principal=None if tenant is None else make_principal(tenant)),
        degraded=(Gate.LIFECYCLE,),
    )


def events(sink: RecordingSink, *, rate: float = 0.0, max_pending: int = 10_000) -> DecisionEvents:
    numbers = itertools.count()
    return DecisionEvents(
        sink=sink,
        wall=FakeWallClock(),
        new_event_id=lambda: f"event-{next(numbers)}",
        allow_sample_rate=rate,
        chance=lambda: 0.4,
        max_pending=max_pending,
    )


@in_virtual_time
async def test_equal_denials_within_a_second_are_one_event_with_a_count() -> None:
    sink = RecordingSink()
    told = events(sink)
    for _ in range(1000):
        told.checked(make_request(), deny(Gate.PROTECTION, Reason.RATE), 0.001)
    told.checked(make_request(), deny(Gate.PROTECTION, Reason.RATE, "other"), 0.001)
    assert sink.events == []
    await asyncio.sleep(0.5)
    told.checked(make_request(), deny(Gate.PROTECTION, Reason.BURST), 0.001)
    await asyncio.sleep(0.6)
    assert [(event.tenant_id, event.payload["count"]) for event in sink.events] == [("acme", 1000), ("other", 1)]
    await asyncio.sleep(1)
    assert sink.events[-1].payload["reason"] == "burst"


@pytest.mark.parametrize(
    ("gate", "reason", "event_type", "source", "severity"),
    [
        (Gate.AUTH, Reason.INVALID_CREDENTIALS, EventType.UNAUTHORIZED_ACCESS_ATTEMPT, EventSource.AUTH, Severity.WARN),
        (Gate.LIFECYCLE, Reason.SUSPENDED, EventType.UNAUTHORIZED_ACCESS_ATTEMPT, EventSource.LIFECYCLE, Severity.WARN),
        (Gate.BILLING, Reason.SUSPENDED, EventType.UNAUTHORIZED_ACCESS_ATTEMPT, EventSource.BILLING, Severity.WARN),
        (
            Gate.BILLING,
            Reason.MAX_REQUESTS_PER_DAY,
            EventType.BILLING_LIMIT_EVALUATED,
            EventSource.BILLING,
            Severity.INFO,
        ),
        (Gate.PROTECTION, Reason.RATE, EventType.PROTECTION_DECISION, EventSource.PROTECTION, Severity.INFO),
        (
            Gate.PROTECTION,
            Reason.PROVIDER_UNAVAILABLE,
            EventType.PROTECTION_DECISION,
            EventSource.PROTECTION,
            Severity.WARN,
        ),
        (Gate.REQUEST, Reason.PATH, EventType.UNAUTHORIZED_ACCESS_ATTEMPT, EventSource.SYSTEM, Severity.WARN),
        (Gate.REQUEST, Reason.INTERNAL, EventType.PROTECTION_DECISION, EventSource.SYSTEM, Severity.ERROR),
    ],
)
@in_virtual_time
async def test_each_denial_has_its_type_source_and_severity(
    gate: Gate, reason: Reason, event_type: EventType, source: EventSource, severity: Severity
) -> None:
    sink = RecordingSink()
    told = events(sink)
    told.checked(
        make_request("/x?token=secret", headers={"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}),
        deny(gate, reason, note="why"),
        0.001,
    )
    told.flush()
    (event,) = sink.events
    assert (event.type, event.source, event.severity) == (event_type, source, severity)
    assert (event.trace_id, event.payload["note"], event.payload["path"]) == ("a" * 32, "why", "/x")
    assert event.payload["degraded"] == ["lifecycle"]
    assert "secret" not in str(event)


@in_virtual_time
async def test_observe_003_what_has_no_tenant_is_the_systems() -> None:
    sink = RecordingSink()
    told = events(sink)
    told.checked(None, deny(Gate.REQUEST, Reason.MESSAGE, None), 0.001)
    told.flush()
    assert (sink.events[0].tenant_id, sink.events[0].actor.id) == ("_system", "anonymous")


@in_virtual_time
async def test_abuse_003_an_anomaly_is_an_event_beside_the_allow() -> None:
    sink = RecordingSink()
    told = events(sink)
    told.checked(
        make_request(), Decision(decision_id="d", denial=None, route=SDK, warnings=(Dimension.ANOMALY,)), 0.001
    )
    told.flush()
    assert [event.type for event in sink.events] == [EventType.PROTECTION_ANOMALY_DETECTED]


@pytest.mark.parametrize(("rate", "emitted"), [(0.0, 0), (0.3, 0), (0.5, 1)])
@in_virtual_time
async def test_allows_are_sampled(rate: float, emitted: int) -> None:
    sink = RecordingSink()
    told = events(sink, rate=rate)
    told.checked(make_request(), Decision(decision_id="d", denial=None, route=SDK), 0.002)
    assert len(sink.events) == emitted
    assert all(event.payload["latency_ms"] == 2.0 for event in sink.events)


@in_virtual_time
async def test_a_flood_of_different_denials_does_not_pile_up() -> None:
    sink = RecordingSink()
    told = events(sink, max_pending=10)
    for number in range(25):
        told.checked(make_request(), deny(Gate.PROTECTION, Reason.RATE, f"t{number}"), 0.001)
    assert len(sink.events) == 20
    told.flush()
    assert len(sink.events) == 25


@in_virtual_time
async def test_observe_004_noting_a_decision_never_raises() -> None:
    def broken() -> str:
        raise RuntimeError("no id today")

    told = DecisionEvents(sink=RecordingSink(), wall=FakeWallClock(), new_event_id=broken)
    told.checked(make_request(), deny(Gate.PROTECTION, Reason.RATE), 0.001)


class Broken(RecordingObserver):
    """Raises from the first decision on."""

    def checked(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        super().checked(request, decision, seconds)
        raise RuntimeError


def test_observe_001_an_observer_that_raises_is_unplugged_and_the_others_go_on() -> None:
    broken, fine = Broken(), RecordingObserver()
    both = Fanout(broken, fine)
    for _ in range(3):
        both.checked(None, deny(Gate.REQUEST, Reason.MESSAGE, None), 0.001)
    assert (len(broken.seen), len(fine.seen)) == (1, 3)
