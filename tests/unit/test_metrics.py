"""Spec section 6.1, as a scrape shows it."""

from collections.abc import Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from extauthz.gates.anomaly import AnomalySeverity, Signal
from extauthz.model.billing import BillingState
from extauthz.model.decision import (
    FAIL_OPEN_GATES,
    REASONS_BY_GATE,
    Decision,
    Denial,
    Facts,
    FallbackReason,
    Gate,
    GateReport,
    LimitExceeded,
    RateLimited,
    Reason,
    Source,
)
from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_ACTOR, AuthMethod, Principal
from extauthz.model.lifecycle import LifecycleState, Transition
from extauthz.model.protection import Dimension, Outcome
from extauthz.model.request import CheckRequest
from extauthz.ports import CacheResult, ChangeObserver, CheckObserver, CircuitState, ProviderObserver
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.metrics_provider import DEFAULT_DEADLINES, latency_buckets

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

COUNTERS = {
    "checks_total": {"decision", "gate", "reason"},
    "checks_degraded_total": set(),
    "auth_failures_total": {"method", "reason"},
    "lifecycle_gate_blocks_total": {"reason"},
    "lifecycle_transitions_total": {"from", "to", "tenant_id"},
    "lifecycle_transition_failures_total": {"reason"},
    "billing_checks_total": {"result"},
    "billing_state_lookups_total": {"source"},
    "billing_gate_blocks_total": {"reason"},
    "billing_limit_exceeded_total": {"limit_name"},
    "protection_decisions_total": {"dimension", "decision"},
    "protection_near_limit_total": {"dimension"},
    "protection_anomaly_signals_total": {"severity"},
    "gate_fallbacks_total": {"gate", "reason", "answer"},
    "gate_shadow_denials_total": {"gate", "reason"},
    "provider_errors_total": {"provider", "operation"},
    "provider_circuit_open_total": {"provider"},
    "provider_cache_requests_total": {"provider", "result"},
    "observability_emit_attempts_total": {"success"},
    "observability_events_total": {"type", "source"},
    "observability_emit_failures_total": {"reason"},
    "observability_events_dropped_total": {"reason"},
    "config_reloads_total": {"result"},
    "grpc_server_handled_total": {"grpc_service", "grpc_method", "grpc_code"},
    # the other names
    "lifecycle_state_transitions_total": {"from", "to"},
    "gate_lifecycle_blocks_total": {"reason"},
    "gate_billing_blocks_total": {"reason"},
    "gate_protection_decisions_total": {"decision"},
    "lifecycle_provider_errors_total": set(),
    "protection_checks_total": set(),
    "protection_anomalies_total": {"severity"},
    "observability_events_emitted_total": {"type", "source"},
}
HISTOGRAMS = {
    "check_latency_seconds": set(),
    "gate_latency_seconds": {"gate"},
    "provider_latency_seconds": {"provider", "operation"},
    "observability_emit_latency_seconds": set(),
    "grpc_server_handling_seconds": {"grpc_service", "grpc_method"},
    "billing_provider_latency_seconds": set(),
    "protection_check_latency_seconds": set(),
}
GAUGES = {
    "gate_bypass_active": {"gate"},
    "provider_deadline_seconds": {"provider"},
    "provider_circuit_state": {"provider"},
    "observability_store_size_bytes": set(),
    "observability_queue_depth": set(),
    "observability_dead_letter_size": set(),
    "event_loop_lag_seconds": set(),
}


def families(metrics: Metrics) -> Iterable[Metric]:
    return parse_prometheus(metrics.render()[1].decode())


def scrape(metrics: Metrics) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(metrics)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return scrape(metrics)[name, frozenset(labels.items())]


def grown(metrics: Metrics, before: Series) -> dict[str, float]:
    """What changed since `before`, as `name{label=value}`, histograms by their count alone, the process's own left out."""
    changed = {}
    for (name, labels), now in scrape(metrics).items():
        ours = not name.startswith(("process_", "python_")) and not name.endswith(("_bucket", "_sum"))
        if ours and now != before.get((name, labels)):
            shown = ",".join(f"{key}={text}" for key, text in sorted(labels))
            changed[f"{name}{{{shown}}}"] = now - before.get((name, labels), 0.0)
    return changed


