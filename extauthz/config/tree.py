"""The whole configuration as one frozen tree."""

from decimal import Decimal
from typing import Final

from pydantic import Field

from extauthz.config.gates import GatesConfig
from extauthz.config.plans import LimitsConfig, PlanConfig
from extauthz.config.providers import ProvidersConfig
from extauthz.config.routes import RouteConfig
from extauthz.config.section import Section
from extauthz.config.server import AdminConfig, ServerConfig
from extauthz.model.billing import PlanBook, Tier

_FREE: Final = PlanConfig(
    name="Free",
    tier=Tier.FREE,
    limits=LimitsConfig(rate=60, burst=10, max_requests_per_day=1000, max_cost_per_day=Decimal(5)),
)


class Config(Section):
    """Everything that can be configured. `Config()` are the defaults."""

    server: ServerConfig = ServerConfig()
    admin: AdminConfig = AdminConfig()
    providers: ProvidersConfig = ProvidersConfig()
    gates: GatesConfig = GatesConfig()
    routes: tuple[RouteConfig, ...] = ()
    """Rules in the order in which they are tried, before the built-in table."""
    plans: dict[str, PlanConfig] = Field(default={"free": _FREE})
    """The plans by their ids."""
    default_plan: str = "free"
    """The plan of a tenant that has none of its own."""

    def plan_book(self) -> PlanBook:
        """The plans in the words of the domain."""
        plans = {plan_id: plan.to_plan(plan_id) for plan_id, plan in self.plans.items()}
        return PlanBook(plans=plans, default=plans[self.default_plan])
