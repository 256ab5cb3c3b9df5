"""Billing standing, plans and the limits derived from them (spec section 2).

Money is counted in micro-units: whole millionths of the deployment's own unit, so that no sum ever rounds.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

MICROS_PER_UNIT: Final = 1_000_000
MAX_RATE: Final = 100_000_000
"""Largest `rate` and `burst`. With it capacity times period in microseconds stays below 2**53 (Redis's Lua has doubles)."""
MAX_PER_DAY: Final = 10**9


class BillingState(StrEnum):
    """Is the tenant in good standing?"""

    TRIAL = "TRIAL"
    ACTIVE = "ACTIVE"
    PAST_DUE = "PAST_DUE"
    SUSPENDED = "SUSPENDED"


class Tier(StrEnum):
    """The tier of a plan."""

    FREE = "FREE"
    PRO = "PRO"
    ENTERPRISE = "ENTERPRISE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan lets through. None means unlimited, 0 lets nothing through.

    `rate` is requests per minute, `burst` per second, `max_requests_per_day` per UTC day, `max_cost_per_day` micro-units per
    UTC day.
    """

    rate: int | None = None
    burst: int | None = None
    max_requests_per_day: int | None = None
    max_cost_per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan of the configuration."""

    plan_id: str
    name: str
    tier: Tier
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingRecord:
    """What the billing provider knows of a tenant. `plan_id` None means the default plan."""

    state: BillingState
    plan_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBook:
    """The plans of the configuration by id, and the one a tenant without a plan has."""

    plans: dict[str, Plan] = field(default_factory=dict)
    default: Plan

    def find(self, plan_id: str | None) -> Plan | None:
        """The plan of that id; the default for None; None for an id that is not in the configuration."""
        return self.default if plan_id is None else self.plans.get(plan_id)


def to_micros(amount: Decimal) -> int:
    """`amount` in micro-units.

    Raises:
        ValueError: more than six decimal places, or not a finite number.
    """
    if not amount.is_finite():
        raise ValueError("must be a finite number")
    scaled = amount.scaleb(6)
    if scaled != scaled.to_integral_value():
        raise ValueError("must have at most 6 decimal places")
    return int(scaled)


def from_micros(micros: int) -> str:
    """Micro-units as a plain decimal string without needless zeros: 1250000 is `1.25`, 0 is `0`."""
    whole, part = divmod(micros, MICROS_PER_UNIT)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")
