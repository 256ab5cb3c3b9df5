"""What a change that the store tells of does to the caches of this replica."""

from typing import Final

from extauthz.changes.desk import Desk
from extauthz.errors import InvalidRecord
from extauthz.model.changed import ChangedKind, StoredChange
from extauthz.model.lifecycle import LifecycleState
from extauthz.resilience.bounded import within

READ_SECONDS: Final = 2.0
"""For reading again what was changed, the wait for a change of our own included."""


class Applier:
    """Brings the caches of `desk` up to date."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def forget(self, change: StoredChange, *, again: bool = False) -> None:
        """From here on the caches ask the store. Loads in the air are overtaken.

        `again`: it was applied before, so what is known as last known is no worse for it, and better than nothing where the
        store can't be asked yet.
        """
        caches = self._desk.caches
        lifecycle, billing, credentials = (
            each.doubt if again else each.forget for each in (caches.lifecycle, caches.billing, caches.credentials)
        )
        match change.kind:
            case ChangedKind.CREATED:
                lifecycle(change.id)
                billing(change.id)
            case ChangedKind.LIFECYCLE:
                lifecycle(change.id)
            case ChangedKind.BILLING:
                billing(change.id)
                caches.plan_changed(change.id)
            case ChangedKind.KEY:
                credentials(change.id)
                caches.forget_refusals()

    def doubt_all(self) -> None:
        """Nothing that is cached is fresh any more. As last known it stays: the store may be away again by the next look-up."""
        caches = self._desk.caches
        for cache in (caches.lifecycle, caches.billing, caches.credentials):
            cache.doubt_all()
        caches.forget_refusals()

    async def apply(self, change: StoredChange, *, again: bool = False) -> None:
        """Forget what was changed; put what it is now, where the cache held it or it denies.

        A denial is put in any case: it must hold here, through an outage too, before a termination is reported complete.
        `again` is as for `forget`.

        Raises:
            ProviderError: it could not be read again; it is forgotten.
        """
        if change.kind is ChangedKind.LIFECYCLE:
            held = self._desk.caches.lifecycle.holds(change.id)
            self.forget(change, again=again)
            await within(READ_SECONDS, self._show_lifecycle(change.id, held=held))
        elif change.kind is ChangedKind.BILLING:
            held = self._desk.caches.billing.holds(change.id)
            self.forget(change, again=again)
            if held:
                await within(READ_SECONDS, self._show_billing(change.id))
        else:
            self.forget(change, again=again)

    async def _show_lifecycle(self, tenant_id: str, *, held: bool) -> None:
        # One at a time with our own changes of the tenant: what was read before one must not be put after it.
        try:
            async with self._desk.changing(tenant_id):
                record = await self._desk.lifecycle_now(tenant_id)
                if held or (record is not None and record.state is not LifecycleState.ACTIVE):
                    self._desk.caches.lifecycle.put(tenant_id, record)
        except InvalidRecord:
            return  # it was forgotten: each look-up finds out for itself, and tells

    async def _show_billing(self, tenant_id: str) -> None:
        try:
            async with self._desk.changing(tenant_id):
                self._desk.caches.billing.put(tenant_id, await self._desk.standing_now(tenant_id))
        except InvalidRecord:
            return
