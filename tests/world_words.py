"""Records, requests and decisions of the service in the words of the world."""

from typing import Any, Final

from extauthz.model.billing import BillingRecord
from extauthz.model.decision import Decision, GateReport
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord
from tests.world_answer import Key, Report, Seen, Standing, Tenant

PATHS: Final = {
    "public": "/health",
    "refresh": "/api/v1/auth/refresh",
    "onboarding": "/api/v1/onboarding/steps",
    "operator": "/fdr/x",
    "sdk": "/api/v1/runs",
    "standard": "/api/v1/things",
}
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
COST: Final = 1
"""What a request of class `sdk` costs."""


def words(record: Any) -> Any:
    """A provider's record as the facts have it."""
    if isinstance(record, LifecycleRecord):
        return Tenant(record.state.value, record.onboarding.value)
    if isinstance(record, BillingRecord):
        return Standing(record.state.value, record.plan_id)
    if isinstance(record, ApiKey):
        return Key(record.tenant_id, record.revoked_at is not None, record.expires_at)
    return None


def seen_as(
    decision: Decision,
    asked: float,
    answered: float,
    budget: float,
    credential: str,
    key: str,
    route: str,
    method: str,
) -> Seen:
    """The answer in words and numbers."""
    facts, denial = decision.facts, decision.denial
    return Seen(
        asked=asked,
        answered=answered,
        budget=budget,
        credential=credential,
        key=key,
        route=route,
        reads=method in READS,
        cost=COST if route == "sdk" else 0,
        gate=decision.gate.value,
        reason=decision.reason.value,
        note="" if denial is None else denial.note,
        tenant=None if facts.principal is None else facts.principal.tenant_id,
        state=None if facts.lifecycle is None else facts.lifecycle.value,
        standing=None if facts.billing is None else facts.billing.value,
        plan=None if facts.plan is None else facts.plan.plan_id,
        rate_limit=None if facts.rate is None else facts.rate.limit,
        degraded=tuple(gate.value for gate in decision.degraded),
        reports={made.gate.value: _report(made) for made in decision.reports},
    )


def _report(made: GateReport) -> Report:
    fallback = None if made.fallback is None else made.fallback.value
    return Report(made.verdict, made.source.value, fallback, made.age_ms)


def spoilt(text: str, credential: str) -> str:
    """The key, or one with a forged mac, or with another secret."""
    if credential == "forged":
        return text[:21] + ("a" if text[21] != "a" else "b") + text[22:]
    if credential == "wrong":
        return text[:-3] + ("a" if text[-3] != "a" else "b") + text[-2:]
    return text
