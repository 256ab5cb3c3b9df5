"""`extauthz serve`: the service until it is told to end."""

from collections.abc import Mapping

import structlog

from extauthz.config import Config
from extauthz.telemetry.log import configured
from extauthz.wiring.service import service
from extauthz.wiring.signals import stop_requested

_log = structlog.stdlib.get_logger("extauthz")


async def serve(config: Config, env: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. `LOG_LEVEL` and `LOG_FORMAT` of `env` say how to log.

    Raises:
        ConfigError: a secret is missing or not usable.
        ExtauthzError: it can't listen where it should, or a database is not ours.
    """
    with configured(env.get("LOG_LEVEL", "INFO"), env.get("LOG_FORMAT", "auto")):
        await _serve(config, env)


async def _serve(config: Config, env: Mapping[str, str]) -> None:
    with stop_requested() as stop:
        async with service(config, env) as running:
            for warning in running.warnings:
                _log.warning("attention", detail=warning)
            _log.info("serving", grpc=running.grpc_address, admin=f"{config.admin.listen.host}:{running.admin_port}")
            await stop.wait()
            _log.info("draining", seconds=config.server.drain)
    _log.info("ended")
