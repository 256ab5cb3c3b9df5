"""The atomic charge: what is asked of the protection provider and what it answers (spec section 3.5)."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from extauthz.model.billing import Limits
from extauthz.model.value import value


class Dimension(StrEnum):
    """What is limited, in the locked order of evaluation."""

    QUOTA = "quota"
    RATE = "rate"
    BURST = "burst"
    COST = "cost"
    ANOMALY = "anomaly"


CHARGED: Final = (Dimension.QUOTA, Dimension.RATE, Dimension.BURST, Dimension.COST)
"""The dimensions of one charge, in the locked order; anomaly is a signal beside it."""

RATE_PERIOD_US: Final = 60_000_000
BURST_PERIOD_US: Final = 1_000_000


class Outcome(StrEnum):
    """What protection says. Every outcome is explicit (ABUSE-002)."""

    ALLOW = "allow"
    WARN = "warn"
    THROTTLE = "throttle"
    REJECT = "reject"


@value
class Charge:
    """One request to be counted, all or nothing.

    `limits` are the ones in force for this request (None: counted, not limited). `blocking` names the dimensions that stop
    the request when exceeded; the others are reported and charged. `cost` is in micro-units. With `commit` False nothing is
    consumed: the answer says what would happen.
    """

    tenant_id: str
    limits: Limits
    blocking: frozenset[Dimension]
    cost: int = 0
    commit: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeded:
    """A dimension that this request would exceed.

    `wait_us` is the true time until the dimension alone would let the same request through. `current` and `allowed` are the
    count before this request and the limit: requests, or micro-units for cost.
    """

    dimension: Dimension
    wait_us: int
    current: int
    allowed: int


@value
class RateStatus:
    """Where the `rate` bucket stands after this charge: the limit, whole requests left now, microseconds until full."""

    limit: int
    remaining: int
    reset_us: int


@value
class ChargeResult:
    """The answer to a charge.

    `exceeded` holds every dimension over its limit, in the locked order, blocking or not; the request was `charged` exactly
    when none of them blocks. `near` are the dimensions above 80 % of their limit. `rate` is None when rate is unlimited.
    `cost_today` (micro-units) is the day's cost after this charge, None where it is unlimited or the provider does not tell.
    It is no part of what is answered: a note for the time in which the provider gives no answer.
    """

    charged: bool
    exceeded: tuple[Exceeded, ...] = ()
    near: tuple[Dimension, ...] = ()
    rate: RateStatus | None = None
    cost_today: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a tenant used in the current UTC day: requests, and cost in micro-units."""

    requests_today: int
    cost_today: int