def report(gate: Gate, verdict: str = "allow", source: Source = Source.CACHE) -> GateReport:
    return GateReport(gate=gate, verdict=verdict, mode="enforce", source=source, seconds=0.00002)


def allow(**changes: object) -> Decision:
    gates = (Gate.AUTH, *FAIL_OPEN_GATES)
    given: dict[str, object] = {"reports": tuple(report(gate) for gate in gates)} | changes
    return Decision(decision_id="d", denial=None, route=None, **given)  # type: ignore[arg-type] # fields chosen by the test


def deny(gate: Gate, reason: Reason, **changes: object) -> Decision:
    denial = Denial(gate=gate, reason=reason, **changes)  # type: ignore[arg-type] # fields chosen by the test
    return Decision(decision_id="d", denial=denial, route=None)


def check(metrics: Metrics, decision: Decision) -> dict[str, float]:
    before = scrape(metrics)
    metrics.checked(None, decision, 0.0003)
    return grown(metrics, before)


def test_every_metric_of_the_specification_has_its_name_type_and_labels_from_the_start() -> None:
    shown = {family.name: family for family in families(Metrics())}
    for expected, kind in ((COUNTERS, "counter"), (HISTOGRAMS, "histogram"), (GAUGES, "gauge")):
        for name, labels in expected.items():
            family = shown[name.removesuffix("_total") if kind == "counter" else name]
            assert family.type == kind
            samples = [sample for sample in family.samples if sample.name.startswith(name)]
            assert samples, name
            for sample in samples:
                assert set(sample.labels) - {"le"} == labels, name


def test_nothing_else_is_shown_but_the_process_and_no_created_series() -> None:
    names = {family.name for family in families(Metrics())}
    known = {name.removesuffix("_total") for name in COUNTERS} | set(HISTOGRAMS) | set(GAUGES)
    assert {name for name in names - known if not name.startswith(("process_", "python_"))} == set()
    assert not [name for name, _ in scrape(Metrics()) if name.endswith("_created")]
    assert "process_resident_memory_bytes" in names


def test_every_known_label_set_starts_at_0() -> None:
    metrics = Metrics()
    values = {key: number for key, number in scrape(metrics).items() if key[0] != "provider_deadline_seconds"}
    ours = {key: number for key, number in values.items() if not key[0].startswith(("process_", "python_"))}
    assert set(ours.values()) == {0.0}
    for gate, reasons in REASONS_BY_GATE.items():
        for reason in reasons:
            decision = "allow" if gate is Gate.NONE else "deny"
            assert value(metrics, "checks_total", decision=decision, gate=gate, reason=reason) == 0
    for fallback in FallbackReason:
        assert value(metrics, "gate_fallbacks_total", gate="protection", reason=fallback, answer="local") == 0
    assert (
        value(metrics, "lifecycle_transitions_total", **{"from": "ACTIVE", "to": "SUSPENDED", "tenant_id": "_other"})
        == 0
    )
    assert value(metrics, "provider_errors_total", provider="lifecycle", operation="find_lifecycle") == 0


def test_what_any_decision_adds_to_was_there_at_0_before() -> None:
    metrics = Metrics()
    known = set(scrape(metrics))
    for gate, reasons in REASONS_BY_GATE.items():
        for reason in reasons:
            metrics.checked(None, allow() if gate is Gate.NONE else deny(gate, reason), 0.001)
            for method in AuthMethod:
                metrics.checked(None, deny(Gate.AUTH, Reason.INVALID_CREDENTIALS, method=method), 0.001)
    for provider, operation in (("credentials", "find_key"), ("billing", "find_billing"), ("protection", "charge")):
        watch = metrics.provider(provider)
        watch.called(operation, 0.1, answered=False)
        for result in CacheResult:
            watch.cache(result)
    metrics.transition_failed("not_found")
    metrics.transition_failed("whatever else")
    assert set(scrape(metrics)) == known


