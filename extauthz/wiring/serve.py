"""`extauthz serve`: the service until it is told to end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager

import structlog

from extauthz.config import Config
from extauthz.telemetry.log import configured
from extauthz.wiring.reload import POLL, ConfigSource, Reloader
from extauthz.wiring.service import Service, service
from extauthz.wiring.signals import reload_requested, stop_requested
from extauthz.wiring.watching import watching

_log = structlog.stdlib.get_logger("extauthz")


async def serve(config: Config, env: Mapping[str, str], source: ConfigSource) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. `LOG_LEVEL` and `LOG_FORMAT` of `env` say how to log.

    `source` is where `config` came from: it is read again at SIGHUP and when its file changes.

    Raises:
        ConfigError: a secret is missing or not usable.
        ExtauthzError: it can't listen where it should, or a database is not ours.
    """
    with configured(env.get("LOG_LEVEL", "INFO"), env.get("LOG_FORMAT", "auto")):
        await _serve(config, env, source)


async def _serve(config: Config, env: Mapping[str, str], source: ConfigSource) -> None:
    # Before anything else: a SIGHUP while the service starts must not end it.
    wanted = asyncio.Event()
    with stop_requested(then_ignored=True) as stop, reload_requested(wanted.set):
        async with service(config, env) as running, _reloading(running, source, wanted):
            for warning in running.warnings:
                _log.warning("attention", detail=warning)
            _log.info("serving", grpc=running.grpc_address, admin=f"{config.admin.listen.host}:{running.admin_port}")
            await stop.wait()
            _log.info("draining", seconds=config.server.drain)
    _log.info("ended")


@asynccontextmanager
async def _reloading(running: Service, source: ConfigSource, wanted: asyncio.Event) -> AsyncIterator[None]:
    reloading = asyncio.create_task(Reloader(source, running.live, wanted).run())
    with ExitStack() as watch:
        if source.watched is not None:
            watch.enter_context(watching(source.watched, POLL, wanted.set))
        try:
            yield
        finally:
            reloading.cancel()
