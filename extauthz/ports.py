"""The seams: what the service needs from the outside, in our own types only.

Provider protocols (`CredentialProvider` to `EventStore`) are what backends implement; each has a contract suite in
`extauthz.testing`. Store protocols add what an administrator may change. The rest are seams between our own layers.

A provider raises `errors.ProviderError` when it has no answer and `errors.InvalidRecord` when one record cannot be read.
"No such tenant" is an answer: None.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from extauthz.errors import ExtauthzError
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.changed import StoredChange
from extauthz.model.deadline import Clock, Deadline
from extauthz.model.decision import Decision, FallbackReason, Source
from extauthz.model.event import Event, EventQuery
from extauthz.model.identity import ApiKey, AuthMethod, KeyUse, Principal
from extauthz.model.lifecycle import (
    AuditRecord,
    Change,
    LifecycleRecord,
    LifecycleState,
    Onboarding,
    Tenant,
    Transition,
)
from extauthz.model.protection import Charge, ChargeResult, Usage
from extauthz.model.request import CheckRequest

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)

WallClock = Callable[[], float]
"""Unix seconds, as the machine's calendar has them; may jump."""

__all__ = [
    "CHANGES_KEPT",
    "AuditTrail",
    "BillingProvider",
    "BillingStore",
    "BlockedList",
    "CacheControl",
    "CacheResult",
    "ChangeLog",
    "ChangeObserver",
    "Charger",
    "CheckObserver",
    "CircuitState",
    "CircuitView",
    "Clock",
    "CredentialMethod",
    "CredentialProvider",
    "CredentialStore",
    "EventSink",
    "EventStore",
    "Fetched",
    "KeyMint",
    "LifecycleProvider",
    "LifecycleStore",
    "LocalCounter",
    "Lookup",
    "Presented",
    "ProtectionProvider",
    "ProviderObserver",
    "ReplicaLeases",
    "StateStore",
    "Unavailable",
    "WallClock",
]


# Providers


class CredentialProvider(Protocol):
    """Knows the API keys."""

    async def find_key(self, key_id: str) -> ApiKey | None:
        """The key of that id, revoked or expired ones too; None where there is none."""

    async def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Note last-used times and renewed hashes. A use older than the one on record changes nothing."""


class LifecycleProvider(Protocol):
    """Knows whether a tenant may run, and whether it has finished onboarding."""

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        """The tenant's record; None where there is no such tenant."""


class BillingProvider(Protocol):
    """Knows a tenant's standing and plan."""

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        """The tenant's record; None where there is none (it is then `TRIAL` on the default plan)."""


class ProtectionProvider(Protocol):
    """Counts requests and cost. The charge is atomic and not idempotent: never retried, never shared, never cached."""

    in_process: ClassVar[bool]
    """Whether the provider answers without any I/O: it then needs no owned task, no bulkhead and no circuit breaker."""

    async def charge(self, charge: Charge) -> ChargeResult:
        """Count one request in all dimensions, or in none where a blocking dimension is exceeded."""

    async def usage(self, tenant_id: str) -> Usage:
        """What the tenant used today (UTC)."""

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        """Add `cost` (micro-units, not negative), which is known only afterwards, to today's; the usage after it.

        The same key again within a day adds nothing. It is counted whatever the limit: what is over it denies later requests.

        Raises:
            IdempotencyConflict: the tenant used this key before for another cost.
        """

    async def clear(self, tenant_id: str | None) -> None:
        """Forget rate and burst state and the day's counts of one tenant, or of all for None."""


class EventStore(Protocol):
    """Keeps events. Append-only for every caller; equal `event_id`s are stored once."""

    async def append(self, events: Sequence[Event]) -> None:
        """Store all of them or none."""

    async def query(self, query: EventQuery) -> Sequence[Event]:
        """At most `query.limit` events in the order of (`timestamp`, `event_id`)."""

    async def size_bytes(self) -> int:
        """What the store occupies, in bytes; 0 where that is not known."""


