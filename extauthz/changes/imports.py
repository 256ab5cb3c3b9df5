"""Tenants that come in numbers, from another system or from an export (spec section 8)."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from extauthz.changes.desk import Desk
from extauthz.errors import ChangeRefused, ImportConflict
from extauthz.model.billing import BillingRecord
from extauthz.model.event import EventSource, EventType
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import Change, Tenant

AT_ONCE: Final = 8
"""Standings that are written at the same time where they live in another store than the tenants."""


_Written = tuple[Sequence[str], frozenset[str]]
"""The ids of those that were added, and of those that were left out because they are there and are not the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What came of a batch: how many tenants were added, how many were there already, the same, and who was there otherwise.

    `kept` are the ids of the last, in the order of the batch.
    """

    created: int
    existing: int
    kept: tuple[str, ...] = ()


class TenantImports:
    """Adds tenants in batches, in whatever state they come."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def import_tenants(
        self, tenants: Sequence[Tenant], billing: Mapping[str, BillingRecord], change: Change, *, keep: bool = False
    ) -> Imported:
        """Add those that are not there yet; `billing` has the standing of each by its id.

        One transaction where tenants and billing live in one store. Else the tenants come first and then the standings, each
        by itself: after a failure the same batch again completes what is missing. With `keep` those that are there stay as
        they are, standing too, and the others are added.

        Raises:
            ImportConflict: without `keep`: some are there and are not the same; nothing was written.
            ProviderError: a store gave no answer.
        """
        return await self._desk.finish(self._import(tenants, billing, change, keep=keep))

    async def _import(
        self, tenants: Sequence[Tenant], billing: Mapping[str, BillingRecord], change: Change, *, keep: bool
    ) -> Imported:
        try:
            created, left = await self._write(tenants, billing, change, keep=keep)
        except ChangeRefused:
            raise
        except BaseException:  # nobody knows what the stores have, so the caches ask again
            self._forget(billing)
            raise
        self._forget(created)
        self._tell(tenants, frozenset(created), change)
        kept = tuple(tenant.tenant_id for tenant in tenants if tenant.tenant_id in left)
        return Imported(created=len(created), existing=len(tenants) - len(created) - len(kept), kept=kept)

    async def _write(
        self, tenants: Sequence[Tenant], billing: Mapping[str, BillingRecord], change: Change, *, keep: bool
    ) -> _Written:
        lifecycle: object = self._desk.stores.lifecycle
        if lifecycle is self._desk.stores.billing:
            return await self._add(tenants, change, billing, keep=keep)
        return await self._write_apart(tenants, billing, change, keep=keep)

    async def _add(
        self, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord] | None, *, keep: bool
    ) -> _Written:
        """One transaction. Where some are in the way of `keep`, nothing was written, and it is begun again without them."""
        left: frozenset[str] = frozenset()
        while True:
            rest = [tenant for tenant in tenants if tenant.tenant_id not in left]
            theirs = None if billing is None else {key: value for key, value in billing.items() if key not in left}
            try:
                return await self._desk.stores.lifecycle.import_tenants(rest, change, theirs), left
            except ImportConflict as conflict:
                if not keep or left.issuperset(conflict.ids):
                    raise
                left = left.union(conflict.ids)

    async def _write_apart(
        self, tenants: Sequence[Tenant], billing: Mapping[str, BillingRecord], change: Change, *, keep: bool
    ) -> _Written:
        standings = await self._desk.stores.billing.find_standings(list(billing))
        differing = [tenant_id for tenant_id, there in standings.items() if there != billing[tenant_id]]
        if differing and not keep:
            raise ImportConflict(differing)
        created, left = await self._add(tenants, change, None, keep=keep)
        settled = left.union(standings)
        missing = [(tenant_id, wanted) for tenant_id, wanted in billing.items() if tenant_id not in settled]
        for start in range(0, len(missing), AT_ONCE):
            await asyncio.gather(*(self._set(*each, change) for each in missing[start : start + AT_ONCE]))
        return created, left.union(differing).difference(created)

    async def _set(self, tenant_id: str, wanted: BillingRecord, change: Change) -> None:
        await self._desk.set_first_standing(tenant_id, wanted, change)
        self._desk.caches.billing.forget(tenant_id)

    def _forget(self, tenant_ids: Iterable[str]) -> None:
        """Caches only forget: a million tenants put into them would push out those that are in use."""
        for tenant_id in tenant_ids:
            self._desk.caches.lifecycle.forget(tenant_id)
            self._desk.caches.billing.forget(tenant_id)

    def _tell(self, tenants: Sequence[Tenant], created: AbstractSet[str], change: Change) -> None:
        """One event for all that are new: a million of them would push out what others wait for. Each has its audit record."""
        by_state: dict[str, list[str]] = {}
        for tenant in tenants:
            if tenant.tenant_id in created:
                by_state.setdefault(tenant.record.state.value, []).append(tenant.tenant_id)
        if by_state:
            payload = {"from": None, "to": by_state, "count": len(created), "reason": change.reason}
            event_type = EventType.TENANT_LIFECYCLE_TRANSITION
            self._desk.emit(event_type, EventSource.LIFECYCLE, SYSTEM_TENANT, change, payload)
