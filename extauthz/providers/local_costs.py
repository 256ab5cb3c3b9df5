"""Cost of the day that was counted in process while its store could not: what is known of it, and what the store is to be told."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from extauthz.ports import WallClock
from extauthz.providers.local_day import LocalDay, Report
from extauthz.providers.protection_answer import saturated

MOST_TENANTS: Final = 100_000
"""Tenants of whom cost waits to be reported; what others cost is lost, counted, and told."""

SETTLING: Final = 5.0
"""Seconds of a new day in which the store may still speak of the day before: longer than a charge is under way or clocks differ."""


class Lost(NamedTuple):
    """What will not be reported: of how many tenants (at most: one may be counted twice), and how much, in micro-units."""

    tenants: int = 0
    cost: int = 0


class LocalCosts:
    """What each tenant cost today, as far as this process can tell: what the store said last, and what was counted here since.

    What was counted here goes to the store in reports. The cost of a report is fixed together with its key when it is first
    tried, so that it is never counted twice, however often it has to be sent; what comes meanwhile is the next report.

    A day that is over takes with it what was not reported: the store would count it to the new one. It is kept in mind, as the
    store keeps it, so that a clock which goes past midnight and is set back gives nobody the day's limit again.

    Args:
        wall: Unix seconds, for the UTC day.
        most_tenants: of how many tenants it is kept what waits, and what the store said.
    """

    def __init__(self, *, wall: WallClock = time.time, most_tenants: int = MOST_TENANTS) -> None:
        self._wall = wall
        self._most = most_tenants
        self._process = uuid.uuid4().hex
        self._reports_made = self._held = 0
        self._lost = Lost()
        self._day, self._other = self._today_and_yesterday()

    @property
    def waiting(self) -> int:
        """How many reports are to be made."""
        return self._day.waiting

    def to_midnight_us(self) -> int:
        """Microseconds until the UTC day ends, at least 1."""
        return max(1, round((self._day.end - self._wall()) * 1e6))

    def today(self, tenant_id: str) -> int:
        """The tenant's cost of today, in micro-units."""
        return self._turn().of(tenant_id)

    def add(self, tenant_id: str, cost: int) -> None:
        """Count `cost`, of which the store knows nothing."""
        day = self._turn()
        counts = day.later if tenant_id in day.reports else day.counted
        counted = counts.get(tenant_id)
        if counted is None and day.waiting >= self._most:
            self._lose(1, cost)
        else:
            counts[tenant_id] = saturated(counted or 0, cost)

    def learn(self, tenant_id: str, cost_today: int) -> None:
        """The store said where the tenant stands.

        While a report is under way nobody knows whether that is in it already: it is taken to be, and here nothing is forgotten.
        """
        day = self._turn()
        if self._is_of_before(tenant_id, cost_today):
            return
        report = day.reports.get(tenant_id)
        if report is not None:
            cost_today = max(day.at_store.get(tenant_id), cost_today - report.cost)
        day.at_store.set(tenant_id, cost_today)

    def next_report(self) -> Report | None:
        """What the store is to be told next: new ones first, then again those that failed; None where there is nothing, or held."""
        day = self._turn()
        if self._held:
            return None
        if not day.counted:
            return next(iter(day.reports.values()), None)
        tenant_id, cost = day.counted.popitem()
        self._reports_made += 1
        report = Report(tenant_id, cost, f"extauthz-local-{self._process}-{self._reports_made}")
        day.reports[tenant_id] = report
        return report

    def reported(self, report: Report, cost_today: int) -> None:
        """The store has it, and stands at `cost_today` now."""
        day, tenant_id = self._turn(), report.tenant_id
        if day.reports.get(tenant_id) is report:
            del day.reports[tenant_id]
            if self._is_of_before(tenant_id, cost_today):
                cost_today = saturated(day.at_store.get(tenant_id), report.cost)
            day.at_store.set(tenant_id, cost_today)
            later = day.later.pop(tenant_id, None)
            if later is not None:
                day.counted[tenant_id] = later

    def failed(self, report: Report) -> None:
        """Whether the store has it is not known: it is told again, after the others."""
        if self._day.reports.get(report.tenant_id) is report:
            self._day.reports.move_to_end(report.tenant_id)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is reported meanwhile: the store is clearing what it counted, and what was counted here before is cleared too."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def clear(self, tenant_id: str | None) -> None:
        """The day's counts of one tenant, or of all for None, were cleared at the store: they are here, too."""
        if tenant_id is None:
            self._day, self._other = self._today_and_yesterday()
            return
        for day in (self._day, self._other):
            day.forget(tenant_id)

    def take_lost(self) -> Lost:
        """What was lost since this was asked last."""
        self._turn()
        lost, self._lost = self._lost, Lost()
        return lost

    def give_up(self) -> Lost:
        """Nobody reports any more: everything that waits is lost."""
        self._lose_all(self._turn())
        lost = self.take_lost()
        self._day, self._other = self._today_and_yesterday()
        return lost

    def _is_of_before(self, tenant_id: str, cost_today: int) -> bool:
        """Whether this may be where the tenant stood at the end of the day before: then it says nothing about today."""
        if self._wall() - self._day.start >= SETTLING:
            return False
        return cost_today >= self._other.at_store.get(tenant_id)

    def _turn(self) -> LocalDay:
        """The day that it is now."""
        wall = self._wall()
        if not self._day.has(wall):
            self._change_day(wall)
        return self._day

    def _change_day(self, wall: float) -> None:
        """To the next day, or back to the one before where the clock was set: that is as it was left, and what waits is reported."""
        gone = self._day
        if wall >= gone.end:
            self._lose_all(gone)
        if self._other.has(wall):
            self._day = self._other
            self._day.told = False
        else:
            self._lose_all(self._other)
            self._day = LocalDay(wall, self._most)
        self._other = gone

    def _today_and_yesterday(self) -> tuple[LocalDay, LocalDay]:
        day = LocalDay(self._wall(), self._most)
        return day, LocalDay(day.start - 1, self._most)

    def _lose_all(self, day: LocalDay) -> None:
        if day.waiting and not day.told:
            self._lose(day.waiting, day.waiting_cost)
        day.told = True

    def _lose(self, tenants: int, cost: int) -> None:
        self._lost = Lost(self._lost.tenants + tenants, self._lost.cost + cost)
