"""Tenants as operators see them."""

import asyncio
from collections.abc import Coroutine, Mapping
from math import ceil
from typing import Any, TypeVar

import structlog

from extauthz.admin.answers import Refusal, rfc3339
from extauthz.admin.services import AdminServices
from extauthz.changes.caches import CacheView
from extauthz.errors import NotFound
from extauthz.gates.bypass import Bypass
from extauthz.model.billing import BillingRecord, BillingState, Limits, from_micros
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision, FallbackReason, GateReport, Source
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import AuditRecord, LifecycleRecord, Tenant
from extauthz.model.protection import Usage
from extauthz.ports import CircuitView, Fetched, Lookup, Unavailable
from extauthz.resilience.bounded import within

LookedUp = TypeVar("LookedUp")
Asked = TypeVar("Asked")

log = structlog.get_logger("extauthz.admin")

DEFAULT_BILLING = BillingRecord(state=BillingState.TRIAL)


async def tenant_view(services: AdminServices, tenant_id: str, *, fresh: bool) -> dict[str, object]:
    """One tenant as the gates see it now. With `fresh` past the cache, to verify that look-ups work; the answer fills it.

    Raises:
        NotFound: no such tenant.
        Refusal: 503, with `fresh`, where a look-up got no answer.
    """
    lifecycle, billing, tenant, usage = await asyncio.gather(
        _look_up(services, "lifecycle", services.lifecycle_lookup, tenant_id, fresh=fresh),
        _look_up(services, "billing", services.billing_lookup, tenant_id, fresh=fresh),
        _if_known(services, services.stores.lifecycle.get_tenant(tenant_id)),
        _if_known(services, services.protection.usage(tenant_id)),
    )
    if lifecycle is not None and lifecycle.value is None:
        raise NotFound(f"there is no tenant {tenant_id!r}")
    record = None if lifecycle is None else lifecycle.value
    return {
        "id": tenant_id,
        "name": None if tenant is None else tenant.name,
        "onboarding": None if record is None else record.onboarding.value,
        "lifecycle": {"state": None if record is None else record.state.value} | _origin(lifecycle),
        "billing": _billing(services, billing) | _origin(billing),
        "limits": _limits(services, billing),
        "usage": _usage(usage),
    }


async def _look_up(
    services: AdminServices, provider: str, lookup: Lookup[str, LookedUp], tenant_id: str, *, fresh: bool
) -> Fetched[LookedUp] | None:
    deadline = Deadline.after(services.lookup_timeout, services.clock)
    try:
        return await lookup.get(tenant_id, deadline, 0.0 if fresh else None)
    except Unavailable as unavailable:
        if fresh:
            raise _no_answer(provider, unavailable) from None
        return unavailable.last_known  # type: ignore[return-value]  # what this very look-up kept


def _no_answer(provider: str, unavailable: Unavailable) -> Refusal:
    """503, and what to do about it: an open circuit is not passed by, for who looks wants to see what the gates see."""
    reason = unavailable.reason
    detail = f"{provider}: the look-up got no answer ({reason.value})"
    if reason is FallbackReason.CIRCUIT_OPEN:
        detail += f"; it is not asked while its circuit is open: POST /breakers/{provider}/close, then look again"
    more = {"provider": provider, "reason": reason.value, "retry_in_ms": unavailable.retry_after_ms}
    return Refusal(503, "provider_unavailable", detail, more=more)


async def _if_known(services: AdminServices, asked: Coroutine[Any, Any, Asked]) -> Asked | None:
    """What is shown beside the rest; None where a provider fails or hangs, which must not hide what the caches still know."""
    try:
        return await within(services.provider_timeout, asked)
    except Exception as error:  # noqa: BLE001 - whatever a third party's provider raises
        log.info("not_shown", error=type(error).__name__)
        return None


def _usage(usage: Usage | None) -> dict[str, object]:
    if usage is None:
        return {"requests_today": None, "cost_today": None}
    return {"requests_today": usage.requests_today, "cost_today": from_micros(usage.cost_today)}


def _origin(fetched: Fetched[LifecycleRecord | None] | Fetched[BillingRecord | None] | None) -> dict[str, object]:
    if fetched is None:
        return {"source": Source.DEFAULT.value, "age_ms": None}
    return {"source": fetched.source.value, "age_ms": round(fetched.age * 1000)}


def _billing(services: AdminServices, fetched: Fetched[BillingRecord | None] | None) -> dict[str, object]:
    record = DEFAULT_BILLING if fetched is None or fetched.value is None else fetched.value
    plan_id = record.plan_id or services.plans.default.plan_id
    return {"state": record.state.value, "plan": None if fetched is None else plan_id}


