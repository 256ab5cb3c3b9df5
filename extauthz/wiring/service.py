"""A running service."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uuid_utils

from extauthz.authn import ApiKeyMint, KeyUses, Refusals
from extauthz.changes import Caches, Desk, TenantChanges
from extauthz.config import Config, ServerConfig, admin_token
from extauthz.config.bypass import bypass_warning, bypassed_gates
from extauthz.pipeline import Pipeline
from extauthz.ports import EventSink
from extauthz.server.check import Checker
from extauthz.server.grpcio import GrpcPolicy, GrpcServer, Handled
from extauthz.server.health import CHECK_SERVICE
from extauthz.telemetry.decisions import DecisionEvents
from extauthz.telemetry.fanout import Fanout
from extauthz.telemetry.lag import LoopLag
from extauthz.telemetry.log_denials import DenialLog
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.metrics_rpc import CODES
from extauthz.wiring.admin_port import admin_services, start_admin
from extauthz.wiring.backends import Backends, open_backends
from extauthz.wiring.circuits import build_circuits
from extauthz.wiring.decider import Lookups, build_pipeline
from extauthz.wiring.guards import Guards, build_guards
from extauthz.wiring.live import Live
from extauthz.wiring.operations import start_operations
from extauthz.wiring.recording import start_events
from extauthz.wiring.rehearsal import rehearsal_of
from extauthz.wiring.sharing import count_alone, follow_changes, replica_name, replicas_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is running: the check in process, its configuration, and where it listens. `warnings` are for the operator."""

    checker: Checker
    live: Live
    grpc_address: str
    admin_port: int
    warnings: tuple[str, ...]


@asynccontextmanager
async def service(config: Config, env: Mapping[str, str]) -> AsyncIterator[Service]:
    """Run the service for as long as the context lasts. Leaving drains it: NOT_SERVING first, events flushed last.

    `env` is where the secrets are (`EXTAUTHZ_PEPPER`, `EXTAUTHZ_ADMIN_TOKEN`) and the bypasses (`BILLING_BYPASS`). Entered once
    it serves.

    Raises:
        ConfigError: a secret is missing or not usable, or a bypass is not understood.
        ExtauthzError: it can't listen where it should, or a database is not ours.
    """
    async with AsyncExitStack() as running:
        token, bypassed = admin_token(config.admin, env), bypassed_gates(env)
        metrics = Metrics(_deadlines(config))
        backends = await open_backends(config, env, replica_name(), metrics, running)
        circuits = build_circuits(config.providers, metrics, events=backends.events is not None)
        events = await start_events(config.providers.events, backends.events, circuits, metrics, running)
        guards = build_guards(config, backends, circuits, running)
        lag = _measure_lag(metrics, running)
        refusals = Refusals(clock=time.monotonic)
        pipeline = await _pipeline(config, backends, guards, refusals, metrics, running)
        checker = _checker(config, pipeline, metrics, events, running)
        server = _grpc_server(config.server, checker, metrics)
        desk = _desk(backends, guards, refusals, events, metrics)
        running.push_async_callback(desk.close)
        operations = start_operations(config.providers, bypassed, pipeline, desk, guards, refusals, metrics, running)
        tenants = TenantChanges(desk, replicas_of(backends.stores, backends.replica))
        await follow_changes(desk, tenants, backends.replica, running)
        live = _live(config, pipeline, checker, guards, metrics, events)
        services = admin_services(live, pipeline, desk, tenants, operations, guards, backends, metrics, server, lag)
        admin = await start_admin(config, services, token, running)
        await server.start()
        running.push_async_callback(server.stop)
        rehearsal = rehearsal_of(config)
        await server.warm_up(rehearsal.checker, rehearsal.message)
        server.serve()
        yield Service(
            checker=checker,
            live=live,
            grpc_address=server.address,
            admin_port=admin.port,
            warnings=(
                *backends.peppers.warnings,
                *map(bypass_warning, bypassed),
                *await count_alone(backends.stores, backends.protection, backends.replica),
            ),
        )


def _deadlines(config: Config) -> dict[str, float]:
    providers = config.providers
    return {
        "credentials": providers.credentials.timeout,
        "lifecycle": providers.lifecycle.timeout,
        "billing": providers.billing.timeout,
        "protection": providers.protection.timeout,
        "events": providers.events.emit_timeout,
    }


def _measure_lag(metrics: Metrics, running: AsyncExitStack) -> LoopLag:
    lag = LoopLag(clock=time.monotonic)
    metrics.follow_lag(lag.lag)
    lag.start()
    running.callback(lag.close)
    return lag


async def _pipeline(
    config: Config,
    backends: Backends,
    guards: Guards,
    refusals: Refusals,
    metrics: Metrics,
    running: AsyncExitStack,
) -> Pipeline:
    uses = KeyUses(backends.stores.credentials.record_uses)
    await uses.start()
    running.push_async_callback(uses.close)
    lookups = Lookups(
        credentials=guards.credentials,
        lifecycle=guards.lifecycle,
        billing=guards.billing,
        charger=guards.protection,
        local=guards.local,
    )
    return build_pipeline(config, lookups, backends.peppers.book, refusals, uses, metrics)


def _checker(
    config: Config, pipeline: Pipeline, metrics: Metrics, events: EventSink, running: AsyncExitStack
) -> Checker:
    recorded = DecisionEvents(
        sink=events,
        wall=time.time,
        new_event_id=_new_id,
        allow_sample_rate=config.providers.events.allow_sample_rate,
    )
    running.callback(recorded.flush)
    server = config.server
    return Checker(
        decider=pipeline,
        observer=Fanout(metrics, recorded, DenialLog(clock=time.monotonic)),
        clock=time.monotonic,
        budget=server.budget,
        margin=server.margin,
        max_checks=server.max_checks,
        draft_headers=config.gates.protection.draft_headers,
    )


def _live(
    config: Config, pipeline: Pipeline, checker: Checker, guards: Guards, metrics: Metrics, events: EventSink
) -> Live:
    return Live(config, pipeline, checker, forget_refused=guards.protection.clear, metrics=metrics, events=events)


def _grpc_server(config: ServerConfig, checker: Checker, metrics: Metrics) -> GrpcServer:
    policy = GrpcPolicy(
        listen=str(config.listen),
        max_checks=config.max_checks,
        max_connection_age=config.max_connection_age,
        drain=config.drain,
        reflection=config.reflection,
    )
    return GrpcServer(checks=checker, policy=policy, handled=_handled(metrics))


def _handled(metrics: Metrics) -> Handled:
    """The server tells of every RPC by name; there is one method, so its series are found once."""
    watch = metrics.rpc(CHECK_SERVICE, "Check")
    numbers = {name: number for number, name in enumerate(CODES)}

    def handled(_service: str, _method: str, code: str, seconds: float) -> None:
        watch(numbers[code], seconds)

    return handled


def _desk(backends: Backends, guards: Guards, refusals: Refusals, events: EventSink, metrics: Metrics) -> Desk:
    return Desk(
        stores=backends.stores,
        caches=Caches(
            lifecycle=guards.lifecycle,
            billing=guards.billing,
            credentials=guards.credentials,
            forget_refusals=refusals.forget_all,
            plan_changed=guards.protection.forget,
        ),
        mint=ApiKeyMint(backends.peppers.book),
        events=events,
        observer=metrics,
        new_event_id=_new_id,
    )


def _new_id() -> str:
    return str(uuid_utils.uuid7())
