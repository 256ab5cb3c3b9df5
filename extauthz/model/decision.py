"""What was decided, and why: one vocabulary for body, header, metadata, metric label and log field."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from extauthz.model.billing import BillingState, Plan
from extauthz.model.identity import AuthMethod, Principal
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import Dimension, Outcome, RateStatus
from extauthz.model.request import Route
from extauthz.model.value import value


class Gate(StrEnum):
    """Who said no. NONE on an allow; REQUEST before any gate was asked."""

    NONE = "none"
    REQUEST = "request"
    AUTH = "auth"
    LIFECYCLE = "lifecycle"
    BILLING = "billing"
    PROTECTION = "protection"


FAIL_OPEN_GATES: Final = (Gate.LIFECYCLE, Gate.BILLING, Gate.PROTECTION)


class Reason(StrEnum):
    """Why, in the words of the table in spec 3.6."""

    NONE = "none"
    PATH = "path"
    MESSAGE = "message"
    CONTEXT = "context"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"
    MISSING_CREDENTIALS = "missing_credentials"
    INVALID_CREDENTIALS = "invalid_credentials"
    OPERATOR_REQUIRED = "operator_required"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"
    ARCHIVED = "archived"
    TENANT_UNKNOWN = "tenant_unknown"
    MAX_REQUESTS_PER_DAY = "max_requests_per_day"
    RATE = "rate"
    BURST = "burst"
    COST = "cost"


REASONS_BY_GATE: Final[dict[Gate, tuple[Reason, ...]]] = {
    Gate.NONE: (Reason.NONE,),
    Gate.REQUEST: (Reason.PATH, Reason.MESSAGE, Reason.CONTEXT, Reason.OVERLOADED, Reason.INTERNAL),
    Gate.AUTH: (
        Reason.MISSING_CREDENTIALS,
        Reason.INVALID_CREDENTIALS,
        Reason.OPERATOR_REQUIRED,
        Reason.INSUFFICIENT_SCOPE,
        Reason.PROVIDER_UNAVAILABLE,
    ),
    Gate.LIFECYCLE: (
        Reason.SUSPENDED,
        Reason.TERMINATED,
        Reason.ARCHIVED,
        Reason.TENANT_UNKNOWN,
        Reason.PROVIDER_UNAVAILABLE,
    ),
    Gate.BILLING: (Reason.SUSPENDED, Reason.MAX_REQUESTS_PER_DAY, Reason.PROVIDER_UNAVAILABLE),
    Gate.PROTECTION: (Reason.RATE, Reason.BURST, Reason.COST, Reason.PROVIDER_UNAVAILABLE),
}
"""Every pair that can occur: the label sets that metrics start with, the rows that tests walk."""


class Mode(StrEnum):
    """How much a gate may do (spec 3.7)."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class OnFailure(StrEnum):
    """What a gate answers without its provider and without a last-known state (spec 3.7)."""

    OPEN = "open"
    CLOSED = "closed"
    LOCAL = "local"


class Source(StrEnum):
    """Where a gate's value came from."""

    PROVIDER = "provider"
    CACHE = "cache"
    STALE = "stale"
    DEFAULT = "default"
    LOCAL = "local"
    NONE = "none"


class FallbackReason(StrEnum):
    """Why a provider's answer was not there (metric label of `gate_fallbacks_total`)."""

    TIMEOUT = "timeout"
    ERROR = "error"
    CIRCUIT_OPEN = "circuit_open"
    BULKHEAD = "bulkhead"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleBlocked:
    """Details of a lifecycle denial: the tenant's state and the states in which this request would pass."""

    state: LifecycleState
    allowed_states: tuple[LifecycleState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingBlocked:
    """Details of a denial for the billing state."""

    billing_state: BillingState


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitExceeded:
    """Details of a denial for a day limit (`quota` or `cost`). Figures are requests, or micro-units for cost."""

    dimension: Dimension
    current: int
    allowed: int
    plan_id: str
    billing_state: BillingState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimited:
    """Details of a denial for rate or burst."""

    dimension: Dimension
    outcome: Outcome


Detail = LifecycleBlocked | BillingBlocked | LimitExceeded | RateLimited


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """A no, before it is put into anybody's format. `retry_after_ms` None means: no use in trying again by itself.

    `note` is for log and event only (which of the many ways a credential was invalid); it never reaches the client.
    `method` is the one whose credential was refused, None where none was presented.
    """

    gate: Gate
    reason: Reason
    detail: Detail | None = None
    retry_after_ms: int | None = None
    note: str = ""
    credential_presented: bool = False
    method: AuthMethod | None = None


@value
class GateReport:
    """What one gate did, for metadata, metrics, `POST /check`.

    `verdict` is `allow`, `deny`, `warn`, or `skip` where the gate was off, bypassed or not asked for this class. `shadow` is
    the denial that a gate in shadow mode would have made. `fallback` is set where the provider gave no answer: `source` then tells
    what stood in for it, NONE that nothing did (`on_failure: closed`). `age_ms` is the age of the value, None where there is
    none. `seconds` is the time the gate added to the check; look-ups of two gates that ran at once are not counted twice.
    """

    gate: Gate
    verdict: str
    mode: str
    source: Source = Source.NONE
    age_ms: int | None = None
    seconds: float = 0.0
    shadow: Denial | None = None
    fallback: FallbackReason | None = None


@value
class Facts:
    """What became known of the tenant on the way; None where it was not asked or not known."""

    principal: Principal | None = None
    lifecycle: LifecycleState | None = None
    billing: BillingState | None = None
    plan: Plan | None = None
    rate: RateStatus | None = None


@value
class Decision:
    """The answer to one Check. It is an allow exactly when `denial` is None.

    `degraded` are the gates that answered without their provider. `warnings` are the dimensions exceeded without blocking,
    `near` those above 80 % of their limit.
    `strip` are the request headers that must not reach the upstream because they carried a credential.
    """

    decision_id: str
    denial: Denial | None
    route: Route | None
    facts: Facts = Facts()
    reports: tuple[GateReport, ...] = ()
    degraded: tuple[Gate, ...] = ()
    warnings: tuple[Dimension, ...] = ()
    near: tuple[Dimension, ...] = ()
    strip: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.denial is None

    @property
    def gate(self) -> Gate:
        """Who denied; NONE on an allow."""
        return Gate.NONE if self.denial is None else self.denial.gate

    @property
    def reason(self) -> Reason:
        """Why it was denied; NONE on an allow."""
        return Reason.NONE if self.denial is None else self.denial.reason