def test_both_text_formats_are_valid() -> None:
    metrics = Metrics()
    metrics.checked(None, allow(), 0.0003)
    kind, text = metrics.render("application/openmetrics-text; version=1.0.0, text/plain")
    assert kind.startswith("application/openmetrics-text")
    assert {"checks", "check_latency_seconds"} < {
        family.name
        for family in parse_openmetrics(text.decode())  # type: ignore[no-untyped-call] # the library left it untyped
    }
    kind, text = metrics.render("text/plain")
    assert kind.startswith("text/plain")
    assert b'checks_total{decision="allow",gate="none",reason="none"} 1.0' in text


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=x", "text/plain; version=y.1", ";;;,,==", "é"]
)
def test_an_accept_header_that_makes_no_sense_gets_the_usual_format(accept: str) -> None:
    kind, text = Metrics().render(accept)
    assert kind.startswith("text/plain")
    assert b"checks_total" in text


def test_histograms_resolve_below_a_millisecond() -> None:
    metrics = Metrics()
    metrics.checked(None, allow(), 0.00007)
    marks = {
        float(dict(labels)["le"]): n
        for (name, labels), n in scrape(metrics).items()
        if name == "check_latency_seconds_bucket"
    }
    assert len([mark for mark in marks if mark < 0.001]) >= 4
    assert (marks[0.00005], marks[0.0001], marks[float("inf")]) == (0, 1, 1)


def test_a_value_on_a_bound_is_in_its_bucket() -> None:
    metrics = Metrics()
    metrics.provider("protection").called("charge", 0.1, answered=False)
    assert value(metrics, "provider_latency_seconds_bucket", provider="protection", operation="charge", le="0.08") == 0
    assert value(metrics, "provider_latency_seconds_bucket", provider="protection", operation="charge", le="0.1") == 1


def test_provider_latency_has_bounds_at_80_and_100_percent_of_every_deadline() -> None:
    bounds = latency_buckets({"lifecycle": 0.7, "billing": 0.3})
    assert {0.56, 0.7, 0.24, 0.3} < set(bounds)
    assert list(bounds) == sorted(set(bounds))
    metrics = Metrics({"lifecycle": 0.7})
    assert (
        value(metrics, "provider_latency_seconds_bucket", provider="lifecycle", operation="find_lifecycle", le="0.56")
        == 0
    )
    assert value(metrics, "provider_deadline_seconds", provider="lifecycle") == 0.7
    assert value(metrics, "provider_deadline_seconds", provider="billing") == DEFAULT_DEADLINES["billing"]


def test_an_allow_counts_once_in_every_place() -> None:
    assert check(Metrics(), allow()) == {
        "checks_total{decision=allow,gate=none,reason=none}": 1,
        "check_latency_seconds_count{}": 1,
        **{f"gate_latency_seconds_count{{gate={gate}}}": 1 for gate in ("auth", "lifecycle", "billing", "protection")},
        "billing_checks_total{result=allow}": 1,
        "billing_state_lookups_total{source=cache}": 1,
        **{f"protection_decisions_total{{decision=allow,dimension={dimension}}}": 1 for dimension in Dimension},
        "gate_protection_decisions_total{decision=allow}": 5,
        "protection_checks_total{}": 1,
        "protection_check_latency_seconds_count{}": 1,
    }


def test_a_gate_that_was_not_asked_has_no_latency_and_no_dimension() -> None:
    skipped = tuple(report(gate, "skip", Source.NONE) for gate in FAIL_OPEN_GATES)
    assert check(Metrics(), allow(reports=skipped)) == {
        "checks_total{decision=allow,gate=none,reason=none}": 1,
        "check_latency_seconds_count{}": 1,
        "billing_checks_total{result=skip}": 1,
    }


