"""`extauthz provider serve`: the provider contracts over gRPC, from whatever backends a configuration names."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from extauthz.config import Config
from extauthz.ports import EventStore, ProtectionProvider, StateStore
from extauthz.providers.serve import Backends, ProviderServer, ServeTls
from extauthz.telemetry.log import configured
from extauthz.wiring import exposure
from extauthz.wiring.places import Places
from extauthz.wiring.sharing import is_shared, replica_name
from extauthz.wiring.signals import stop_requested

KINDS: Final = ("credentials", "lifecycle", "billing", "protection", "events")

_log = structlog.stdlib.get_logger("extauthz")


async def provide(
    config: Config,
    listen: str,
    kinds: Collection[str],
    tls: ServeTls | None,
    env: Mapping[str, str],
    *,
    read_only: bool = False,
) -> None:
    """Serve the providers named by `kinds` until SIGTERM or SIGINT, then let running calls finish and return.

    `listen` is `host:port` or `unix:/path`; `tls` None means plain text; with `read_only` nothing is served that administers.
    `LOG_LEVEL` and `LOG_FORMAT` of `env` say how to log.

    Raises:
        ConfigError: it can't listen there, a driver is not installed, or a file for TLS can't be read.
        SchemaMismatch: a database is another program's, or of another version.
    """
    with configured(env.get("LOG_LEVEL", "INFO"), env.get("LOG_FORMAT", "auto")), stop_requested() as stop:
        async with provider_server(config, listen, kinds, tls, read_only=read_only) as server:
            certificates = tls is not None and tls.client_ca is not None
            warning = exposure.warning(server.address, server.services, certificates=certificates)
            if warning is not None:
                _log.warning("attention", detail=warning)
            _log.info("serving", grpc=server.address, services=sorted(server.services))
            await stop.wait()
        _log.info("ended")


@asynccontextmanager
async def provider_server(
    config: Config, listen: str, kinds: Collection[str], tls: ServeTls | None = None, *, read_only: bool = False
) -> AsyncIterator[ProviderServer]:
    """The server, for as long as the context lasts; raises as `provide`."""
    async with AsyncExitStack() as running:
        places = Places(config, replica_name(), running)
        backends = replace(_backends(config, places, kinds), read_only=read_only)
        await places.start()
        yield await running.enter_async_context(ProviderServer(listen, backends, tls=tls))


def _backends(config: Config, places: Places, kinds: Collection[str]) -> Backends:
    urls = config.providers.urls()
    state = {kind: places.state(urls[kind]) for kind in KINDS[:3] if kind in kinds}
    protection: ProtectionProvider | None = None
    events: EventStore | None = None
    if "protection" in kinds:
        protection = places.protection(urls["protection"])
    if "events" in kinds:
        events = places.events(urls["events"], _count_nothing)
    store = _together(state)
    shared = store if is_shared(store) else None
    return Backends(
        credentials=state.get("credentials"),
        lifecycle=state.get("lifecycle"),
        billing=state.get("billing"),
        store=store,
        protection=protection,
        events=events,
        changes=shared,
        leases=shared,
    )


def _together(state: Mapping[str, StateStore]) -> StateStore | None:
    """The one store of all three kinds, whose changes are one transaction; None where they live apart."""
    stores = list(state.values())
    return stores[0] if len(stores) == 3 and all(each is stores[0] for each in stores) else None  # noqa: PLR2004 - KINDS[:3]


def _count_nothing(_removed: int) -> None:
    """Retention is counted by the service's metrics, and there are none here."""
