"""`plans`: what a tenant may use (spec section 2)."""

from typing import Annotated

from pydantic import Field

from extauthz.config.section import Section
from extauthz.config.units import Amount, Whole
from extauthz.model.billing import MAX_PER_DAY, MAX_RATE, Limits, Plan, Tier, to_micros

RateLimit = Annotated[Whole, Field(ge=0, le=MAX_RATE)]
DayLimit = Annotated[Whole, Field(ge=0, le=MAX_PER_DAY)]


class LimitsConfig(Section):
    """What a plan lets through; a limit that is not set is unlimited, 0 lets nothing through."""

    rate: RateLimit | None = None
    """Requests per minute."""
    burst: RateLimit | None = None
    """Requests per second."""
    max_requests_per_day: DayLimit | None = None
    """Requests per UTC day."""
    max_cost_per_day: Amount | None = None
    """Cost per UTC day, in the deployment's own unit, at most six decimal places."""

    def to_limits(self) -> Limits:
        """The same in the words of the domain: cost in micro-units."""
        cost = self.max_cost_per_day
        return Limits(
            rate=self.rate,
            burst=self.burst,
            max_requests_per_day=self.max_requests_per_day,
            max_cost_per_day=None if cost is None else to_micros(cost),
        )


class PlanConfig(Section):
    """One plan; its id is its key in `plans`."""

    name: Annotated[str, Field(min_length=1)]
    """The name that people see."""
    tier: Tier
    """`FREE`, `PRO` or `ENTERPRISE`."""
    limits: LimitsConfig = LimitsConfig()

    def to_plan(self, plan_id: str) -> Plan:
        """The same in the words of the domain."""
        return Plan(plan_id=plan_id, name=self.name, tier=self.tier, limits=self.limits.to_limits())
