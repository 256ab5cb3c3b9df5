"""What every change shares: where things are kept, what must learn of it, and how it is carried through."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakValueDictionary

import structlog

from extauthz.errors import ChangeRefused, InvalidRecord, NotSupported
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import Change, LifecycleRecord
from extauthz.ports import (
    BillingStore,
    CacheControl,
    ChangeObserver,
    CredentialStore,
    EventSink,
    K_contra,
    KeyMint,
    LifecycleStore,
    V_contra,
)

T = TypeVar("T")

CLOSE_PATIENCE: Final = 10.0
"""Seconds that changes under way have at the end: longer than stores of ours take to give up."""

_log = structlog.stdlib.get_logger(__name__)

BEGINNING: Final = BillingRecord(state=BillingState.TRIAL)
"""The standing of a tenant of whom nothing else is known: TRIAL on the default plan."""


class FollowedCache(CacheControl[K_contra, V_contra], Protocol[K_contra, V_contra]):
    """A cache that also follows what others change."""

    def holds(self, key: K_contra) -> bool:
        """Whether there is an answer in it, fresh or last known."""

    def forget_all(self) -> None:
        """Drop every fresh value; as last known those stay that deny."""

    def doubt(self, key: K_contra) -> None:
        """Drop the fresh value, because a change may have been missed; as last known it stays."""

    def doubt_all(self) -> None:
        """Drop every fresh value, because changes may have been missed; as last known they stay."""


def nobody(_tenant_id: str) -> None:
    """For a service in which nobody needs to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where tenants, standing and keys are kept; one object may be all three."""

    lifecycle: LifecycleStore
    billing: BillingStore
    credentials: CredentialStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """What must learn of a change at once.

    `forget_refusals` drops the remembered refusals of credentials. `plan_changed` is told whose limits may be others now.
    """

    lifecycle: FollowedCache[str, LifecycleRecord | None]
    billing: FollowedCache[str, BillingRecord | None]
    credentials: FollowedCache[str, ApiKey | None]
    forget_refusals: Callable[[], None]
    plan_changed: Callable[[str], None] = nobody


class Desk:
    """Carries changes through. `new_event_id` gives a fresh UUIDv7 as text."""

    def __init__(
        self,
        *,
        stores: Stores,
        caches: Caches,
        mint: KeyMint,
        events: EventSink,
        observer: ChangeObserver,
        new_event_id: Callable[[], str],
    ) -> None:
        self.stores = stores
        self.caches = caches
        self.mint = mint
        self.observer = observer
        self._events = events
        self._new_event_id = new_event_id
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running: set[asyncio.Task[Any]] = set()

    async def close(self, within: float = CLOSE_PATIENCE) -> None:
        """Wait for the changes that are under way, for so many seconds: a store that hangs must not keep the process."""
        if not self._running:
            return
        _, hanging = await asyncio.wait(self._running, timeout=within)
        for change in hanging:
            change.cancel()
        if hanging:
            _log.warning("changes_left_unfinished", count=len(hanging))

    @property
    def keys_live_with_tenants(self) -> bool:
        """Whether one transaction can move a tenant and revoke its keys."""
        lifecycle: object = self.stores.lifecycle
        return lifecycle is self.stores.credentials

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end even where the one who asked for it leaves: a store changed but a cache not is worse."""
        return await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what nobody waits for; `close` does."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    @asynccontextmanager
    async def changing(self, tenant_id: str) -> AsyncIterator[None]:
        """One change of a tenant at a time; when it fails midway nobody knows what the store has, so the cache asks again."""
        lock = self._locks.get(tenant_id)
        if lock is None:
            lock = self._locks[tenant_id] = asyncio.Lock()
        async with lock:
            try:
                yield
            except ChangeRefused:
                raise
            except BaseException:
                self.caches.lifecycle.forget(tenant_id)
                self.caches.billing.forget(tenant_id)
                raise

    async def lifecycle_now(self, tenant_id: str) -> LifecycleRecord | None:
        """What the store has of the tenant's lifecycle; None where there is no such tenant.

        Asked as an administrator asks: the gate's own look-ups, however many, are not in the way. Where a store can only be
        looked up, or something else of the tenant can't be read, as the gate asks.
        """
        try:
            tenant = await self.stores.lifecycle.get_tenant(tenant_id)
        except (NotSupported, InvalidRecord):
            return await self.stores.lifecycle.find_lifecycle(tenant_id)
        return None if tenant is None else tenant.record

    async def standing_now(self, tenant_id: str) -> BillingRecord | None:
        """What the store has of the tenant's standing, asked in the same way; None where there is none."""
        try:
            standings = await self.stores.billing.find_standings([tenant_id])
        except NotSupported:
            return await self.stores.billing.find_billing(tenant_id)
        return standings.get(tenant_id)

    async def set_first_standing(self, tenant_id: str, billing: BillingRecord, change: Change) -> bool:
        """The standing of a new tenant, where billing is a store of its own; whether it was set.

        Where it is somebody else's system, which says by itself what the standing is, nothing is set.

        Raises:
            NotSupported: it is, and more than the beginning of every tenant was asked for.
        """
        try:
            await self.stores.billing.set_billing(tenant_id, change, state=billing.state, plan_id=billing.plan_id)
        except NotSupported:
            if billing != BEGINNING:
                detail = "its standing and plan are kept elsewhere and must be set there"
                raise NotSupported(f"tenant {tenant_id!r} is there, but {detail}") from None
            return False
        return True

    def emit(
        self,
        event_type: EventType,
        source: EventSource,
        tenant_id: str,
        change: Change,
        payload: Mapping[str, object],
        severity: Severity = Severity.INFO,
    ) -> None:
        """Tell the event log, which can fail or be full without harm to the change (OFFBOARD-008)."""
        event = Event(
            event_id=self._new_event_id(),
            type=event_type,
            source=source,
            tenant_id=tenant_id,
            timestamp=change.at,
            severity=severity,
            actor=change.actor,
            request_id=change.request_id,
            payload=payload,
        )
        with suppress(Exception):  # a sink that breaks its promise never to raise must not undo anything
            self._events.emit(event)
