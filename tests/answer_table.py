"""The table of answers of the contract, row by row."""

from dataclasses import dataclass, field

from extauthz.model.billing import BillingState
from extauthz.model.decision import (
    BillingBlocked,
    Denial,
    Detail,
    Gate,
    LifecycleBlocked,
    LimitExceeded,
    RateLimited,
    Reason,
)
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import Dimension, Outcome

INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 3, 7, 8
INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 13, 14, 16


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One row: what stands in the table of the contract."""

    gate: Gate
    reason: Reason
    status: int
    error: str
    grpc: int
    detail: Detail | None = None
    retry_after_ms: int | None = None
    presented: bool = False
    body: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def denial(self) -> Denial:
        return Denial(
            gate=self.gate,
            reason=self.reason,
            detail=self.detail,
            retry_after_ms=self.retry_after_ms,
            credential_presented=self.presented,
            note="secret-note",
        )


RATE_LINES = {"x-ratelimit-limit": "60, 60;w=60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "60"}


def limited(dimension: Dimension, outcome: Outcome, status: int, grpc: int) -> Expected:
    return Expected(
        gate=Gate.PROTECTION,
        reason=Reason(dimension.value),
        status=status,
        error="rate_limited",
        grpc=grpc,
        detail=RateLimited(dimension=dimension, outcome=outcome),
        retry_after_ms=1001,
        body={"dimension": dimension.value, "retry_after_ms": 1001},
        headers={"retry-after": "2", "x-envoy-ratelimited": "true", **RATE_LINES},
    )


def lifecycle(state: LifecycleState) -> Expected:
    allowed = (LifecycleState.ACTIVE,)
    return Expected(
        gate=Gate.LIFECYCLE,
        reason=Reason(state.value.lower()),
        status=403,
        error="lifecycle_blocked",
        grpc=PERMISSION_DENIED,
        detail=LifecycleBlocked(state=state, allowed_states=allowed),
        body={
            "state": state.value,
            "message": f"This tenant is {state.value.lower()}.",
            "allowed_states": ["ACTIVE"],
        },
    )


def closed(gate: Gate, error: str, retry_after_ms: int | None, seconds: str) -> Expected:
    return Expected(
        gate=gate,
        reason=Reason.PROVIDER_UNAVAILABLE,
        status=503,
        error=error,
        grpc=UNAVAILABLE,
        retry_after_ms=retry_after_ms,
        headers={"retry-after": seconds},
    )


def malformed(reason: Reason) -> Expected:
    return Expected(gate=Gate.REQUEST, reason=reason, status=400, error="malformed_request", grpc=INVALID_ARGUMENT)


def unauthenticated(reason: Reason, challenge: str, *, presented: bool) -> Expected:
    return Expected(
        gate=Gate.AUTH,
        reason=reason,
        status=401,
        error="unauthenticated",
        grpc=UNAUTHENTICATED,
        presented=presented,
        headers={"www-authenticate": challenge},
    )


def forbidden(reason: Reason) -> Expected:
    return Expected(gate=Gate.AUTH, reason=reason, status=403, error="forbidden", grpc=PERMISSION_DENIED)


TABLE = [
    malformed(Reason.PATH),
    malformed(Reason.MESSAGE),
    malformed(Reason.CONTEXT),
    Expected(
        gate=Gate.REQUEST,
        reason=Reason.OVERLOADED,
        status=503,
        error="overloaded",
        grpc=UNAVAILABLE,
        headers={"retry-after": "1"},
    ),
    Expected(gate=Gate.REQUEST, reason=Reason.INTERNAL, status=500, error="internal", grpc=INTERNAL),
    unauthenticated(Reason.MISSING_CREDENTIALS, "Bearer", presented=False),
    unauthenticated(Reason.INVALID_CREDENTIALS, 'Bearer error="invalid_token"', presented=True),
    forbidden(Reason.OPERATOR_REQUIRED),
    forbidden(Reason.INSUFFICIENT_SCOPE),
    closed(Gate.AUTH, "auth_unavailable", 2500, "3"),
    closed(Gate.AUTH, "auth_unavailable", None, "1"),
    lifecycle(LifecycleState.SUSPENDED),
    lifecycle(LifecycleState.TERMINATED),
    lifecycle(LifecycleState.ARCHIVED),
    Expected(
        gate=Gate.LIFECYCLE, reason=Reason.TENANT_UNKNOWN, status=403, error="tenant_unknown", grpc=PERMISSION_DENIED
    ),
    closed(Gate.LIFECYCLE, "gate_unavailable", None, "1"),
    Expected(
        gate=Gate.BILLING,
        reason=Reason.SUSPENDED,
        status=402,
        error="billing_suspended",
        grpc=PERMISSION_DENIED,
        detail=BillingBlocked(billing_state=BillingState.SUSPENDED),
        body={"billing_state": "SUSPENDED", "next_action": "contact_support"},
    ),
    Expected(
        gate=Gate.BILLING,
        reason=Reason.MAX_REQUESTS_PER_DAY,
        status=402,
        error="limit_exceeded",
        grpc=RESOURCE_EXHAUSTED,
        detail=LimitExceeded(
            dimension=Dimension.QUOTA, current=1000, allowed=1000, plan_id="pro", billing_state=BillingState.TRIAL
        ),
        retry_after_ms=3_600_000,
        body={
            "limit": "max_requests_per_day",
            "current_value": 1000,
            "allowed_value": 1000,
            "plan": "pro",
            "billing_state": "TRIAL",
        },
        headers={"retry-after": "3600"},
    ),
    closed(Gate.BILLING, "gate_unavailable", 1, "1"),
    limited(Dimension.RATE, Outcome.REJECT, 429, RESOURCE_EXHAUSTED),
    limited(Dimension.RATE, Outcome.THROTTLE, 503, UNAVAILABLE),
    limited(Dimension.BURST, Outcome.REJECT, 429, RESOURCE_EXHAUSTED),
    limited(Dimension.BURST, Outcome.THROTTLE, 503, UNAVAILABLE),
    Expected(
        gate=Gate.PROTECTION,
        reason=Reason.COST,
        status=429,
        error="cost_limit_exceeded",
        grpc=RESOURCE_EXHAUSTED,
        detail=LimitExceeded(
            dimension=Dimension.COST, current=4_250_000, allowed=5_000_000, plan_id="pro", billing_state=None
        ),
        retry_after_ms=86_400_000,
        body={
            "limit": "max_cost_per_day",
            "current_value": "4.25",
            "allowed_value": "5",
            "retry_after_ms": 86_400_000,
        },
        headers={"retry-after": "86400", "x-envoy-ratelimited": "true", **RATE_LINES},
    ),
    closed(Gate.PROTECTION, "gate_unavailable", 30_000, "30"),
]
