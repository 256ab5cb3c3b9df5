"""Limits that hold in this process while the store that counts is away or has no time (docs/decisions/0011).

Rate and burst are counted by the same arithmetic as everywhere, on the monotonic clock, and nothing of them is ever handed
over: a bucket that nobody touches fills up again, so what was counted in one outage is gone after a minute at most. The cost
of the day is: see `local_costs` and `local_handover`. The day's requests are counted nowhere meanwhile.
"""

import time
from collections import OrderedDict
from typing import Final

from extauthz.model.bucket import charged, drained
from extauthz.model.deadline import Clock
from extauthz.model.protection import BURST_PERIOD_US, RATE_PERIOD_US, Charge, ChargeResult, Dimension, Exceeded
from extauthz.providers.local_costs import LocalCosts
from extauthz.providers.protection_answer import answer, over_limits

MOST_TENANTS: Final = 100_000
"""Tenants whose buckets are kept; about 300 bytes each, with their cost."""

_REFILLED: Final = frozenset({Dimension.RATE, Dimension.BURST})
_NOT_COUNTED: Final = -1
"""The requests of the day: below every quota."""


class _Buckets:
    """Deficits (see `model.bucket`) as of `rate_at` and `burst_at`, monotonic microseconds."""

    __slots__ = ("burst", "burst_at", "rate", "rate_at")

    def __init__(self) -> None:
        self.rate = self.rate_at = self.burst = self.burst_at = 0


class LocalProtection:
    """Counts in process; implements `ports.LocalCounter`.

    A tenant begins with full buckets, unless the store refused it within the last minute (`learn`): then they are as empty as
    they were there. Buckets are kept in the order in which they were touched and dropped once they are full under every
    limit. Beyond `most_tenants` the one untouched for longest goes, that is the fullest.

    Args:
        costs: the cost of the day.
        clock: monotonic seconds.
        most_tenants: of how many tenants buckets are kept.
    """

    def __init__(
        self, *, costs: LocalCosts | None = None, clock: Clock = time.monotonic, most_tenants: int = MOST_TENANTS
    ) -> None:
        self.costs = costs or LocalCosts()
        self._clock = clock
        self._most = most_tenants
        self._buckets: OrderedDict[str, _Buckets] = OrderedDict()
        self.requests = 0
        """Requests that were let through and counted here alone, ever."""

    @property
    def tenants(self) -> int:
        """Of how many tenants buckets are kept."""
        return len(self._buckets)

    def count(self, charge: Charge, *, asked: bool) -> ChargeResult:
        """The answer to a charge by what is known here. All dimensions but the day quota, or none where a blocking one is exceeded.

        Where the provider was `asked` the cost is left to it: it may have counted it, and would count it twice.
        """
        now = self._now()
        buckets = self._buckets.get(charge.tenant_id) or _Buckets()
        limits = charge.limits
        n_rate, n_burst = limits.rate, limits.burst
        rate = 0 if n_rate is None else drained(buckets.rate, now - buckets.rate_at, n_rate, RATE_PERIOD_US)
        burst = 0 if n_burst is None else drained(buckets.burst, now - buckets.burst_at, n_burst, BURST_PERIOD_US)
        cost = self.costs.today(charge.tenant_id)
        exceeded = over_limits(charge, _NOT_COUNTED, cost, rate, burst, self.costs.to_midnight_us())
        if not charge.blocking.isdisjoint([over.dimension for over in exceeded]):
            return answer(exceeded, limits, _NOT_COUNTED, cost, rate, burst, passed=False)
        if n_rate is not None:
            rate = charged(rate, n_rate, RATE_PERIOD_US)
        if n_burst is not None:
            burst = charged(burst, n_burst, BURST_PERIOD_US)
        if charge.commit:
            self._commit(charge, buckets, now, rate, burst, asked=asked)
        return answer(exceeded, limits, _NOT_COUNTED, cost + charge.cost, rate, burst, passed=True)

    def learn(self, charge: Charge, result: ChargeResult) -> None:
        """What the provider answered: where the day's cost stands, and whether `rate` or `burst` are used up."""
        if result.cost_today is not None:
            self.costs.learn(charge.tenant_id, result.cost_today)
        for over in result.exceeded:
            if over.dimension is Dimension.COST and result.cost_today is None:
                self.costs.learn(charge.tenant_id, over.current)
            elif over.dimension in _REFILLED and over.allowed:
                self._learn_bucket(charge.tenant_id, over)

    def tidy(self, most: int) -> None:
        """Drop buckets that are full under every limit, `most` at once."""
        self._drop_full(self._now(), most)

    def clear(self, tenant_id: str | None) -> None:
        """Forget one tenant, or all for None."""
        self.costs.clear(tenant_id)
        if tenant_id is None:
            self._buckets.clear()
        else:
            self._buckets.pop(tenant_id, None)

    def _now(self) -> int:
        return int(self._clock() * 1e6 + 0.5)

    def _commit(self, charge: Charge, buckets: _Buckets, now: int, rate: int, burst: int, *, asked: bool) -> None:
        limited = False
        if charge.limits.rate is not None:
            buckets.rate, buckets.rate_at, limited = rate, now, True
        if charge.limits.burst is not None:
            buckets.burst, buckets.burst_at, limited = burst, now, True
        if limited:
            self._keep(charge.tenant_id, buckets, now)
        if asked:
            return
        self.requests += 1
        if charge.cost:
            self.costs.add(charge.tenant_id, charge.cost)

    def _learn_bucket(self, tenant_id: str, over: Exceeded) -> None:
        """The bucket here is as empty as the store's, of which the wait tells: one request fits when it is over."""
        now = self._now()
        buckets = self._buckets.get(tenant_id) or _Buckets()
        if over.dimension is Dimension.RATE:
            here = drained(buckets.rate, now - buckets.rate_at, over.allowed, RATE_PERIOD_US)
            buckets.rate, buckets.rate_at = max(here, _deficit(over, RATE_PERIOD_US)), now
        else:
            here = drained(buckets.burst, now - buckets.burst_at, over.allowed, BURST_PERIOD_US)
            buckets.burst, buckets.burst_at = max(here, _deficit(over, BURST_PERIOD_US)), now
        self._keep(tenant_id, buckets, now)

    def _keep(self, tenant_id: str, buckets: _Buckets, now: int) -> None:
        """Make it the last one touched, and look at the two untouched for longest."""
        self._buckets[tenant_id] = buckets
        self._buckets.move_to_end(tenant_id)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        self._drop_full(now, 2)

    def _drop_full(self, now: int, most: int) -> None:
        for _ in range(min(most, len(self._buckets))):
            eldest = next(iter(self._buckets.values()))
            if now - max(eldest.rate_at, eldest.burst_at) < RATE_PERIOD_US:
                return
            self._buckets.popitem(last=False)


def _deficit(over: Exceeded, period_us: int) -> int:
    """The deficit of a bucket in which one request fits after `over.wait_us`; at most that of an empty one."""
    capacity = over.allowed * period_us
    return min(capacity, capacity - period_us + over.wait_us * over.allowed)
