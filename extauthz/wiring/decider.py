"""The pipeline, put together from the configuration and guarded look-ups."""

import time

from extauthz.authn import ApiKeys, PepperBook, Refusals
from extauthz.authn.api_key import UseRecorder
from extauthz.config import Config, RouteConfig
from extauthz.config.gates import BillingGateConfig, LifecycleGateConfig, ProtectionGateConfig
from extauthz.gates.anomaly import AnomalyDetector
from extauthz.gates.base import GateControl, GateSettings
from extauthz.gates.billing import BillingGate
from extauthz.gates.lifecycle import LifecycleGate
from extauthz.gates.limits import Actions
from extauthz.gates.protection import ProtectionGate
from extauthz.model.billing import BillingRecord
from extauthz.model.decision import Gate
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord
from extauthz.pipeline import Authenticator, Pipeline, RuleBook
from extauthz.ports import Charger, LocalCounter, Lookup
from extauthz.routing import RouteKind, RouteRule, RouteTable
from extauthz.telemetry.metrics import Metrics


class Lookups:
    """What the pipeline asks. `local` counts where `charger` can't; None: nobody does."""

    __slots__ = ("billing", "charger", "credentials", "lifecycle", "local")

    def __init__(
        self,
        *,
        credentials: Lookup[str, ApiKey | None],
        lifecycle: Lookup[str, LifecycleRecord | None],
        billing: Lookup[str, BillingRecord | None],
        charger: Charger,
        local: LocalCounter | None = None,
    ) -> None:
        self.credentials = credentials
        self.lifecycle = lifecycle
        self.billing = billing
        self.charger = charger
        self.local = local


def build_pipeline(
    config: Config, lookups: Lookups, peppers: PepperBook, refusals: Refusals, uses: UseRecorder, metrics: Metrics
) -> Pipeline:
    """The way of a check."""
    book = rule_book(config)
    api_keys = ApiKeys(peppers=peppers, lookup=lookups.credentials, refusals=refusals, uses=uses, wall=time.time)
    # In this version API keys are the one method that `gates.auth.methods` may list.
    authenticator = Authenticator(methods=[api_keys], strip_authorization=book.strip_authorization)
    return Pipeline(
        routes=book.routes,
        authenticator=authenticator,
        lifecycle=LifecycleGate(lookup=lookups.lifecycle, control=GateControl(Gate.LIFECYCLE, book.lifecycle)),
        billing=BillingGate(
            lookup=lookups.billing,
            control=GateControl(Gate.BILLING, book.billing),
            plans=book.plans,
            plan_ttl=config.providers.billing.cache.plan_ttl,
        ),
        protection=ProtectionGate(
            charger=lookups.charger,
            local=lookups.local,
            control=GateControl(Gate.PROTECTION, book.protection),
            actions=book.actions,
            anomaly=AnomalyDetector(),
            on_anomaly=metrics.anomaly,
        ),
        clock=time.monotonic,
        charge_timeout=config.providers.protection.timeout,
    )


def rule_book(config: Config) -> RuleBook:
    """What of the configuration may change while the service runs, ready for use. Takes a while where there is much of it.

    Raises:
        ValueError: a route's pattern is not valid.
    """
    gates = config.gates
    actions = gates.protection.actions
    return RuleBook(
        routes=RouteTable([_rule(route) for route in config.routes]),
        strip_authorization=gates.auth.strip_authorization,
        lifecycle=_settings(gates.lifecycle),
        billing=_settings(gates.billing),
        plans=config.plan_book(),
        protection=_settings(gates.protection),
        actions=Actions(rate=actions.rate, burst=actions.burst, cost=actions.cost),
    )


def _rule(route: RouteConfig) -> RouteRule:
    methods = None if route.methods is None else frozenset(route.methods)
    return RouteRule(kind=RouteKind(route.kind), pattern=route.pattern, methods=methods, route=route.to_route())


def _settings(config: LifecycleGateConfig | BillingGateConfig | ProtectionGateConfig) -> GateSettings:
    return GateSettings(mode=config.mode, on_failure=config.on_failure)