def _limits(services: AdminServices, fetched: Fetched[BillingRecord | None] | None) -> dict[str, object]:
    """The limits of the plan (BILLING-002: derived here, stored nowhere); all None where the plan is not known."""
    record = None if fetched is None else fetched.value or DEFAULT_BILLING
    plan = None if record is None else services.plans.find(record.plan_id)
    limits = Limits() if plan is None else plan.limits
    cost = limits.max_cost_per_day
    return {
        "rate": limits.rate,
        "burst": limits.burst,
        "max_requests_per_day": limits.max_requests_per_day,
        "max_cost_per_day": None if cost is None else from_micros(cost),
    }


def listed_tenant(tenant: Tenant) -> dict[str, object]:
    """A tenant in a list: what its store has."""
    return {
        "id": tenant.tenant_id,
        "name": tenant.name,
        "onboarding": tenant.record.onboarding.value,
        "lifecycle": tenant.record.state.value,
        "created_at": rfc3339(tenant.created_at),
    }


def standing_view(record: BillingRecord | None) -> dict[str, object]:
    """A tenant's standing in a list, under the names that an import takes; who has none is on trial."""
    record = record or DEFAULT_BILLING
    return {"billing_state": record.state.value, "plan": record.plan_id}


def audit_view(record: AuditRecord) -> dict[str, object]:
    """Who, why, from, to, when (OFFBOARD-010)."""
    return {
        "what": record.what,
        "from": record.before or None,
        "to": record.after or None,
        "actor": {"type": record.change.actor.type.value, "id": record.change.actor.id},
        "reason": record.change.reason,
        "at": rfc3339(record.change.at),
        "request_id": record.change.request_id or None,
    }


def key_view(key: ApiKey) -> dict[str, object]:
    """A key without its secret: which peppers it needs is shown, its hash is not."""
    return {
        "key_id": key.key_id,
        "scopes": sorted(key.scopes),
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "last_used_at": rfc3339(key.last_used_at),
        "revoked_at": rfc3339(key.revoked_at),
        "mac_pepper": key.mac_pepper,
        "hash_pepper": key.hash_pepper,
    }


def decision_view(decision: Decision, status: int) -> Mapping[str, object]:
    """What would be decided and why."""
    denial = decision.denial
    return {
        "decision": "allow" if decision.allowed else "deny",
        "status": status,
        "gate": decision.gate.value,
        "reason": decision.reason.value,
        "class": None if decision.route is None else decision.route.route_class.value,
        "degraded": [gate.value for gate in decision.degraded],
        "retry_after_ms": None if denial is None else denial.retry_after_ms,
        "steps": [_step(report) for report in decision.reports],
    }


def _step(report: GateReport) -> dict[str, object]:
    return {
        "gate": report.gate.value,
        "verdict": report.verdict,
        "mode": report.mode,
        "source": report.source.value,
        "age_ms": report.age_ms,
        "shadow": None if report.shadow is None else report.shadow.reason.value,
        "fallback": None if report.fallback is None else report.fallback.value,
    }


def breaker_view(circuit: CircuitView) -> dict[str, object]:
    """A circuit. Times are None where it is closed; `retry_in_ms` 0: the next call is the try."""
    return {
        "provider": circuit.provider,
        "state": circuit.state.value,
        "failures": circuit.failures,
        "opened_for_ms": milliseconds(circuit.opened_for),
        "retry_in_ms": milliseconds(circuit.retry_in),
    }


def cache_view(cache: CacheView) -> dict[str, object]:
    """A cache. Counts are since the start; None where nobody counts them."""
    rate = cache.hit_rate
    return {
        "provider": cache.provider,
        "operation": cache.operation,
        "entries": cache.entries,
        "max_entries": cache.max_entries,
        "in_flight": cache.in_flight,
        "hits": cache.hits,
        "misses": cache.misses,
        "stale": cache.stale,
        "hit_rate": None if rate is None else round(rate, 4),
    }


def bypass_view(bypass: Bypass, now: float) -> dict[str, object]:
    """A gate's bypass, as a change of it answers; `now` is Unix seconds. `until` None: not active, or without an end."""
    return {"gate": bypass.gate.value, "active": bypass.active, "until": bypass_end(bypass, now)}


def listed_bypass(bypass: Bypass, now: float) -> dict[str, object]:
    """The same with who, why and since when; None where it is not active. `source` is `operator` or `environment`."""
    change = bypass.change
    return {
        **bypass_view(bypass, now),
        "reason": None if change is None else change.reason,
        "source": None if change is None else "environment" if bypass.permanent else "operator",
        "since": None if change is None else rfc3339(round(change.at)),
    }


def bypass_end(bypass: Bypass, now: float) -> str | None:
    """When a bypass ends by the calendar, to the second, however the calendar was set meanwhile."""
    return None if bypass.remaining is None else rfc3339(round(now + bypass.remaining))


def milliseconds(seconds: float | None) -> int | None:
    """Whole ones, rounded up: 0 is now. None stays None."""
    return None if seconds is None else ceil(round(seconds * 1000, 3))
