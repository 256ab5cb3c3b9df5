"""Opens the places that provider URLs name, each once: what is kept together can be changed in one transaction."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from extauthz.config import Config, ProviderUrl
from extauthz.config.providers import ProvidersConfig
from extauthz.config.support import PLUGINS, plugin_named
from extauthz.errors import ConfigError
from extauthz.ports import EventStore, ProtectionProvider, StateStore
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.memory_protection_snapshot import ProtectionSnapshot
from extauthz.providers.partial import completed
from extauthz.providers.sqlite import SqliteStore
from extauthz.providers.sqlite_events import SqliteEvents

if TYPE_CHECKING:
    from extauthz.providers.postgres import PostgresStore
    from extauthz.providers.remote import RemoteChannel, RemoteStore

S = TypeVar("S", bound="Startable")

_EXTRAS: Final = {"postgresql": "postgres", "redis": "redis", "rediss": "redis"}
_LONGEST: Final = 5.0
"""Seconds that another's Python provider is told it has for what no request waits for."""


class Startable(Protocol):
    """Whatever is opened and closed with the service."""

    async def start(self) -> None:
        """Open. What can't be reached is tried again later."""

    async def close(self) -> None:
        """Close."""


class Places:
    """Makes stores by their URLs; `start` opens all of them, `running` closes them.

    `replica` names this process in what is written to stores that others share. Every method raises ConfigError where a
    driver is not installed or somebody else's provider can't be made.
    """

    def __init__(self, config: Config, replica: str, running: AsyncExitStack) -> None:
        self._providers = config.providers
        self._replica = replica
        self._running = running
        self._starts: list[Callable[[], Awaitable[None]]] = []
        self._stores: dict[str, StateStore] = {}
        self._channels: dict[str, RemoteChannel] = {}
        self._plugins: dict[str, object] = {}

    def state(self, url: ProviderUrl) -> StateStore:
        """The store of tenants, standing or keys; the same object for the same place."""
        place = place_of(url)
        if place not in self._stores:
            self._stores[place] = self._open_state(url)
        return self._stores[place]

    def _open_state(self, url: ProviderUrl) -> StateStore:
        match url.scheme:
            case "memory":
                return self._to_start(MemoryStore())
            case "sqlite":
                return self._to_start(SqliteStore(url.path, replica=self._replica))
            case "postgresql":
                return self._to_start(self._postgres(url))
            case "grpc" | "grpcs":
                return self._to_start(self._remote_state(url))
        return completed(self._plugin(url, _LONGEST), url.scheme)

    def _postgres(self, url: ProviderUrl) -> "PostgresStore":
        postgres = driver("extauthz.providers.postgres", url)
        pools = {
            name: postgres.LookupPool(size=section.pool_size, timeout=section.timeout)
            for name in ("credentials", "lifecycle", "billing")
            for section in [getattr(self._providers, name)]
        }
        return cast(
            "PostgresStore", postgres.PostgresStore(url.text, replica=self._replica, pools=postgres.PoolPolicy(**pools))
        )

    def _remote_state(self, url: ProviderUrl) -> "RemoteStore":
        from extauthz.providers.remote import RemoteStore, RemoteTimeouts  # noqa: PLC0415 - only where it is configured

        providers = self._providers
        timeouts = RemoteTimeouts(
            lifecycle=providers.lifecycle.timeout,
            billing=providers.billing.timeout,
            credentials=providers.credentials.timeout,
        )
        return RemoteStore(self._channel(url), timeouts=timeouts)

    def protection(self, url: ProviderUrl) -> ProtectionProvider:
        """Who counts requests and cost."""
        timeout = self._providers.protection.timeout
        if url.scheme == "memory":
            return self._memory_protection(self._providers)
        if url.scheme in ("grpc", "grpcs"):
            from extauthz.providers.remote import RemoteProtection  # noqa: PLC0415 - only where it is configured

            return self._to_start(RemoteProtection(self._channel(url), timeout=timeout))
        if url.scheme.startswith("redis"):
            redis = driver("extauthz.providers.redis_protection", url)
            return cast("ProtectionProvider", self._to_start(redis.RedisProtection(url.text, timeout=timeout)))
        return cast("ProtectionProvider", self._plugin(url, timeout))

    def _memory_protection(self, providers: ProvidersConfig) -> MemoryProtection:
        provider = MemoryProtection()
        if providers.protection.snapshot is not None:
            self._to_start(ProtectionSnapshot(providers.protection.snapshot, provider))
        return provider

    def events(self, url: ProviderUrl, on_retention: Callable[[int], None]) -> EventStore | None:
        """Who keeps events; None for `none:`. `on_retention` is told how many were removed for want of room."""
        config = self._providers.events
        match url.scheme:
            case "none":
                return None
            case "memory":
                return self._to_start(MemoryEvents(on_retention=on_retention))
            case "sqlite":
                return self._to_start(SqliteEvents(url.path, max_size=config.max_size, on_retention=on_retention))
            case "postgresql":
                postgres = driver("extauthz.providers.postgres_events", url)
                limits = {"max_size": config.max_size, "query_timeout": config.query_timeout}
                store = postgres.PostgresEvents(
                    url.text, pool_size=config.pool_size, on_retention=on_retention, **limits
                )
                return cast("EventStore", self._to_start(store))
            case "grpc" | "grpcs":
                from extauthz.providers.remote import RemoteEvents  # noqa: PLC0415 - only where it is configured

                times = {"emit_timeout": config.emit_timeout, "query_timeout": config.query_timeout}
                return self._to_start(RemoteEvents(self._channel(url), **times))
        return cast("EventStore", self._plugin(url, config.emit_timeout))

    def _channel(self, url: ProviderUrl) -> "RemoteChannel":
        """One connection for all providers at one place."""
        from extauthz.providers.remote import RemoteChannel  # noqa: PLC0415 - only where it is configured

        if url.text not in self._channels:
            self._channels[url.text] = RemoteChannel(url.text)
        return self._channels[url.text]

    def _plugin(self, url: ProviderUrl, seconds: float) -> object:
        """Somebody else's provider: what its entry point makes of the URL, once for all kinds."""
        if url.text not in self._plugins:
            self._plugins[url.text] = self._made(url, seconds)
        return self._plugins[url.text]

    def _made(self, url: ProviderUrl, seconds: float) -> object:
        found = plugin_named(url.scheme)
        if found is None:
            raise ConfigError(f"no backend for {url}")  # the configuration has refused it with its line before
        try:
            made: Any = found.load()(url.text, timeout=seconds)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"the entry point {found.value} ({PLUGINS}) failed for {url}: {reason}") from error
        return self._to_start(made)

    def _to_start(self, made: S) -> S:
        self._running.push_async_callback(made.close)
        self._starts.append(made.start)
        return made

    async def start(self) -> None:
        """Open everything, all at once: those that cannot be reached, each of which takes its time, are not waited for in turn.

        Raises:
            SchemaMismatch: a database is another program's, or of another version.
        """
        starts, self._starts = self._starts, []
        # To the end whatever one of them comes to: who is in the middle of opening must not be closed.
        outcomes = await asyncio.gather(*(start() for start in starts), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome


def place_of(url: ProviderUrl) -> str:
    """Two URLs of one file are one place."""
    return os.path.realpath(url.path) if url.scheme == "sqlite" else url.text


def driver(module: str, url: ProviderUrl) -> Any:
    """A module that needs an extra.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        extra = _EXTRAS[url.scheme.partition("+")[0]]
        package = (error.name or "").partition(".")[0]
        raise ConfigError(f"{url} needs {package}, which is not installed: pip install 'extauthz[{extra}]'") from None