# Stores: providers that an administrator can change through us. Every change is written with its audit record.


class AuditTrail(Protocol):
    """What was changed, for ever."""

    async def history(self, tenant_id: str) -> Sequence[AuditRecord]:
        """The tenant's audit records in this store, oldest first."""

    async def note(self, records: Sequence[AuditRecord]) -> None:
        """Add records of what was changed elsewhere, where there is no trail (rate-limit state, a bypass)."""


class LifecycleStore(LifecycleProvider, AuditTrail, Protocol):
    """A lifecycle provider that can be administered. Changes of one tenant are serialised."""

    async def create_tenant(self, tenant: Tenant, change: Change, billing: BillingRecord | None = None) -> None:
        """Add a tenant. `billing`, given only where billing lives in the same store, is written in the same transaction.

        Raises:
            AlreadyExists: the id is taken.
        """

    async def import_tenants(
        self, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord] | None = None
    ) -> Sequence[str]:
        """Add all that are not there yet, in whatever state they come, each audited; the ids of those that were added.

        All or nothing, in one transaction. A tenant that is there with the same name and record (and standing, where
        `billing` has one for it) is passed over. `billing` as in `create_tenant`, by tenant id.

        Raises:
            ImportConflict: some are there and are not the same.
        """

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        """The tenant, None where there is none."""

    async def list_tenants(self, after: str = "", limit: int = 100) -> Sequence[Tenant]:
        """Tenants with an id above `after` in the order of their ids, at most `limit`."""

    async def set_onboarding(self, tenant_id: str, to: Onboarding, change: Change) -> tuple[Onboarding, Onboarding]:
        """`PENDING` to `COMPLETE`; (from, to). The same again changes nothing and leaves no record.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: back to PENDING.
        """

    async def transition(self, tenant_id: str, to: LifecycleState, change: Change, *, revoke_keys: bool) -> Transition:
        """Move a tenant along the table (OFFBOARD-001 to -003). The same state again is no change and no record.

        With `revoke_keys` (set where the keys live in the same store) a move to TERMINATED revokes all keys of the tenant in
        the same transaction (OFFBOARD-005).

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """

    async def plan_termination(self, tenant_id: str, change: Change) -> bool:
        """Keep in mind that a termination has begun, before keys in another store are revoked (OFFBOARD-005).

        False, and nothing is kept, where the tenant is TERMINATED already. The move itself ends the plan.

        Raises:
            NotFound: no such tenant.
            InvalidTransition: the table has no such move.
        """

    async def planned_terminations(self) -> Sequence[tuple[str, Change]]:
        """Terminations that were begun and not finished, with the change each belongs to."""


class BillingStore(BillingProvider, AuditTrail, Protocol):
    """A billing provider that can be administered."""

    async def set_billing(
        self, tenant_id: str, change: Change, *, state: BillingState | None = None, plan_id: str | None = None
    ) -> tuple[BillingRecord | None, BillingRecord]:
        """Set standing, plan or both (None: as it was); (before, after). A change is audited (BILLING-004)."""

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        """The records of many tenants; those that have none are not in it."""


class CredentialStore(CredentialProvider, AuditTrail, Protocol):
    """A credential provider that can be administered."""

    async def issue_key(self, key: ApiKey, change: Change, *, require_active: bool) -> None:
        """Add a key. With `require_active` (set where tenants live in the same store) only for an ACTIVE tenant.

        Raises:
            TenantNotActive: OFFBOARD-007.
            NotFound: no such tenant.
        """

    async def list_keys(self, tenant_id: str) -> Sequence[ApiKey]:
        """All keys of a tenant, oldest first."""

    async def revoke_key(self, tenant_id: str, key_id: str, change: Change) -> ApiKey:
        """Revoke one key; revoking it again changes nothing. The key as it is now.

        Raises:
            NotFound: the tenant has no such key.
        """

    async def revoke_all(self, tenant_id: str, change: Change) -> Sequence[str]:
        """Revoke every live key of the tenant; the ids of those that were live."""


