"""Rate-limit state: clearing it (spec section 3.5)."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from extauthz.changes.audit import note_or_log
from extauthz.changes.desk import Desk
from extauthz.errors import ProviderError
from extauthz.model.event import EventSource, EventType
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import AuditRecord, Change
from extauthz.ports import ProtectionProvider
from extauthz.resilience.bounded import within

CLEARED: Final = "cleared"
NOT_CONFIRMED: Final = "not_confirmed"
"""What an audit record says where the provider gave no answer: it may have cleared all the same."""

PATIENCE: Final = 2.0
"""Seconds for the provider where it is one tenant."""
PATIENCE_FOR_ALL: Final = 5.0
"""Seconds for the provider where it is all tenants. Redis goes on clearing when they are over: see docs/redis.md."""


def nothing_refused(_tenant_id: str | None) -> None:
    """For a service that remembers no refusals."""


class LimitChanges:
    """Clears what the protection provider has counted.

    `forget_refused` drops the refusals that this process remembers of a tenant, of all for None. What other replicas remember
    ends within a second by itself. `hold_reports` keeps cost that was counted in this process from being reported while it lasts:
    else what was counted before the clearing would stand at the provider after it. Default: nothing is counted here.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        protection: ProtectionProvider,
        forget_refused: Callable[[str | None], None] = nothing_refused,
        hold_reports: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._desk = desk
        self._protection = protection
        self._forget_refused = forget_refused
        self._hold_reports = hold_reports

    async def clear(self, tenant_id: str | None, change: Change) -> None:
        """Forget rate and burst state and the day's counts of one tenant, or of all for None.

        Raises:
            ProviderError: the provider gave no answer; whether it cleared is not known.
        """
        await self._desk.finish(self._clear(tenant_id, change))

    async def _clear(self, tenant_id: str | None, change: Change) -> None:
        try:
            await self._clear_counts(tenant_id)
        except ProviderError:
            await self._note(tenant_id, change, NOT_CONFIRMED)
            raise
        await self._note(tenant_id, change, CLEARED)
        payload = {"tenant": tenant_id, "reason": change.reason}
        self._desk.emit(EventType.RATE_LIMIT_RESET, EventSource.PROTECTION, tenant_id or SYSTEM_TENANT, change, payload)

    async def _clear_counts(self, tenant_id: str | None) -> None:
        """At the provider first, then here: where it refuses to, nothing here is forgotten."""
        with self._hold_reports():
            try:
                patience = PATIENCE_FOR_ALL if tenant_id is None else PATIENCE
                await within(patience, self._protection.clear(tenant_id))
            except ProviderError:
                self._forget_refused(tenant_id)
                raise
            self._forget_refused(tenant_id)

    async def _note(self, tenant_id: str | None, change: Change, after: str) -> None:
        """The record goes to the tenant's trail; to the log where that can't be written."""
        record = AuditRecord(
            tenant_id=tenant_id or SYSTEM_TENANT,
            what=EventType.RATE_LIMIT_RESET.value,
            before="",
            after=after,
            change=change,
        )
        await note_or_log(self._desk, record)
