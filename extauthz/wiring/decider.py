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
from extauthz.pipeline import Authenticator, Pipeline
from extauthz.ports import Charger, Lookup
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
        local: Charger | None = None,
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
    gates = config.gates
    api_keys = ApiKeys(peppers=peppers, lookup=lookups.credentials, refusals=refusals, uses=uses, wall=time.time)
    # In this version API keys are the one method that `gates.auth.methods` may list.
    authenticator = Authenticator(methods=[api_keys], strip_authorization=gates.auth.strip_authorization)
    return Pipeline(
        routes=RouteTable([_rule(route) for route in config.routes]),
        authenticator=authenticator,
        lifecycle=LifecycleGate(lookup=lookups.lifecycle, control=_control(Gate.LIFECYCLE, gates.lifecycle)),
        billing=BillingGate(
            lookup=lookups.billing,
            control=_control(Gate.BILLING, gates.billing),
            plans=config.plan_book(),
            plan_ttl=config.providers.billing.cache.plan_ttl,
        ),
        protection=ProtectionGate(
            charger=lookups.charger,
            local=lookups.local,
            control=_control(Gate.PROTECTION, gates.protection),
            actions=Actions(
                rate=gates.protection.actions.rate,
                burst=gates.protection.actions.burst,
                cost=gates.protection.actions.cost,
            ),
            anomaly=AnomalyDetector(),
            on_anomaly=metrics.anomaly,
        ),
        clock=time.monotonic,
        charge_timeout=config.providers.protection.timeout,
    )


def _rule(route: RouteConfig) -> RouteRule:
    methods = None if route.methods is None else frozenset(route.methods)
    return RouteRule(kind=RouteKind(route.kind), pattern=route.pattern, methods=methods, route=route.to_route())


def _control(gate: Gate, config: LifecycleGateConfig | BillingGateConfig | ProtectionGateConfig) -> GateControl:
    return GateControl(gate, GateSettings(mode=config.mode, on_failure=config.on_failure))