class StateStore(LifecycleStore, BillingStore, CredentialStore, Protocol):
    """All three in one: what is kept together can be changed in one transaction."""


# Stores that several processes share


class ChangeLog(Protocol):
    """Tells what was changed in a store, whoever changed it. Kept for at least `CHANGES_KEPT` seconds."""

    async def last_change(self) -> int:
        """The `seq` of the newest change; 0 where there was none yet."""

    async def changes_after(self, seq: int, limit: int = 1000) -> Sequence[StoredChange]:
        """The changes above `seq` in their order, at most `limit`. A change that is visible is never overtaken by a lower one."""

    async def wait_for_change(self, seconds: float) -> None:
        """Return when there may be a new change, after `seconds` at the latest. Never raises for want of a connection."""


class ReplicaLeases(Protocol):
    """Which replicas of this service are alive, and how far each has followed the changes. Times are the store's own."""

    async def renew_lease(self, replica: str, seen: int, seconds: float) -> None:
        """Say that `replica` lives for `seconds` more, and has brought its caches up to the change `seen`."""

    async def end_lease(self, replica: str) -> None:
        """Say that `replica` ends."""

    async def replicas_behind(self, seq: int) -> Sequence[str]:
        """The replicas with a live lease that have not seen the change `seq`."""


class BlockedList(Protocol):
    """Tells which tenants are not ACTIVE, without being asked for each of them. A provider may have it or not."""

    async def blocked_tenants(self, after: str = "", limit: int = 1000) -> Sequence[tuple[str, LifecycleRecord | None]]:
        """Tenants that are not ACTIVE with an id above `after`, in the order of their ids, at most `limit`.

        Those whose record can't be read are listed too, with None: what was known of them last still holds.
        """


CHANGES_KEPT: Final = 3600.0
"""Seconds for which a change log keeps a change at least."""


# Between our own layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched(Generic[V]):
    """A value, where it came from, and its age in seconds."""

    value: V
    source: Source
    age: float = 0.0


