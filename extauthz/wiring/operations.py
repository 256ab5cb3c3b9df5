"""What an operator does to the running service: circuits, caches, bypasses."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from extauthz.admin import Operations
from extauthz.authn import Refusals
from extauthz.changes import Desk
from extauthz.changes.audit import OperationTrail
from extauthz.changes.breakers import BreakerChanges
from extauthz.changes.bypass import BypassChanges
from extauthz.changes.caches import CacheChanges, ChargeCache, KeyCache, OperatedCache, TenantCache
from extauthz.config import ProvidersConfig
from extauthz.model.decision import Gate
from extauthz.pipeline import Pipeline
from extauthz.resilience.refused import MOST_TENANTS
from extauthz.telemetry.metrics import Metrics
from extauthz.wiring.guards import Guards


def start_operations(
    config: ProvidersConfig,
    by_environment: Mapping[Gate, str],
    pipeline: Pipeline,
    desk: Desk,
    guards: Guards,
    refusals: Refusals,
    metrics: Metrics,
    running: AsyncExitStack,
) -> Operations:
    """Begin to tell of circuits, and bypass what the environment says; `running` ends it."""

    def told(gate: Gate, active: bool) -> None:  # noqa: FBT001 - a callback of two values
        metrics.bypassed(gate, active=active)

    trail = OperationTrail(desk)
    bypass = BypassChanges(
        desk, trail, controls=pipeline.controls, by_environment=by_environment, told=told, wall=time.time
    )
    running.callback(bypass.close)
    bypass.start()
    return Operations(
        breakers=BreakerChanges(desk, trail, breakers=guards.circuits.breakers, wall=time.time),
        caches=CacheChanges(trail, _caches(config, guards, refusals)),
        bypass=bypass,
    )


def _caches(config: ProvidersConfig, guards: Guards, refusals: Refusals) -> Mapping[str, OperatedCache]:
    billing = config.billing.cache
    return {
        "credentials": KeyCache(guards.credentials, refusals, config.credentials.cache.max_entries),
        "lifecycle": TenantCache("lifecycle", guards.lifecycle, config.lifecycle.cache.max_entries),
        "billing": TenantCache(
            "billing", guards.billing, billing.max_entries, max_age=max(billing.ttl, billing.plan_ttl)
        ),
        "protection": ChargeCache(guards.protection, MOST_TENANTS),
    }
