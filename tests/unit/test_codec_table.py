"""Every row of the table of answers, written by us and read by an independent library."""

from dataclasses import dataclass, field

import pytest

from extauthz.model.billing import BillingState
from extauthz.model.decision import (
    REASONS_BY_GATE,
    BillingBlocked,
    Denial,
    Detail,
    Facts,
    Gate,
    LifecycleBlocked,
    LimitExceeded,
    RateLimited,
    Reason,
)
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import Dimension, Outcome, RateStatus
from extauthz.model.request import CheckRequest
from extauthz.server.encode import Encoder
from extauthz.server.status import ROWS, http_status
from tests import oracle

INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 3, 7, 8
INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 13, 14, 16

RATE = RateStatus(limit=60, remaining=0, reset_us=59_000_001)


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

PATHS = [pytest.param(row, id=f"{row.status}-{row.gate}-{row.reason}") for row in TABLE]


def asked(headers: dict[str, str] | None = None, request_id: str = "r-1") -> CheckRequest:
    return CheckRequest(method="POST", path="/client-path", headers=headers or {}, request_id=request_id)


def known(row: Expected) -> Facts:
    """The rate is known where protection was asked; it must not show in the answers of other gates."""
    counted = row.headers.keys() & RATE_LINES.keys() or row.gate is Gate.BILLING
    return Facts(principal=oracle.principal(), rate=RATE if counted else None)


@pytest.mark.parametrize("row", PATHS)
def test_a_row_of_the_table(row: Expected) -> None:
    decided = oracle.decision(row.denial(), known=known(row))
    answer = oracle.read(Encoder().encode(decided, asked(), 0.001))
    assert not answer.allowed
    assert answer.http_status == row.status == http_status(row.denial())
    assert answer.rpc_code == row.grpc
    assert answer.body == {
        "error": row.error,
        "gate": row.gate.value,
        "reason": row.reason.value,
        "request_id": "r-1",
        **row.body,
    }
    assert answer.to_client == {
        "content-type": "application/json",
        "x-extauthz-gate": row.gate.value,
        "x-extauthz-reason": row.reason.value,
        **row.headers,
    }
    words = (answer.metadata["decision"], answer.metadata["gate"], answer.metadata["reason"])
    assert words == ("deny", row.gate.value, row.reason.value)


@pytest.mark.parametrize("row", PATHS)
@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "Application/GRPC-Web"])
def test_a_grpc_caller_gets_its_status(row: Expected, content_type: str) -> None:
    decided = oracle.decision(row.denial(), known=known(row))
    answer = oracle.read(Encoder().encode(decided, asked({"content-type": content_type}), 0.001))
    assert answer.to_client["grpc-status"] == str(row.grpc)


@pytest.mark.parametrize("row", PATHS)
def test_nothing_of_the_client_or_of_the_note_comes_back(row: Expected) -> None:
    request = asked({"x-api-key": "client-secret", ":authority": "client-host"}, request_id="")
    written = Encoder().encode(oracle.decision(row.denial(), known=known(row)), request, 0.001)
    assert "request_id" not in oracle.read(written).body
    for word in (b"client-secret", b"client-host", b"client-path", b"secret-note"):
        assert word not in written


def test_a_quota_of_a_tenant_whose_standing_is_not_known() -> None:
    detail = LimitExceeded(dimension=Dimension.QUOTA, current=10, allowed=10, plan_id="pro", billing_state=None)
    denial = Denial(gate=Gate.BILLING, reason=Reason.MAX_REQUESTS_PER_DAY, detail=detail)
    assert "billing_state" not in oracle.read(Encoder().encode(oracle.decision(denial), asked(), 0.001)).body


def test_every_reason_a_gate_can_give_has_its_row() -> None:
    pairs = {(gate, reason) for gate, reasons in REASONS_BY_GATE.items() for reason in reasons if gate is not Gate.NONE}
    assert pairs == set(ROWS) == {(row.gate, row.reason) for row in TABLE}


def test_a_denial_that_does_not_exist_is_not_written() -> None:
    with pytest.raises(KeyError):
        Encoder().encode(oracle.decision(Denial(gate=Gate.BILLING, reason=Reason.RATE)), asked(), 0.001)


def test_an_allow_is_200_for_who_explains_it() -> None:
    assert http_status(None) == 200
