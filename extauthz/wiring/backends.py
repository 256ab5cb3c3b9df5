"""Which backend stands behind which provider."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from extauthz.authn import LoadedPeppers, load_peppers
from extauthz.authn.pepper_source import ENV_NAME
from extauthz.changes import Stores
from extauthz.changes.blocked import BlockedTenants
from extauthz.config import Config, CredentialsConfig
from extauthz.ports import EventStore, ProtectionProvider
from extauthz.telemetry.metrics import Metrics
from extauthz.wiring.blocked import keep_blocked
from extauthz.wiring.places import Places


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """What is open. `replica` names this process there. `events` None: `none:`, nothing is recorded.

    `blocked` are the tenants that are known not to be ACTIVE; None: they need not be kept in mind.
    """

    replica: str
    stores: Stores
    protection: ProtectionProvider
    events: EventStore | None
    blocked: BlockedTenants | None = None
    peppers: LoadedPeppers = field(repr=False)


async def open_backends(
    config: Config, env: Mapping[str, str], replica: str, metrics: Metrics, running: AsyncExitStack
) -> Backends:
    """Open what the configuration names; `running` closes it. A place that can't be reached is no error here.

    Raises:
        ConfigError: no pepper where one must be given or one that is not usable, or a driver that is not installed.
        SchemaMismatch: a database is another program's, or of another version.
    """
    providers = config.providers
    # Before the database is made: its absence tells that no key exists yet.
    peppers = _peppers(providers.credentials, env)
    places = Places(config, replica, running)
    stores = Stores(
        lifecycle=places.state(providers.lifecycle.url),
        billing=places.state(providers.billing.url),
        credentials=places.state(providers.credentials.url),
    )
    protection = places.protection(providers.protection.url)
    events = places.events(providers.events.url, lambda count: metrics.events.dropped(count, "retention"))
    await places.start()
    return Backends(
        replica=replica,
        stores=stores,
        protection=protection,
        events=events,
        blocked=await keep_blocked(providers.lifecycle, stores.lifecycle, running),
        peppers=peppers,
    )


def _peppers(config: CredentialsConfig, env: Mapping[str, str]) -> LoadedPeppers:
    return load_peppers(
        env_value=env.get(ENV_NAME),
        pepper_file=None if config.pepper_file is None else Path(config.pepper_file),
        sqlite_file=Path(config.url.path) if config.url.scheme == "sqlite" else None,
        in_memory=config.url.scheme == "memory",
    )
