"""Which backend stands behind which provider: the only place that knows the schemes of provider URLs."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from extauthz.authn import LoadedPeppers, load_peppers
from extauthz.authn.pepper_source import ENV_NAME
from extauthz.changes import Stores
from extauthz.config import Config, CredentialsConfig, EventsConfig, ProviderUrl
from extauthz.errors import ConfigError
from extauthz.ports import EventStore
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.sqlite import SqliteStore
from extauthz.providers.sqlite_events import SqliteEvents

StateStore = MemoryStore | SqliteStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """What is open. `events` None: `none:`, nothing is recorded."""

    stores: Stores
    protection: MemoryProtection
    events: EventStore | None
    peppers: LoadedPeppers = field(repr=False)


async def open_backends(config: Config, env: Mapping[str, str], running: AsyncExitStack) -> Backends:
    """Open what the configuration names; `running` closes it. A database that can't be reached is no error here.

    Raises:
        ConfigError: no pepper where one must be given, or one that is not usable.
        SchemaMismatch: a database is another program's, or of another version.
    """
    providers = config.providers
    peppers = _peppers(
        providers.credentials, env
    )  # before the database is made: its absence tells that no key exists yet
    by_url: dict[str, StateStore] = {}
    opened = [
        await _state_store(url, by_url, running)
        for url in (providers.lifecycle.url, providers.billing.url, providers.credentials.url)
    ]
    lifecycle, billing, credentials = opened
    return Backends(
        stores=Stores(lifecycle=lifecycle, billing=billing, credentials=credentials),
        protection=MemoryProtection(),
        events=await _event_store(providers.events, running),
        peppers=peppers,
    )


def _peppers(config: CredentialsConfig, env: Mapping[str, str]) -> LoadedPeppers:
    return load_peppers(
        env_value=env.get(ENV_NAME),
        pepper_file=None if config.pepper_file is None else Path(config.pepper_file),
        sqlite_file=Path(config.url.path) if config.url.scheme == "sqlite" else None,
        in_memory=config.url.scheme == "memory",
    )


async def _state_store(url: ProviderUrl, by_url: dict[str, StateStore], running: AsyncExitStack) -> StateStore:
    """One store per place: what is kept together can be changed in one transaction."""
    place = _place(url)
    if place not in by_url:
        store = by_url[place] = _new_state_store(url)
        running.push_async_callback(store.close)
        await store.start()
    return by_url[place]


def _place(url: ProviderUrl) -> str:
    """Two URLs of one file are one place."""
    return os.path.realpath(url.path) if url.scheme == "sqlite" else url.text


def _new_state_store(url: ProviderUrl) -> StateStore:
    match url.scheme:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SqliteStore(url.path)
    raise ConfigError(f"no backend for {url}")  # the configuration has refused it with its line before


async def _event_store(config: EventsConfig, running: AsyncExitStack) -> EventStore | None:
    store: MemoryEvents | SqliteEvents
    match config.url.scheme:
        case "none":
            return None
        case "memory":
            store = MemoryEvents()
        case "sqlite":
            store = SqliteEvents(config.url.path, max_size=config.max_size)
        case _:
            raise ConfigError(f"no backend for {config.url}")
    running.push_async_callback(store.close)
    await store.start()
    return store
