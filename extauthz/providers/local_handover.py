"""When the store is back, it is told the cost that was counted in its place: in the background, each once."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Final

from extauthz.errors import InvalidRecord
from extauthz.model.billing import from_micros
from extauthz.model.protection import Usage
from extauthz.ports import ProtectionProvider
from extauthz.providers.local_costs import Lost
from extauthz.providers.local_day import Report
from extauthz.providers.local_protection import LocalProtection
from extauthz.resilience.bounded import within

log = logging.getLogger(__name__)

EVERY: Final = 1.0
"""Seconds between two rounds."""

A_ROUND: Final = 500
"""Reports of one round at most: a few percent of a core."""

TIDIED: Final = 2000
"""Buckets that a round looks at, at most: those of an outage are gone a minute after it, also where nobody charges any more."""

PATIENCE: Final = 2.0
"""Seconds that one report may take."""

LONGEST_PAUSE: Final = 60.0
"""Seconds between two rounds at most, where the one before failed; each failure doubles them."""

TOLD_EVERY: Final = 60.0
"""Seconds between two lines in the log at least."""


class HandOver:
    """Reports what `local` counted to `store`, while that answers.

    A report that fails is made again under the same idempotency key, so that the store adds it once. What cannot be reported
    (the day is over, too many tenants, this process ends) is lost, and told in the log.

    Args:
        local: what was counted here.
        store: the protection provider.
        answers: whether the store may be asked now: its circuit is closed.
        every: seconds between two rounds.
    """

    def __init__(
        self, *, local: LocalProtection, store: ProtectionProvider, answers: Callable[[], bool], every: float = EVERY
    ) -> None:
        self._local = local
        self._store = store
        self._answers = answers
        self._every = every
        self._pause = every
        self._told_requests = 0
        self._made_ever = self._told_reports = 0
        self._quiet_until = 0.0
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to report in the background."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="local-handover", context=Context())

    async def close(self) -> None:
        """Report all that can be reported within the patience of two reports, tell the rest, and end."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=2 * PATIENCE)
            self._task.cancel()
        self._tell(self._local.costs.give_up())

    async def _run(self) -> None:
        stopping, more = asyncio.ensure_future(self._stop.wait()), True
        try:
            while not stopping.done():
                await asyncio.wait({stopping}, timeout=self._pause)
                more = await self._round()
            while more:
                more = await self._round()
        finally:
            stopping.cancel()

    async def _round(self) -> bool:
        """Report until all is told, the store gives no answer, or it is enough for now. Whether anything was told."""
        costs = self._local.costs
        self._local.tidy(TIDIED)
        before = self._made_ever
        for _ in range(A_ROUND):
            report = costs.next_report() if self._answers() else None
            if report is None:
                break
            if not await self._made(report):
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
                break
            self._pause = self._every
        if asyncio.get_running_loop().time() >= self._quiet_until:
            self._tell(costs.take_lost())
        return self._made_ever > before

    async def _made(self, report: Report) -> bool:
        """Whether the store has it, as far as is known."""
        costs = self._local.costs
        try:
            usage = await within(PATIENCE, self._store.record_usage(*report))
            cost_today = _cost_of(usage)
        except Exception as error:  # noqa: BLE001 - whatever a store of others raises, nobody waits for this
            costs.failed(report)
            log.debug("a report of cost failed (%s)", type(error).__name__)
            return False
        costs.reported(report, cost_today)
        self._made_ever += 1
        return True

    def _tell(self, lost: Lost) -> None:
        """One line for what was counted here since the last one."""
        requests = self._local.requests - self._told_requests
        reported = self._made_ever - self._told_reports
        if requests or reported or lost.tenants:
            self._quiet_until = asyncio.get_running_loop().time() + TOLD_EVERY
            log.warning(
                "protection was counted in process: %d requests (not in the day's counts of the store), cost reported %d times,"
                " cost of %d tenants lost (%s)",
                requests,
                reported,
                lost.tenants,
                from_micros(lost.cost),
            )
        self._told_requests = self._local.requests
        self._told_reports = self._made_ever


def _cost_of(usage: object) -> int:
    """Where the tenant's cost stands.

    Raises:
        InvalidRecord: a provider of others answered something else.
    """
    if isinstance(usage, Usage) and isinstance(usage.cost_today, int):
        return usage.cost_today
    raise InvalidRecord(f"{type(usage).__name__} where usage is due")
