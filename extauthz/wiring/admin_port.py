"""The admin port, put together from the rest of the service."""

import time
from contextlib import AsyncExitStack
from typing import Final

from extauthz.admin import AdminAccess, AdminServer, AdminServices, ComponentHealth, Operations, build_app
from extauthz.changes import BillingChanges, Desk, KeyChanges, TenantChanges
from extauthz.changes.imports import TenantImports
from extauthz.changes.limits import LimitChanges
from extauthz.config import Config, masked
from extauthz.model.decision import Decision
from extauthz.pipeline import Pipeline
from extauthz.server.grpcio import GrpcServer
from extauthz.server.status import http_status
from extauthz.telemetry.lag import LoopLag
from extauthz.telemetry.metrics import Metrics
from extauthz.wiring.backends import Backends
from extauthz.wiring.guards import Guards
from extauthz.wiring.live import Live
from extauthz.wiring.watch import health_of

BLOCKED_SECONDS: Final = 1.0
"""A loop that was blocked for so long is not live."""


async def start_admin(
    config: Config, services: AdminServices, token: str | None, running: AsyncExitStack
) -> AdminServer:
    """Listen; `running` ends it.

    Raises:
        ExtauthzError: it can't listen where it should.
    """
    access = AdminAccess(token=token, hosts=_hosts(config))
    admin = AdminServer(build_app(services, access), config.admin.listen.host, config.admin.listen.port)
    await admin.start()
    running.push_async_callback(admin.close)
    return admin


def admin_services(
    live: Live,
    pipeline: Pipeline,
    desk: Desk,
    tenants: TenantChanges,
    operations: Operations,
    guards: Guards,
    backends: Backends,
    metrics: Metrics,
    server: GrpcServer,
    lag: LoopLag,
) -> AdminServices:
    """The parts that the port's handlers call."""
    circuits = guards.circuits

    def components() -> dict[str, ComponentHealth]:
        return {name: health_of(breaker, circuits.watches[name]) for name, breaker in circuits.breakers.items()}

    return AdminServices(
        tenants=tenants,
        billing=BillingChanges(desk),
        keys=KeyChanges(desk),
        limits=LimitChanges(
            desk,
            protection=backends.protection,
            forget_refused=guards.forget_limits,
            hold_reports=guards.hold_reports,
        ),
        imports=TenantImports(desk),
        operations=operations,
        stores=backends.stores,
        lifecycle_lookup=guards.lifecycle,
        billing_lookup=guards.billing,
        protection=backends.protection,
        plan_book=lambda: live.plans,
        explain=pipeline.explain,
        status_of=_status_of,
        live=lambda: lag.blocked_for() < BLOCKED_SECONDS,
        ready=lambda: server.serving,
        components=components,
        render_metrics=metrics.render,
        show_config=lambda: masked(live.config),
        last_reload=lambda: live.last,
        clock=time.monotonic,
        wall=time.time,
    )


def _status_of(decision: Decision) -> int:
    return http_status(decision.denial)


def _hosts(config: Config) -> frozenset[str]:
    """The names under which the admin port may be called: where it listens, this machine, and what is configured."""
    return frozenset({config.admin.listen.host, "localhost", "127.0.0.1", "::1", *config.admin.hosts})
