"""Audit records of what is changed in no store: they are written beside the deed, in bounded time, or else logged."""

import asyncio
from typing import Final

import structlog

from extauthz.changes.desk import Desk
from extauthz.model.lifecycle import AuditRecord
from extauthz.resilience.bounded import within

PATIENCE: Final = 2.0
"""Seconds for the store of audit records."""
OPERATION_PATIENCE: Final = 0.5
"""The same where an operator repairs something, the wait for the records before it included: however many do so at once with that
very store away, each has the answer within a second."""

_log = structlog.get_logger("extauthz.audit")


async def note_or_log(desk: Desk, record: AuditRecord, patience: float = PATIENCE) -> None:
    """Write `record` to the trail; to the log where no store takes it within `patience` seconds. Never raises."""
    try:
        await within(patience, desk.stores.lifecycle.note([record]))
    except Exception as error:  # noqa: BLE001 - whatever the store of a third party raises, the record must not be lost
        _log_record(record, type(error).__name__)


class OperationTrail:
    """The records of what operators do to the running service, in the order in which they did it.

    The deed comes first and waits for nothing: to repair a service must not depend on what is broken in it. A record that has not
    had its turn within the patience is logged too, and no store is asked for it.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._in_order = asyncio.Lock()  # which is fair: who came first writes first

    async def note(self, record: AuditRecord) -> None:
        """Write or log the record of what was done. It is written to the end where the one who did it leaves."""
        await self._desk.finish(self._note(record))

    def note_later(self, record: AuditRecord) -> None:
        """The same, for what the service did by itself: nobody waits for it."""
        self._desk.begin(self._note(record))

    async def _note(self, record: AuditRecord) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + OPERATION_PATIENCE
        try:
            async with asyncio.timeout_at(end):
                await self._in_order.acquire()
        except TimeoutError as error:
            _log_record(record, type(error).__name__)
            return
        try:
            await note_or_log(self._desk, record, end - loop.time())
        finally:
            self._in_order.release()


def _log_record(record: AuditRecord, error: str) -> None:
    change = record.change
    _log.warning(
        "audit_record",
        tenant_id=record.tenant_id,
        what=record.what,
        before=record.before,
        after=record.after,
        actor=f"{change.actor.type.value}:{change.actor.id}",
        reason=change.reason,
        at=change.at,
        request_id=change.request_id,
        not_stored=error,
    )
