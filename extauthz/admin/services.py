"""What the admin port needs from the rest of the service."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from extauthz.changes import BillingChanges, KeyChanges, Stores, TenantChanges
from extauthz.changes.breakers import BreakerChanges
from extauthz.changes.bypass import BypassChanges
from extauthz.changes.caches import CacheChanges
from extauthz.changes.imports import TenantImports
from extauthz.changes.limits import LimitChanges
from extauthz.model.billing import BillingRecord, PlanBook
from extauthz.model.deadline import Clock
from extauthz.model.decision import Decision
from extauthz.model.lifecycle import LifecycleRecord
from extauthz.ports import CircuitState, Lookup, ProtectionProvider, WallClock


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentHealth:
    """One provider as `/health` shows it.

    `status` is `ok`, or `degraded` while its circuit is not closed. `last_error` is the class of the last error, None where
    there was none. `latency_ms` is that of the last call, None before the first.
    """

    status: str
    breaker: CircuitState
    last_error: str | None
    latency_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReload:
    """The last time the configuration was read again.

    `at` is in Unix seconds, `result` is `success` or `failure`; `error`, None after a success, says what is wrong where, without
    secrets. `needs_restart` are the paths of what was written but holds only after a restart.
    """

    at: float
    result: str
    error: str | None
    needs_restart: tuple[str, ...] = ()


def never_reloaded() -> LastReload | None:
    """For a service whose configuration is read once."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAccess:
    """Who may use the port. `token` None refuses everything but the open paths; `hosts` are the `Host` values allowed.

    Hosts are names or addresses without a port.
    """

    token: str | None = field(repr=False)
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """What an operator does to the running service itself, where no store is changed."""

    breakers: BreakerChanges
    caches: CacheChanges
    bypass: BypassChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices:
    """The parts that the handlers call.

    `plan_book` gives the plans in force and `last_reload` what the last reload came to, None where there was none.
    `explain` answers for (tenant, method, path) and charges nothing; `status_of` is the HTTP status of a decision. `live` is
    False when the event loop was blocked. `render_metrics` takes an Accept header and gives content type and text.
    Times are in seconds: `lookup_timeout` is how long a look-up for an operator may take; `provider_timeout` how long an answer
    waits for the protection provider, and for a name that is only shown beside the rest; `answer_timeout` how long any call
    may take, a little longer than stores bound themselves.
    """

    tenants: TenantChanges
    billing: BillingChanges
    keys: KeyChanges
    limits: LimitChanges
    imports: TenantImports
    operations: Operations
    stores: Stores
    lifecycle_lookup: Lookup[str, LifecycleRecord | None]
    billing_lookup: Lookup[str, BillingRecord | None]
    protection: ProtectionProvider
    plan_book: Callable[[], PlanBook]
    explain: Callable[[str, str, str], Awaitable[Decision]]
    status_of: Callable[[Decision], int]
    live: Callable[[], bool]
    ready: Callable[[], bool]
    components: Callable[[], Mapping[str, ComponentHealth]]
    render_metrics: Callable[[str], tuple[str, bytes]]
    show_config: Callable[[], Mapping[str, object]]
    clock: Clock
    wall: WallClock
    last_reload: Callable[[], LastReload | None] = never_reloaded
    lookup_timeout: float = 5.0
    provider_timeout: float = 2.0
    answer_timeout: float = 6.0

    @property
    def plans(self) -> PlanBook:
        """The plans in force now."""
        return self.plan_book()


SERVICES: Final = web.AppKey("services", AdminServices)