@pytest.mark.parametrize(
    ("gate", "reason", "more"),
    [
        (Gate.LIFECYCLE, Reason.SUSPENDED, ("lifecycle_gate_blocks_total", "gate_lifecycle_blocks_total")),
        (Gate.BILLING, Reason.SUSPENDED, ("billing_gate_blocks_total", "gate_billing_blocks_total")),
        (Gate.REQUEST, Reason.PATH, ()),
    ],
)
def test_a_denial_counts_at_its_gate_under_both_names(gate: Gate, reason: Reason, more: tuple[str, ...]) -> None:
    assert check(Metrics(), deny(gate, reason)) == {
        f"checks_total{{decision=deny,gate={gate},reason={reason}}}": 1,
        "check_latency_seconds_count{}": 1,
        **{f"{name}{{reason={reason}}}": 1 for name in more},
    }


def test_auth_failures_say_the_method_none_where_nothing_was_presented() -> None:
    metrics = Metrics()
    grew = check(metrics, deny(Gate.AUTH, Reason.MISSING_CREDENTIALS))
    assert grew["auth_failures_total{method=none,reason=missing_credentials}"] == 1
    grew = check(metrics, deny(Gate.AUTH, Reason.INVALID_CREDENTIALS, method=AuthMethod.JWT))
    assert grew["auth_failures_total{method=jwt,reason=invalid_credentials}"] == 1
    principal = Principal(tenant_id="acme", method=AuthMethod.API_KEY, subject="k")
    refused = Denial(gate=Gate.AUTH, reason=Reason.OPERATOR_REQUIRED)
    known = Decision(decision_id="d", denial=refused, route=None, facts=Facts(principal=principal))
    assert check(metrics, known)["auth_failures_total{method=api_key,reason=operator_required}"] == 1


def test_a_blocked_dimension_ends_the_evaluation_in_the_locked_order() -> None:
    limited = RateLimited(dimension=Dimension.BURST, outcome=Outcome.THROTTLE)
    denial = Denial(gate=Gate.PROTECTION, reason=Reason.BURST, detail=limited)
    decision = Decision(decision_id="d", denial=denial, route=None, warnings=(Dimension.RATE,), near=(Dimension.QUOTA,))
    grew = check(Metrics(), decision)
    assert {name: n for name, n in grew.items() if name.startswith("protection")} == {
        "protection_decisions_total{decision=allow,dimension=quota}": 1,
        "protection_decisions_total{decision=warn,dimension=rate}": 1,
        "protection_decisions_total{decision=throttle,dimension=burst}": 1,
        "protection_near_limit_total{dimension=quota}": 1,
    }


def test_a_day_limit_counts_by_its_name_denied_or_not() -> None:
    metrics = Metrics()
    over = LimitExceeded(
        dimension=Dimension.QUOTA, current=9, allowed=9, plan_id="free", billing_state=BillingState.ACTIVE
    )
    grew = check(metrics, deny(Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY, detail=over))
    assert grew["billing_limit_exceeded_total{limit_name=max_requests_per_day}"] == 1
    assert grew["protection_decisions_total{decision=reject,dimension=quota}"] == 1
    assert grew["billing_gate_blocks_total{reason=max_requests_per_day}"] == 1
    grew = check(metrics, allow(warnings=(Dimension.COST,)))
    assert grew["billing_limit_exceeded_total{limit_name=max_cost_per_day}"] == 1
    assert grew["protection_decisions_total{decision=warn,dimension=cost}"] == 1


def test_abuse_003_an_anomaly_is_a_signal_and_the_check_an_allow() -> None:
    metrics = Metrics()
    grew = check(metrics, allow(warnings=(Dimension.ANOMALY,)))
    assert grew["checks_total{decision=allow,gate=none,reason=none}"] == 1
    before = scrape(metrics)
    metrics.anomaly(Signal(tenant_id="acme", severity=AnomalySeverity.CRITICAL, count=1000, baseline=10.0))
    grew = grown(metrics, before)
    assert grew["protection_anomaly_signals_total{severity=critical}"] == 1
    assert grew["protection_anomalies_total{severity=critical}"] == 1


