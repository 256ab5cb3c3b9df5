"""`providers`: where each kind of knowledge lives, and how long to wait for it (spec section 4)."""

from typing import Annotated

from pydantic import Field

from extauthz.config.section import Section
from extauthz.config.units import Count, Duration, DurationOrZero, Share, Size
from extauthz.config.url import ProviderUrl, Url, parse_url

Failures = Annotated[Count, Field(description="How many failures within `window` open the circuit.")]
Window = Annotated[Duration, Field(description="The time within which failures are counted.")]
Reset = Annotated[Duration, Field(description="How long the circuit stays open before one call may try.")]
Fresh = Annotated[Duration, Field(description="How long an answer is used without asking again.")]
MaxStale = Annotated[
    DurationOrZero, Field(description="How old a last-known answer may be when it stands in for a failing provider.")
]
MaxEntries = Annotated[Count, Field(description="How many tenants (for credentials: keys) the cache holds.")]
Timeout = Annotated[Duration, Field(description="The provider's own deadline for one call.")]
MaxInFlight = Annotated[Count, Field(description="Calls at once (the bulkhead); embedded providers have none.")]
PoolSize = Annotated[Count, Field(description="With `postgresql:`, connections for this provider's look-ups.")]
StateUrl = Annotated[
    Url, Field(description="`sqlite:///file`, `memory:`, `postgresql://…`, `grpc://host:port` or `grpcs://host:port`.")
]

_STATE = parse_url("sqlite:///extauthz.db")


class Breaker(Section):
    """When a circuit opens and for how long."""

    failures: Failures
    window: Window
    reset: Reset


class CredentialsBreaker(Breaker):
    """The credential provider's circuit."""

    failures: Failures = 5
    window: Window = 30.0
    reset: Reset = 15.0


class LifecycleBreaker(Breaker):
    """The lifecycle provider's circuit."""

    failures: Failures = 3
    window: Window = 10.0
    reset: Reset = 30.0


class BillingBreaker(Breaker):
    """The billing provider's circuit."""

    failures: Failures = 5
    window: Window = 30.0
    reset: Reset = 60.0


class ProtectionBreaker(Breaker):
    """The protection provider's circuit."""

    failures: Failures = 5
    window: Window = 30.0
    reset: Reset = 30.0


class EventsBreaker(Breaker):
    """The event store's circuit."""

    failures: Failures = 10
    window: Window = 60.0
    reset: Reset = 120.0


class CredentialsCache(Section):
    """Verified keys. Nothing stale: auth is fail-closed."""

    ttl: Fresh = 30.0
    max_entries: MaxEntries = 100_000


class LifecycleCache(Section):
    """Lifecycle states."""

    ttl: Fresh = 5.0
    max_stale: MaxStale = 3600.0
    max_entries: MaxEntries = 100_000


class BillingCache(Section):
    """Billing states and plans."""

    ttl: Fresh = 5.0
    plan_ttl: Duration = 300.0
    """How long the plan is used without asking again, where only the plan is needed."""
    max_stale: MaxStale = 3600.0
    max_entries: MaxEntries = 100_000


class CredentialsConfig(Section):
    """Who knows the API keys."""

    url: StateUrl = _STATE
    timeout: Timeout = 0.250
    max_in_flight: MaxInFlight = 64
    pool_size: PoolSize = 8
    breaker: CredentialsBreaker = CredentialsBreaker()
    cache: CredentialsCache = CredentialsCache()
    pepper_file: str | None = None
    """A file with the pepper, used where `EXTAUTHZ_PEPPER` is not set. Without both one is made beside the SQLite file."""


class LifecycleConfig(Section):
    """Who knows whether a tenant may run."""

    url: StateUrl = _STATE
    timeout: Timeout = 0.500
    max_in_flight: MaxInFlight = 64
    pool_size: PoolSize = 8
    breaker: LifecycleBreaker = LifecycleBreaker()
    cache: LifecycleCache = LifecycleCache()
    snapshot: str | None = "extauthz.blocked"
    """The file that remembers over a restart in an outage which tenants are not ACTIVE; null: nothing does."""


class BillingConfig(Section):
    """Who knows standing and plan."""

    url: StateUrl = _STATE
    timeout: Timeout = 0.200
    max_in_flight: MaxInFlight = 64
    pool_size: PoolSize = 8
    breaker: BillingBreaker = BillingBreaker()
    cache: BillingCache = BillingCache()


class ProtectionConfig(Section):
    """Who counts requests and cost."""

    url: Annotated[
        Url,
        Field(
            description="`memory:`, `redis://…`, `rediss://…`, `redis+sentinel://…`, `redis+cluster://…`, `grpc://host:port` or"
            " `grpcs://host:port`."
        ),
    ] = parse_url("memory:")
    timeout: Timeout = 0.100
    max_in_flight: MaxInFlight = 64
    breaker: ProtectionBreaker = ProtectionBreaker()
    snapshot: str | None = "extauthz.counts"
    """With `memory:`, the file in which the counts of the day survive a restart; null: they do not."""


class EventsConfig(Section):
    """Who keeps what happened."""

    url: Annotated[
        Url,
        Field(
            description="`sqlite:///file` (a file of its own), `postgresql://…`, `memory:`, `grpc://host:port`,"
            " `grpcs://host:port` or `none:`."
        ),
    ] = parse_url("sqlite:///extauthz-events.db")
    emit_timeout: Duration = 0.050
    """The deadline for writing one batch."""
    query_timeout: Duration = 5.0
    """The deadline for one query."""
    pool_size: Count = 2
    """With `postgresql:`, connections for writing, and as many for queries."""
    breaker: EventsBreaker = EventsBreaker()
    max_queue: Count = 100_000
    """Events that may wait to be written; above 80 % INFO is sampled, above 100 % the oldest INFO is dropped."""
    max_size: Size = 2**30
    """How large the store may grow; then the oldest events go."""
    dead_letter: str = "extauthz.dead.jsonl"
    """The file for batches that could not be written."""
    allow_sample_rate: Share = 0.0
    """The share of allowed requests that leave an event, 0 to 1."""


class ProvidersConfig(Section):
    """The five providers."""

    credentials: CredentialsConfig = CredentialsConfig()
    lifecycle: LifecycleConfig = LifecycleConfig()
    billing: BillingConfig = BillingConfig()
    protection: ProtectionConfig = ProtectionConfig()
    events: EventsConfig = EventsConfig()

    def urls(self) -> dict[str, ProviderUrl]:
        """Each provider's URL by its name."""
        return {name: getattr(self, name).url for name in type(self).model_fields}
