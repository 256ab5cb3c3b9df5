"""The one table from gate and reason to status codes (spec 3.6)."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from grpc import StatusCode

from extauthz.model.decision import Denial, Gate, RateLimited, Reason
from extauthz.model.protection import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How a denial looks from outside.

    `retry` says that the answer carries retry-after, `ratelimited` that it carries x-envoy-ratelimited.
    """

    http: HTTPStatus
    error: str
    grpc: StatusCode
    retry: bool = False
    ratelimited: bool = False

    @property
    def grpc_number(self) -> int:
        """The gRPC status code as it travels."""
        number: int = self.grpc.value[0]
        return number


_MALFORMED = Row(http=HTTPStatus.BAD_REQUEST, error="malformed_request", grpc=StatusCode.INVALID_ARGUMENT)
_OVERLOADED = Row(http=HTTPStatus.SERVICE_UNAVAILABLE, error="overloaded", grpc=StatusCode.UNAVAILABLE, retry=True)
_INTERNAL = Row(http=HTTPStatus.INTERNAL_SERVER_ERROR, error="internal", grpc=StatusCode.INTERNAL)
_UNAUTHENTICATED = Row(http=HTTPStatus.UNAUTHORIZED, error="unauthenticated", grpc=StatusCode.UNAUTHENTICATED)
_FORBIDDEN = Row(http=HTTPStatus.FORBIDDEN, error="forbidden", grpc=StatusCode.PERMISSION_DENIED)
_NO_AUTH = Row(http=HTTPStatus.SERVICE_UNAVAILABLE, error="auth_unavailable", grpc=StatusCode.UNAVAILABLE, retry=True)
_BLOCKED = Row(http=HTTPStatus.FORBIDDEN, error="lifecycle_blocked", grpc=StatusCode.PERMISSION_DENIED)
_UNKNOWN = Row(http=HTTPStatus.FORBIDDEN, error="tenant_unknown", grpc=StatusCode.PERMISSION_DENIED)
_UNPAID = Row(http=HTTPStatus.PAYMENT_REQUIRED, error="billing_suspended", grpc=StatusCode.PERMISSION_DENIED)
_QUOTA = Row(http=HTTPStatus.PAYMENT_REQUIRED, error="limit_exceeded", grpc=StatusCode.RESOURCE_EXHAUSTED, retry=True)
_REJECTED = Row(
    http=HTTPStatus.TOO_MANY_REQUESTS,
    error="rate_limited",
    grpc=StatusCode.RESOURCE_EXHAUSTED,
    retry=True,
    ratelimited=True,
)
_THROTTLED = Row(
    http=HTTPStatus.SERVICE_UNAVAILABLE,
    error="rate_limited",
    grpc=StatusCode.UNAVAILABLE,
    retry=True,
    ratelimited=True,
)
_COST = Row(
    http=HTTPStatus.TOO_MANY_REQUESTS,
    error="cost_limit_exceeded",
    grpc=StatusCode.RESOURCE_EXHAUSTED,
    retry=True,
    ratelimited=True,
)
_NO_GATE = Row(http=HTTPStatus.SERVICE_UNAVAILABLE, error="gate_unavailable", grpc=StatusCode.UNAVAILABLE, retry=True)

ROWS: Final[dict[tuple[Gate, Reason], Row]] = {
    (Gate.REQUEST, Reason.PATH): _MALFORMED,
    (Gate.REQUEST, Reason.MESSAGE): _MALFORMED,
    (Gate.REQUEST, Reason.CONTEXT): _MALFORMED,
    (Gate.REQUEST, Reason.OVERLOADED): _OVERLOADED,
    (Gate.REQUEST, Reason.INTERNAL): _INTERNAL,
    (Gate.AUTH, Reason.MISSING_CREDENTIALS): _UNAUTHENTICATED,
    (Gate.AUTH, Reason.INVALID_CREDENTIALS): _UNAUTHENTICATED,
    (Gate.AUTH, Reason.OPERATOR_REQUIRED): _FORBIDDEN,
    (Gate.AUTH, Reason.INSUFFICIENT_SCOPE): _FORBIDDEN,
    (Gate.AUTH, Reason.PROVIDER_UNAVAILABLE): _NO_AUTH,
    (Gate.LIFECYCLE, Reason.SUSPENDED): _BLOCKED,
    (Gate.LIFECYCLE, Reason.TERMINATED): _BLOCKED,
    (Gate.LIFECYCLE, Reason.ARCHIVED): _BLOCKED,
    (Gate.LIFECYCLE, Reason.TENANT_UNKNOWN): _UNKNOWN,
    (Gate.LIFECYCLE, Reason.PROVIDER_UNAVAILABLE): _NO_GATE,
    (Gate.BILLING, Reason.SUSPENDED): _UNPAID,
    (Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY): _QUOTA,
    (Gate.BILLING, Reason.PROVIDER_UNAVAILABLE): _NO_GATE,
    (Gate.PROTECTION, Reason.RATE): _REJECTED,
    (Gate.PROTECTION, Reason.BURST): _REJECTED,
    (Gate.PROTECTION, Reason.COST): _COST,
    (Gate.PROTECTION, Reason.PROVIDER_UNAVAILABLE): _NO_GATE,
}
"""A denial of rate or burst is a rejection here; `row_for` knows the throttled ones."""


def row_for(denial: Denial) -> Row:
    """How `denial` looks from outside.

    Raises:
        KeyError: the gate never denies for that reason.
    """
    if isinstance(denial.detail, RateLimited) and denial.detail.outcome is Outcome.THROTTLE:
        return _THROTTLED
    return ROWS[denial.gate, denial.reason]


def http_status(denial: Denial | None) -> int:
    """The HTTP status a client sees; 200 stands for an allow, whose status is the upstream's."""
    return int(HTTPStatus.OK if denial is None else row_for(denial).http)


def retry_after_seconds(retry_after_ms: int | None) -> int:
    """Whole seconds, rounded up, at least 1; 1 where the moment is not known."""
    return max(1, -(-(retry_after_ms or 0) // 1000))
