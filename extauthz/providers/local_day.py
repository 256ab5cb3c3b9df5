"""One UTC day of cost as a process knows it: what the store said, and what was counted here and waits to be reported."""

from collections import OrderedDict
from typing import Final, NamedTuple

from extauthz.providers.protection_answer import saturated

DAY: Final = 86_400


class Report(NamedTuple):
    """Cost (micro-units) to be added to the tenant's day at the store, once: `key` is its idempotency key."""

    tenant_id: str
    cost: int
    key: str


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


class LocalDay:
    """The day from `start` to before `end` (Unix seconds), which is the one of `wall`. Cost is in micro-units.

    Every cost that is not at the store is in one place: `counted`, `reports`, or `later`, which is of tenants whose report is
    under way. `told`: it is known of all of it that it waited in vain, for the day was over.
    """

    __slots__ = ("at_store", "counted", "end", "later", "reports", "start", "told")

    def __init__(self, wall: float, most: int) -> None:
        self.start = float(wall // DAY * DAY)
        self.end = self.start + DAY
        self.at_store = _Recent(most)
        self.counted: dict[str, int] = {}
        self.later: dict[str, int] = {}
        self.reports: OrderedDict[str, Report] = OrderedDict()
        self.told = False

    def has(self, wall: float) -> bool:
        """Whether this moment is of this day."""
        return self.start <= wall < self.end

    @property
    def waiting(self) -> int:
        """How many reports are to be made."""
        return len(self.counted) + len(self.reports) + len(self.later)

    @property
    def waiting_cost(self) -> int:
        """How much is to be reported."""
        here = (*self.counted.values(), *self.later.values())
        return sum(here) + sum(report.cost for report in self.reports.values())

    def of(self, tenant_id: str) -> int:
        """What the tenant cost, as far as is known."""
        cost = self.at_store.get(tenant_id)
        if self.counted or self.reports or self.later:
            report = self.reports.get(tenant_id)
            here = self.counted.get(tenant_id, 0) + self.later.get(tenant_id, 0)
            cost = saturated(cost, here if report is None else here + report.cost)
        return cost

    def forget(self, tenant_id: str) -> None:
        """As if the tenant had cost nothing."""
        self.counted.pop(tenant_id, None)
        self.later.pop(tenant_id, None)
        self.reports.pop(tenant_id, None)
        self.at_store.drop(tenant_id)
