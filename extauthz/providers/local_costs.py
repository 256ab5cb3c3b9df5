"""Cost of the day that was counted in process while its store could not: what is known of it, and what the store is to be told."""

import time
import uuid
from collections import OrderedDict
from typing import Final, NamedTuple

from extauthz.ports import WallClock
from extauthz.providers.protection_answer import saturated

MOST_TENANTS: Final = 100_000
"""Tenants of whom cost waits to be reported; what others cost is lost, counted, and told."""

_DAY: Final = 86_400


class Report(NamedTuple):
    """Cost (micro-units) to be added to the tenant's day at the store, once: `key` is its idempotency key."""

    tenant_id: str
    cost: int
    key: str


class Lost(NamedTuple):
    """What will never be reported: of how many tenants (at most: one may be counted twice), and how much, in micro-units."""

    tenants: int = 0
    cost: int = 0


class _Recent:
    """A bounded dict of whole numbers: of those beyond `most` the ones not set for longest go, half of them at a time."""

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def get(self, key: str) -> int:
        found = self._young.get(key)
        return self._old.get(key, 0) if found is None else found

    def set(self, key: str, number: int) -> None:
        self._young[key] = number
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}

    def drop(self, key: str) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)


class LocalCosts:
    """What each tenant cost today, as far as this process can tell: what the store said last, and what was counted here since.

    What was counted here goes to the store in reports. The cost of a report is fixed together with its key when it is first
    tried, so that it is never counted twice, however often it has to be sent; what comes meanwhile is the next report.

    A day that is over takes with it what was not reported: the store would count it to the new one.

    Args:
        wall: Unix seconds, for the UTC day.
        most_tenants: of how many tenants it is kept what waits, and what the store said.
    """

    def __init__(self, *, wall: WallClock = time.time, most_tenants: int = MOST_TENANTS) -> None:
        self._wall = wall
        self._most = most_tenants
        self._process = uuid.uuid4().hex
        self._reports_made = 0
        self._lost = Lost()
        self._day_end = 0.0
        self._begin()

    @property
    def waiting(self) -> int:
        """How many reports are to be made."""
        return len(self._counted) + len(self._reports) + len(self._later)

    def to_midnight_us(self) -> int:
        """Microseconds until the UTC day ends, at least 1."""
        return max(1, round((self._day_end - self._wall()) * 1e6))

    def today(self, tenant_id: str) -> int:
        """The tenant's cost of today, in micro-units."""
        self._turn()
        cost = self._at_store.get(tenant_id)
        if self.waiting:
            report = self._reports.get(tenant_id)
            here = self._counted.get(tenant_id, 0) + self._later.get(tenant_id, 0)
            cost = saturated(cost, here if report is None else here + report.cost)
        return cost

    def add(self, tenant_id: str, cost: int) -> None:
        """Count `cost`, of which the store knows nothing."""
        self._turn()
        counts = self._later if tenant_id in self._reports else self._counted
        counted = counts.get(tenant_id)
        if counted is None and self.waiting >= self._most:
            self._lose(1, cost)
        else:
            counts[tenant_id] = saturated(counted or 0, cost)

    def learn(self, tenant_id: str, cost_today: int) -> None:
        """The store said where the tenant stands.

        While a report is under way nobody knows whether that is in it already: it is taken to be, and here nothing is forgotten.
        """
        self._turn()
        report = self._reports.get(tenant_id)
        if report is not None:
            cost_today = max(self._at_store.get(tenant_id), cost_today - report.cost)
        self._at_store.set(tenant_id, cost_today)

    def next_report(self) -> Report | None:
        """What the store is to be told next: new ones first, then again those that failed; None where there is nothing."""
        self._turn()
        if not self._counted:
            return next(iter(self._reports.values()), None)
        tenant_id, cost = self._counted.popitem()
        self._reports_made += 1
        report = Report(tenant_id, cost, f"extauthz-local-{self._process}-{self._reports_made}")
        self._reports[tenant_id] = report
        return report

    def reported(self, report: Report, cost_today: int) -> None:
        """The store has it, and stands at `cost_today` now."""
        self._turn()
        if self._reports.get(report.tenant_id) is report:
            del self._reports[report.tenant_id]
            self._at_store.set(report.tenant_id, cost_today)
            later = self._later.pop(report.tenant_id, None)
            if later is not None:
                self._counted[report.tenant_id] = later

    def failed(self, report: Report) -> None:
        """Whether the store has it is not known: it is told again, after the others."""
        if self._reports.get(report.tenant_id) is report:
            self._reports.move_to_end(report.tenant_id)

    def clear(self, tenant_id: str | None) -> None:
        """The day's counts of one tenant, or of all for None, were cleared at the store: they are here, too."""
        if tenant_id is None:
            self._begin()
            return
        self._counted.pop(tenant_id, None)
        self._later.pop(tenant_id, None)
        self._reports.pop(tenant_id, None)
        self._at_store.drop(tenant_id)

    def take_lost(self) -> Lost:
        """What was lost since this was asked last."""
        self._turn()
        lost, self._lost = self._lost, Lost()
        return lost

    def give_up(self) -> Lost:
        """Nobody reports any more: everything that waits is lost."""
        self._lose_all()
        return self.take_lost()

    def _turn(self) -> None:
        wall = self._wall()
        if not self._day_end - _DAY <= wall < self._day_end:
            self._lose_all()

    def _begin(self) -> None:
        self._day_end = float((self._wall() // _DAY + 1) * _DAY)
        self._counted: dict[str, int] = {}
        self._later: dict[str, int] = {}  # of tenants whose report is under way
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self._at_store = _Recent(self._most)

    def _lose_all(self) -> None:
        here = (*self._counted.values(), *self._later.values())
        cost = sum(here) + sum(report.cost for report in self._reports.values())
        if self.waiting:
            self._lose(self.waiting, cost)
        self._begin()

    def _lose(self, tenants: int, cost: int) -> None:
        self._lost = Lost(self._lost.tenants + tenants, self._lost.cost + cost)
