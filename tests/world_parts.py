"""How a world begins, and what the service in it is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from extauthz.model import billing as billing_model
from extauthz.model.billing import Plan, PlanBook, Tier
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.guard import Guard
from tests.world_counts import Limits
from tests.world_facts import Numbers

PLANS: Final = {
    "free": Limits(rate=60, burst=10, per_day=20),
    "pro": Limits(rate=600, burst=50),
    "small": Limits(rate=12, burst=6),
    "tight": Limits(burst=2),
    "dear": Limits(rate=600, cost_per_day=12),
    "open": Limits(),
}


def bars(record: Any) -> bool:
    return record is not None and record.state != "ACTIVE"


def blocks(record: Any) -> bool:
    return record is not None and record.state == "SUSPENDED"


def never(_record: Any) -> bool:
    return False


@dataclass(frozen=True)
class World:
    """How a world begins."""

    numbers: Mapping[str, Numbers]
    tenants: int = 6
    max_entries: int = 100_000
    plan_ttl: float = 300.0
    jitter: float = 0.05
    on_failure: Mapping[str, str] = field(
        default_factory=lambda: {"lifecycle": "open", "billing": "open", "protection": "open"}
    )


@dataclass(frozen=True)
class Parts:
    """The classes the service is made of; a test may put in one with a rule broken."""

    breaker: type[Breaker] = Breaker
    charge: type[ChargeGuard] = ChargeGuard
    credentials: type[Guard[str, Any]] = Guard
    lifecycle: type[Guard[str, Any]] = Guard
    lifecycle_denies: Callable[[Any], bool] = bars


def plan_book() -> PlanBook:
    plans = {
        name: Plan(
            plan_id=name,
            name=name,
            tier=Tier.PRO,
            limits=billing_model.Limits(
                rate=limits.rate,
                burst=limits.burst,
                max_requests_per_day=limits.per_day,
                max_cost_per_day=limits.cost_per_day,
            ),
        )
        for name, limits in PLANS.items()
    }
    return PlanBook(plans=plans, default=plans["free"])
