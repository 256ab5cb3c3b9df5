"""Dynamic metadata: what Envoy's access log and later filters learn of a decision.

Namespace `envoy.filters.http.ext_authz`. Beside the decision's own words each gate that was asked has a Struct under its
name: `verdict`, `mode`, `source`, `age_ms` where the value has an age, `shadow` (the reason for which a gate in shadow mode
would have denied) and `fallback` (why it answered without its provider). What is not known is left out.
"""

from functools import lru_cache
from typing import Final

from extauthz.model.decision import Decision, FallbackReason, Gate, GateReport, Reason, Source
from extauthz.server import wire

_LATENCY: Final = wire.number_entry_start(b"latency_ms")
_AGE: Final = wire.number_entry_start(b"age_ms")
_DOUBLE_SIZE: Final = 8


def lasting(decision: Decision) -> bytes:
    """The part that stays the same while the tenant does."""
    principal, plan = decision.facts.principal, decision.facts.plan
    entries = _words(decision.gate, decision.reason, decision.degraded)
    if principal is not None:
        entries += wire.string_entry(b"tenant_id", principal.tenant_id)
    if plan is not None:
        entries += wire.string_entry(b"plan", plan.plan_id)
    return entries


@lru_cache(maxsize=256)
def _words(gate: Gate, reason: Reason, degraded: tuple[Gate, ...]) -> bytes:
    return b"".join(
        [
            wire.string_entry(b"decision", "allow" if gate is Gate.NONE else "deny"),
            wire.string_entry(b"gate", gate),
            wire.string_entry(b"reason", reason),
            wire.string_entry(b"degraded", ",".join(degraded)),
        ]
    )


def passing(decision: Decision, seconds: float) -> bytes:
    """The part that is new with each check."""
    started = wire.string_entry(b"decision_id", decision.decision_id) + _LATENCY + wire.number(round(seconds * 1e3, 3))
    return started + b"".join([_gate(report) for report in decision.reports])


def _gate(report: GateReport) -> bytes:
    shadow = None if report.shadow is None else report.shadow.reason
    age = report.age_ms
    start = _gate_start(
        report.gate, report.verdict, report.mode, report.source, shadow, report.fallback, has_age=age is not None
    )
    return start if age is None else start + wire.number(age)


@lru_cache(maxsize=1024)
def _gate_start(
    gate: Gate,
    verdict: str,
    mode: str,
    source: Source,
    shadow: Reason | None,
    fallback: FallbackReason | None,
    *,
    has_age: bool,
) -> bytes:
    entries = wire.string_entry(b"verdict", verdict) + wire.string_entry(b"mode", mode)
    entries += wire.string_entry(b"source", source)
    if shadow is not None:
        entries += wire.string_entry(b"shadow", shadow)
    if fallback is not None:
        entries += wire.string_entry(b"fallback", fallback)
    if has_age:
        entries += _AGE
    return wire.struct_entry_start(wire.text(gate), entries, _DOUBLE_SIZE if has_age else 0)