@pytest.mark.parametrize(
    ("gate", "source", "answer"),
    [
        (Gate.LIFECYCLE, Source.STALE, "stale"),
        (Gate.BILLING, Source.DEFAULT, "default"),
        (Gate.BILLING, Source.CACHE, "default"),  # the state is known, the plan is not in the configuration
        (Gate.PROTECTION, Source.LOCAL, "local"),
        (Gate.AUTH, Source.NONE, "closed"),
    ],
)
def test_a_fallback_says_why_and_what_stood_in(gate: Gate, source: Source, answer: str) -> None:
    fell = GateReport(gate=gate, verdict="allow", mode="enforce", source=source, fallback=FallbackReason.TIMEOUT)
    grew = check(Metrics(), allow(reports=(fell,), degraded=(gate,)))
    assert grew[f"gate_fallbacks_total{{answer={answer},gate={gate},reason=timeout}}"] == 1
    assert grew["checks_degraded_total{}"] == 1


def test_protection_that_answered_by_default_decided_in_no_dimension() -> None:
    fell = GateReport(
        gate=Gate.PROTECTION, verdict="allow", mode="enforce", source=Source.DEFAULT, fallback=FallbackReason.TIMEOUT
    )
    grew = check(Metrics(), allow(reports=(fell,)))
    assert not [name for name in grew if name.startswith("protection_decisions")]
    assert grew["protection_checks_total{}"] == 1


def test_a_shadow_denial_is_counted_beside_the_allow() -> None:
    would = Denial(gate=Gate.BILLING, reason=Reason.SUSPENDED)
    shadow = GateReport(gate=Gate.BILLING, verdict="allow", mode="shadow", source=Source.CACHE, shadow=would)
    grew = check(Metrics(), allow(reports=(shadow,)))
    assert grew["gate_shadow_denials_total{gate=billing,reason=suspended}"] == 1
    assert "billing_gate_blocks_total{reason=suspended}" not in grew


def test_provider_errors_count_refused_calls_too() -> None:
    metrics = Metrics()
    before = scrape(metrics)
    watch = metrics.provider("lifecycle")
    watch.called("find_lifecycle", 0.5, answered=False)
    watch.called("find_lifecycle", 0.01, answered=True)
    watch.refused("find_lifecycle")
    assert grown(metrics, before) == {
        "provider_latency_seconds_count{operation=find_lifecycle,provider=lifecycle}": 2,
        "provider_errors_total{operation=find_lifecycle,provider=lifecycle}": 2,
        "lifecycle_provider_errors_total{}": 2,
    }


def test_billing_latency_has_its_second_name_summed_over_operations() -> None:
    metrics = Metrics()
    watch = metrics.provider("billing")
    watch.called("find_billing", 0.01, answered=True)
    watch.called("find_plan", 0.02, answered=True)
    assert value(metrics, "billing_provider_latency_seconds_count") == 2
    assert value(metrics, "billing_provider_latency_seconds_sum") == pytest.approx(0.03)


def test_a_circuit_shows_its_state_and_counts_each_opening_once() -> None:
    metrics = Metrics()
    watch = metrics.provider("billing")
    seen = []
    for state in (CircuitState.OPEN, CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.OPEN, CircuitState.CLOSED):
        watch.circuit(state)
        seen.append(value(metrics, "provider_circuit_state", provider="billing"))
    assert seen == [2, 2, 1, 2, 0]
    assert value(metrics, "provider_circuit_open_total", provider="billing") == 2


def test_a_provider_without_a_deadline_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no deadline was given for provider 'weather'"):
        Metrics().provider("weather")


def test_10000_tenants_do_not_grow_the_series() -> None:
    metrics = Metrics()
    for number in range(1_000):
        metrics.transitioned(transition(f"t{number}"))
    full = set(scrape(metrics))
    for number in range(10_000):
        tenant = f"t{number}"
        metrics.transitioned(transition(tenant))
        principal = Principal(tenant_id=tenant, method=AuthMethod.API_KEY, subject=tenant)
        request = CheckRequest(method=tenant, path=f"/{tenant}", headers={"x": tenant}, request_id=tenant)
        metrics.checked(request, allow(facts=Facts(principal=principal)), 0.001)
        metrics.transition_failed(tenant)
    assert set(scrape(metrics)) == full
    moved = {"from": "ACTIVE", "to": "SUSPENDED"}
    assert value(metrics, "lifecycle_transitions_total", **moved, tenant_id="t999") == 2
    assert value(metrics, "lifecycle_transitions_total", **moved, tenant_id="_other") == 9_000
    assert value(metrics, "lifecycle_state_transitions_total", **moved) == 11_000
    assert len(metrics.render()[1]) < 1_000_000