class Unavailable(ExtauthzError):
    """A look-up or a charge got no answer in time.

    `last_known` is the stale value that may stand in, None where there is none. `retry_after_ms` is when the provider is
    tried again, None where that is not known. `asked`: the provider was asked, and may have done what it was asked.
    """

    def __init__(
        self,
        reason: FallbackReason,
        last_known: Fetched[object] | None = None,
        retry_after_ms: int | None = None,
        *,
        asked: bool = False,
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.last_known = last_known
        self.retry_after_ms = retry_after_ms
        self.asked = asked


class Lookup(Protocol[K_contra, V]):
    """A guarded look-up. Values of None are answers too ("no such tenant")."""

    def peek(self, key: K_contra, max_age: float | None = None) -> Fetched[V] | None:
        """The value if it is fresh in the cache; never waits. `max_age` (seconds) replaces the cache's own ttl."""

    async def get(self, key: K_contra, deadline: Deadline, max_age: float | None = None) -> Fetched[V]:
        """The value, from the cache or from the provider.

        Raises:
            Unavailable: no fresh answer by the deadline.
        """


class LongMemory(Protocol[K_contra, V]):
    """What is kept in mind beyond a cache: the denials, which must outlive an eviction and a restart."""

    def __len__(self) -> int:
        """How many denials."""

    def learned(self, key: K_contra, value: V) -> None:
        """The provider, or a change, says so now."""

    def recall(self, key: K_contra) -> Fetched[V] | None:
        """The denial that was learned last, as a stale answer; None where there is none, or what came later permits."""

    def doubt(self) -> None:
        """Changes may have been missed."""


class CacheControl(Protocol[K_contra, V_contra]):
    """What a change does to a cache. Each call moves generations on: a load begun earlier never fills the cache."""

    def put(self, key: K_contra, value: V_contra) -> None:
        """Make `value` the fresh and the last-known value."""

    def forget(self, key: K_contra) -> None:
        """Drop the fresh value; the last-known one stays for an outage unless it permits more than is known now."""

    def clear(self) -> None:
        """Drop everything."""


class Charger(Protocol):
    """A guarded charge."""

    async def charge(self, charge: Charge, deadline: Deadline) -> ChargeResult:
        """Charge in time.

        Raises:
            Unavailable: no answer by the deadline; whether it was counted is not known.
        """


class LocalCounter(Protocol):
    """Counts in this process what the protection provider could not, by the same limits."""

    def count(self, charge: Charge, *, asked: bool) -> ChargeResult:
        """The answer to a charge by what is known here; never waits.

        The day quota is not looked at: the day is counted elsewhere. `asked`: the provider was asked and may have counted it,
        or may still.
        """


class EventSink(Protocol):
    """Where events go. Emitting never blocks and never raises (OBSERVE-004)."""

    def emit(self, event: Event) -> None:
        """Queue an event."""


class CircuitState(StrEnum):
    """The states of a circuit breaker, named as in metrics and on the admin port."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitView:
    """A breaker as an operator sees it. Times in seconds, None where the circuit is closed."""

    provider: str
    state: CircuitState
    failures: int
    opened_for: float | None = None
    retry_in: float | None = None
    last_error: str = ""


class CacheResult(StrEnum):
    """What a cache said (metric label of `provider_cache_requests_total`)."""

    HIT = "hit"
    MISS = "miss"
    STALE = "stale"
    NEGATIVE = "negative"


class ProviderObserver(Protocol):
    """Told by a guard about its provider; one instance per provider, every call cheap and safe."""

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        """A call ended after `seconds`; a time-out is told at the deadline with `answered` False."""

    def refused(self, operation: str) -> None:
        """A call was not made: the circuit was open or the bulkhead full."""

    def cache(self, result: CacheResult) -> None:
        """The cache was asked."""

    def circuit(self, state: CircuitState) -> None:
        """The circuit changed its state."""


class CheckObserver(Protocol):
    """Told of every decision after it was made; never in the way of the answer."""

    def checked(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        """`request` is None where the message could not be read. `seconds` from message in to answer out."""


class ChangeObserver(Protocol):
    """Told of changes that were made or refused."""

    def transitioned(self, transition: Transition) -> None:
        """A tenant moved."""

    def transition_failed(self, reason: str) -> None:
        """A transition was refused (`invalid_transition`, `not_found`) or went wrong (`provider_error`)."""


class KeyMint(Protocol):
    """Makes API keys."""

    def mint(self, tenant_id: str, scopes: frozenset[str], expires_at: float | None, now: float) -> tuple[ApiKey, str]:
        """A new key's record, and its text, which is shown once and kept nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """One credential that a request carries.

    `header` is the lower-case name of the header it came in. `credential` is the secret itself and stays out of every repr.
    `malformed`: it has the form of its method, but not exactly, so it can never verify.
    """

    header: str
    credential: str = field(repr=False)
    malformed: bool = False


class CredentialMethod(Protocol):
    """One way to authenticate: finds the credentials of its form in a request and verifies them."""

    @property
    def name(self) -> AuthMethod:
        """The method's name in the configuration and in `x-auth-method`."""

    def present(self, request: CheckRequest) -> Sequence[Presented]:
        """The credentials of this method's form that the request carries, malformed ones too; empty where there are none."""

    def verify_now(self, presented: Presented) -> Principal | None:
        """The principal if it can be told without waiting (cached); None when a look-up is needed.

        Raises:
            InvalidCredential: it is known already that it does not verify.
        """

    async def verify(self, presented: Presented, deadline: Deadline) -> Principal:
        """The principal, after a look-up where one is needed.

        Raises:
            InvalidCredential: it does not verify.
            Unavailable: the credential provider gave no answer by the deadline.
        """
