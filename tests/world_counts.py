"""How much was let through: buckets and day counts of a world, counted from what was charged, apart from the service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.world_facts import Wrong

SLACK: Final = 1e-3
"""Requests by which a bucket may be off: the service counts in whole microseconds."""

PERIODS: Final = {"rate": 60.0, "burst": 1.0}


@dataclass(slots=True)
class Bucket:
    """A bucket of N requests that refills N per period. It lies between `low` and `high` requests short of full."""

    low: float = 0.0
    high: float = 0.0
    at: float = 0.0
    size: int = 0

    def drain(self, now: float, size: int, period: float) -> None:
        """As of now, for a size that may be another one than before: then nothing is known but its bounds."""
        if size != self.size:
            self.low, self.high, self.size = 0.0, float(size), size
        left = (now - self.at) * size / period
        self.low, self.high, self.at = max(0.0, self.low - left), max(0.0, self.high - left), now

    def take(self) -> None:
        """One request is let through."""
        self.low, self.high = min(self.low + 1, self.size), min(self.high + 1, self.size)

    def has_room(self) -> bool:
        """Whether one more may be let through, in the best case."""
        return self.low + 1 <= self.size + SLACK

    def may_refuse(self, now: float, period: float) -> bool:
        """Whether one more must be refused as of `now` (or of the last change of the bucket, if that is later)."""
        left = max(0.0, now - self.at) * self.size / period
        return max(0.0, self.high - left) + 1 > self.size - SLACK


@dataclass(slots=True)
class Account:
    """What one tenant used at one place. Days by their number."""

    buckets: dict[str, Bucket] = field(default_factory=lambda: {name: Bucket() for name in PERIODS})
    requests: dict[int, int] = field(default_factory=dict)
    cost: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """As a plan has them. None: unlimited."""

    rate: int | None = None
    burst: int | None = None
    per_day: int | None = None
    cost_per_day: int | None = None

    def bucket_sizes(self) -> Mapping[str, int]:
        """Those that refill."""
        sizes = {"rate": self.rate, "burst": self.burst}
        return {name: size for name, size in sizes.items() if size is not None}


UNLIMITED: Final = Limits()


class Place:
    """Somewhere requests are counted: the provider's, or this process's own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._accounts: dict[str, Account] = {}
        self.credit: dict[str, int] = {}

    def account(self, tenant: str) -> Account:
        """What the tenant used here."""
        account = self._accounts.get(tenant)
        if account is None:
            account = self._accounts[tenant] = Account()
        return account

    def cleared(self, tenant: str) -> None:
        """The tenant's counts are forgotten."""
        self._accounts.pop(tenant, None)

    def counted(self, now: float, day: int, tenant: str, limits: Limits, cost: int, blocking: frozenset[str]) -> None:
        """A request was let through here, where every limit that blocks must have had room."""
        account = self.account(tenant)
        for name, size in limits.bucket_sizes().items():
            bucket = account.buckets[name]
            bucket.drain(now, size, PERIODS[name])
            if name in blocking and not bucket.has_room():
                raise Wrong(f"{self._name}: {tenant} was let through beyond {name} {size}")
            bucket.take()
        used, spent = account.requests.get(day, 0), account.cost.get(day, 0)
        if "quota" in blocking and limits.per_day is not None and used >= limits.per_day:
            raise Wrong(f"{self._name}: {tenant} was let through beyond {limits.per_day} a day")
        if "cost" in blocking and limits.cost_per_day is not None and spent + cost > limits.cost_per_day:
            raise Wrong(f"{self._name}: {tenant} was let through beyond a cost of {limits.cost_per_day} a day")
        account.requests[day] = used + 1
        account.cost[day] = spent + cost
        self.credit[tenant] = self.credit.get(tenant, 0) + 1

    def spend_credit(self, tenant: str) -> None:
        """An answer lets a request through that was counted here, which must be so, once."""
        left = self.credit.get(tenant, 0) - 1
        if left < 0:
            raise Wrong(f"{tenant} was let through and not counted by {self._name}")
        self.credit[tenant] = left

    def may_refuse(self, since: float, days: range, tenant: str, dimension: str, limits: Limits, cost: int) -> bool:
        """Whether that dimension was over its limit at some moment since."""
        account = self.account(tenant)
        if dimension in PERIODS:
            size = limits.bucket_sizes().get(dimension)
            bucket = account.buckets[dimension]
            if size is None or (bucket.size != size and not bucket.size):
                return size == 0
            return bucket.size != size or bucket.may_refuse(since, PERIODS[dimension])
        if dimension == "quota":
            return limits.per_day is not None and any(account.requests.get(day, 0) >= limits.per_day for day in days)
        limit = limits.cost_per_day
        return limit is not None and any(account.cost.get(day, 0) + cost > limit for day in days)