def transition(tenant_id: str, to: LifecycleState = LifecycleState.SUSPENDED) -> Transition:
    return Transition(tenant_id=tenant_id, from_state=LifecycleState.ACTIVE, to_state=to)


def test_offboard_001_the_same_state_again_is_no_transition() -> None:
    metrics = Metrics()
    before = scrape(metrics)
    metrics.transitioned(transition("acme", LifecycleState.ACTIVE))
    assert grown(metrics, before) == {}


def test_events_are_counted_where_they_went() -> None:
    metrics = Metrics()
    before = scrape(metrics)
    event = Event(
        event_id="e",
        type=EventType.PROTECTION_DECISION,
        source=EventSource.PROTECTION,
        tenant_id="acme",
        timestamp=0.0,
        severity=Severity.INFO,
        actor=SYSTEM_ACTOR,
    )
    metrics.events.accepted(event)
    metrics.events.refused("invalid")
    metrics.events.stored(3, 0.01)
    metrics.events.failed(2, "timeout", 0.05)
    metrics.events.dropped(4, "queue_full")
    assert grown(metrics, before) == {
        "observability_events_total{source=protection,type=protection_decision}": 1,
        "observability_events_emitted_total{source=protection,type=protection_decision}": 1,
        "observability_emit_attempts_total{success=true}": 3,
        "observability_emit_attempts_total{success=false}": 3,
        "observability_emit_failures_total{reason=invalid}": 1,
        "observability_emit_failures_total{reason=timeout}": 2,
        "observability_events_dropped_total{reason=queue_full}": 4,
        "observability_emit_latency_seconds_count{}": 2,
        "provider_latency_seconds_count{operation=append,provider=events}": 2,
        "provider_errors_total{operation=append,provider=events}": 1,
    }


def test_sizes_and_lag_are_read_at_scrape_time() -> None:
    metrics = Metrics()
    metrics.events.follow(queue_depth=lambda: 7, dead_letters=lambda: 8, store_size=lambda: 9)
    metrics.follow_lag(lambda: 0.25)
    metrics.bypassed(Gate.BILLING, active=True)
    metrics.reloaded(success=False)
    metrics.reloaded(success=True)
    assert value(metrics, "observability_queue_depth") == 7
    assert value(metrics, "observability_dead_letter_size") == 8
    assert value(metrics, "observability_store_size_bytes") == 9
    assert value(metrics, "event_loop_lag_seconds") == 0.25
    assert value(metrics, "gate_bypass_active", gate="billing") == 1
    assert value(metrics, "config_reloads_total", result="failure") == 1
    assert value(metrics, "config_reloads_total", result="success") == 1


def test_grpc_calls_are_named_as_go_grpc_prometheus_names_them() -> None:
    metrics = Metrics()
    before = scrape(metrics)
    ended = metrics.rpc("envoy.service.auth.v3.Authorization", "Check")
    ended(0, 0.001)
    ended(8, 0.001)
    method = "grpc_method=Check,grpc_service=envoy.service.auth.v3.Authorization"
    assert grown(metrics, before) == {
        f"grpc_server_handled_total{{grpc_code=OK,{method}}}": 1,
        f"grpc_server_handled_total{{grpc_code=ResourceExhausted,{method}}}": 1,
        f"grpc_server_handling_seconds_count{{{method}}}": 2,
    }


def test_the_seams_are_implemented() -> None:
    metrics = Metrics()
    checks: CheckObserver = metrics
    changes: ChangeObserver = metrics
    provider: ProviderObserver = metrics.provider("credentials")
    checks.checked(None, allow(), 0.1)
    changes.transition_failed("provider_error")
    provider.cache(CacheResult.HIT)
    assert value(metrics, "provider_cache_requests_total", provider="credentials", result="hit") == 1
