"""What this process remembers of the providers' answers: seen, and cleared.

Clearing makes fresh answers go, so that the provider is asked anew. It does not make a denial go: what is known to deny stays
as last known, for an outage in which nobody can be asked must not let in whom we know to be out. It goes when the provider says
otherwise. A load under way never refills what was cleared. However much there is, the event loop does not stand still for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from extauthz.changes.audit import OperationTrail
from extauthz.errors import NotFound
from extauthz.model.identity import SYSTEM_TENANT, ApiKey
from extauthz.model.lifecycle import AuditRecord, Change
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.guard import Guard
from extauthz.resilience.stats import Cleared

__all__ = [
    "CacheChanges",
    "CacheView",
    "ChargeCache",
    "Cleared",
    "KeyCache",
    "OperatedCache",
    "RememberedRefusals",
    "TenantCache",
]

CLEARED: Final = "cache_cleared"
"""What the audit record says; there is no event of that type."""

_log = structlog.get_logger("extauthz.caches")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheView:
    """One cache. `operation` is what it answers; counts are since the start of the process, None where nobody counts them.

    `entries` may lie above `max_entries` while the provider fails.
    """

    provider: str
    operation: str
    entries: int
    max_entries: int
    in_flight: int | None = None
    hits: int | None = None
    misses: int | None = None
    stale: int | None = None

    @property
    def hit_rate(self) -> float | None:
        """The part, 0 to 1, of what was asked that was answered fresh from here; None where nothing was asked."""
        if self.hits is None or self.misses is None or self.stale is None:
            return None
        asked = self.hits + self.misses + self.stale
        return self.hits / asked if asked else None


class RememberedRefusals(Protocol):
    """Credentials that were refused a moment ago."""

    hits: int
    max_entries: int

    def __len__(self) -> int:
        """How many."""

    def forget_all(self) -> None:
        """Drop everything."""


class OperatedCache(Protocol):
    """What is remembered of one provider."""

    def views(self) -> Sequence[CacheView]:
        """Each cache there is."""

    async def clear(self, tenant_id: str | None) -> Cleared:
        """Make what is fresh of one tenant, of all for None, go."""


class TenantCache:
    """Answers by tenant: lifecycle, billing. Up to `max_age` seconds an answer is fresh to some who ask; None: up to its ttl."""

    def __init__(
        self, provider: str, guard: Guard[str, Any], max_entries: int, *, max_age: float | None = None
    ) -> None:
        self._provider = provider
        self._guard = guard
        self._max_entries = max_entries
        self._max_age = max_age

    def views(self) -> Sequence[CacheView]:
        """The one cache there is."""
        return (_view_of(self._provider, self._guard, self._max_entries),)

    async def clear(self, tenant_id: str | None) -> Cleared:
        """Make what is fresh of one tenant, of all for None, go."""
        if tenant_id is not None:
            return self._guard.clear_one(tenant_id, self._max_age)
        return await self._guard.clear_all(self._max_age)


class KeyCache:
    """Verified credentials by key, and the refused ones, of which a hash does not tell whose they are."""

    def __init__(self, guard: Guard[str, ApiKey | None], refused: RememberedRefusals, max_entries: int) -> None:
        self._guard = guard
        self._refused = refused
        self._max_entries = max_entries

    def views(self) -> Sequence[CacheView]:
        """The keys, and the refusals."""
        refused = self._refused
        refusals = CacheView(
            provider="credentials",
            operation="refused",
            entries=len(refused),
            max_entries=refused.max_entries,
            hits=refused.hits,
        )
        return (_view_of("credentials", self._guard, self._max_entries), refusals)

    async def clear(self, tenant_id: str | None) -> Cleared:
        """Drop the keys of one tenant, of all for None. What is known not to exist goes with them, and every refusal."""
        self._refused.forget_all()
        if tenant_id is None:
            return await self._guard.clear_all()
        gone = await self._guard.clear_where(lambda key: key is None or key.tenant_id == tenant_id)
        return Cleared(cleared=gone)


class ChargeCache:
    """Refused charges, remembered for a second at most. What was counted is not touched."""

    def __init__(self, guard: ChargeGuard, max_entries: int) -> None:
        self._guard = guard
        self._max_entries = max_entries

    def views(self) -> Sequence[CacheView]:
        """The one cache there is; `entries` are tenants."""
        stats = self._guard.stats()
        view = CacheView(
            provider="protection",
            operation="refused",
            entries=stats.refused_tenants,
            max_entries=self._max_entries,
            in_flight=stats.in_flight,
            hits=stats.remembered,
        )
        return (view,)

    async def clear(self, tenant_id: str | None) -> Cleared:
        """Drop the refusals of one tenant, of all for None."""
        before = self._guard.stats().refused_tenants
        if tenant_id is None:
            self._guard.clear()
        else:
            self._guard.forget(tenant_id)
        return Cleared(cleared=before - self._guard.stats().refused_tenants)


class CacheChanges:
    """Clears caches, by the name of the provider."""

    def __init__(self, trail: OperationTrail, caches: Mapping[str, OperatedCache]) -> None:
        self._trail = trail
        self._caches = caches

    def all(self) -> Sequence[CacheView]:
        """Every cache."""
        return tuple(view for cache in self._caches.values() for view in cache.views())

    async def clear(self, provider: str, tenant_id: str | None, change: Change) -> Cleared:
        """Clear what is remembered of a provider's answers about one tenant, about all for None.

        Raises:
            NotFound: no such provider.
        """
        cache = self._caches.get(provider)
        if cache is None:
            raise NotFound(f"there is no such cache; it is one of {', '.join(self._caches)}")
        done = await cache.clear(tenant_id)
        await self._trail.note(_record(provider, tenant_id, done, change))
        return done


def _view_of(provider: str, guard: Guard[str, Any], max_entries: int) -> CacheView:
    stats = guard.stats()
    return CacheView(
        provider=provider,
        operation=stats.operation,
        entries=stats.entries,
        max_entries=max_entries,
        in_flight=stats.in_flight,
        hits=stats.hits,
        misses=stats.misses,
        stale=stats.stale,
    )


def _record(provider: str, tenant_id: str | None, done: Cleared, change: Change) -> AuditRecord:
    """The record of what was done, which the log has too; it stands in the trail of the tenant whom it concerns."""
    actor = f"{change.actor.type.value}:{change.actor.id}"
    _log.info(
        CLEARED,
        provider=provider,
        tenant_id=tenant_id,
        cleared=done.cleared,
        kept=done.kept,
        actor=actor,
        reason=change.reason,
    )
    after = f"{provider}: {done.cleared} cleared, {done.kept} kept"
    return AuditRecord(tenant_id=tenant_id or SYSTEM_TENANT, what=CLEARED, before="", after=after, change=change)
