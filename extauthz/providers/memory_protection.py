"""Protection counted in process: rate and burst on the monotonic clock, quota and cost by the UTC day of the wall clock."""

import time
from collections import deque
from typing import ClassVar, Final

from extauthz.model.billing import Limits
from extauthz.model.bucket import charged, drained, remaining, reset_us, wait_us
from extauthz.model.deadline import Clock
from extauthz.model.protection import (
    BURST_PERIOD_US,
    RATE_PERIOD_US,
    Charge,
    ChargeResult,
    Dimension,
    Exceeded,
    RateStatus,
    Usage,
)
from extauthz.ports import WallClock

_DAY: Final = 86_400
_DAY_US: Final = _DAY * 1_000_000

_CHARGED: Final = ChargeResult(charged=True)
"""The commonest answer to a request without a rate limit: one object for all."""


class _Account:
    """One tenant's counts. Nothing of its plan is kept here (BILLING-002).

    `requests` and `cost` are those of `day`; `other` is the day before it, in the order in which the wall clock showed them.
    `rate` and `burst` are deficits (see `model.bucket`) as of `rate_at` and `burst_at`, monotonic microseconds.
    """

    __slots__ = ("burst", "burst_at", "cost", "day", "other", "rate", "rate_at", "requests", "seen_at", "tenant_id")

    def __init__(self, tenant_id: str, day: int) -> None:
        self.tenant_id = tenant_id
        self.day = day
        self.requests = self.cost = 0
        self.other: tuple[int, int, int] | None = None
        self.rate = self.rate_at = self.burst = self.burst_at = self.seen_at = 0

    def turn(self, day: int) -> None:
        """Go to the counts of `day`.

        The day left is kept beside the new one: a wall clock that goes back over midnight finds the counts it had, so that
        going to and fro never gives a quota twice.
        """
        left = (self.day, self.requests, self.cost)
        if self.other is not None and self.other[0] == day:
            _, self.requests, self.cost = self.other
        else:
            self.requests = self.cost = 0
        self.day, self.other = day, left

    def settle(self, now: int) -> None:
        """Let go of buckets that are full again, whatever their limit: those untouched for a whole period."""
        if now - self.burst_at >= BURST_PERIOD_US:
            self.burst = self.burst_at = 0
        if now - self.rate_at >= RATE_PERIOD_US:
            self.rate = self.rate_at = 0


class MemoryProtection:
    """Counts in this process, and in this process alone: exact for one worker, lost with it.

    A charge is one step without an await: no other caller sees half of it. Memory holds the tenants charged within the last
    24 hours, about 300 bytes each; every charge looks at one further tenant and drops what is over, so that there is never a
    long pause.

    Args:
        clock: monotonic seconds, for rate and burst. The wall clock may jump without their noticing.
        wall: Unix seconds, for the UTC day of quota and cost.
    """

    in_process: ClassVar[bool] = True

    def __init__(self, *, clock: Clock = time.monotonic, wall: WallClock = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._accounts: dict[str, _Account] = {}
        self._ring: deque[_Account] = deque()  # every account, in the order of the sweep
        self._day = 0
        self._day_start = self._day_end = 0.0

    @property
    def tenants(self) -> int:
        """How many tenants are kept in memory."""
        return len(self._accounts)

    async def charge(self, charge: Charge) -> ChargeResult:
        """Count one request in all dimensions, or in none where a blocking dimension is exceeded.

        A charge that is let through is charged in full; rate and burst then stand at empty at worst. What `exceeded` tells is
        always as of before this request.
        """
        now = int(self._clock() * 1e6 + 0.5)
        account = self._account(charge.tenant_id)
        limits = charge.limits
        n_rate, n_burst = limits.rate, limits.burst
        quota, budget = limits.max_requests_per_day, limits.max_cost_per_day
        rate = 0 if n_rate is None else drained(account.rate, now - account.rate_at, n_rate, RATE_PERIOD_US)
        burst = 0 if n_burst is None else drained(account.burst, now - account.burst_at, n_burst, BURST_PERIOD_US)
        exceeded: tuple[Exceeded, ...] = ()
        if (
            (quota is not None and account.requests >= quota)
            or (n_rate is not None and rate > (n_rate - 1) * RATE_PERIOD_US)
            or (n_burst is not None and burst > (n_burst - 1) * BURST_PERIOD_US)
            or (budget is not None and (account.cost + charge.cost > budget or budget == 0))
        ):
            exceeded = self._exceeded(charge, account, rate, burst)
            if not charge.blocking.isdisjoint([each.dimension for each in exceeded]):
                return _result(exceeded, limits, account.requests, account.cost, rate, burst, passed=False)
        requests, cost = account.requests + 1, account.cost + charge.cost
        if n_rate is not None:
            rate = charged(rate, n_rate, RATE_PERIOD_US)
        if n_burst is not None:
            burst = charged(burst, n_burst, BURST_PERIOD_US)
        if charge.commit:
            self._commit(account, limits, now, requests, cost, rate, burst)
        return _result(exceeded, limits, requests, cost, rate, burst, passed=True)

    async def usage(self, tenant_id: str) -> Usage:
        """What the tenant used today (UTC)."""
        account = self._account(tenant_id)
        return Usage(requests_today=account.requests, cost_today=account.cost)

    async def clear(self, tenant_id: str | None) -> None:
        """Forget rate and burst state and the day's counts of one tenant, or of all for None."""
        if tenant_id is None:
            self._accounts = {}  # what is still in the ring is dropped by the sweep, a little at a time
        else:
            self._accounts.pop(tenant_id, None)

    def _account(self, tenant_id: str) -> _Account:
        """The tenant's account at today's counts; one that is not kept yet where there is none."""
        wall = self._wall()
        if not self._day_start <= wall < self._day_end:
            self._begin_day(int(wall // _DAY))
        account = self._accounts.get(tenant_id)
        if account is None:
            return _Account(tenant_id, self._day)
        if account.day != self._day:
            account.turn(self._day)
        return account

    def _begin_day(self, day: int) -> None:
        self._day = day
        self._day_start = float(day * _DAY)
        self._day_end = self._day_start + _DAY

    def _commit(
        self, account: _Account, limits: Limits, now: int, requests: int, cost: int, rate: int, burst: int
    ) -> None:
        if not account.seen_at and account.tenant_id not in self._accounts:
            self._accounts[account.tenant_id] = account
            self._ring.append(account)
            self._sweep(now)  # two looks for one that is added: clearing and charging by turns cannot let the ring grow
        account.requests = requests
        account.cost = cost
        account.seen_at = now
        if limits.rate is not None:
            account.rate = rate
            account.rate_at = now
        if limits.burst is not None:
            account.burst = burst
            account.burst_at = now
        self._sweep(now)

    def _sweep(self, now: int) -> None:
        """Look at one account: drop it when nothing in it counts any more, else move on.

        An account of an earlier day is kept until a day has passed on the monotonic clock as well, or a wall clock that jumps
        ahead and back would give its quota twice.
        """
        account = self._ring[0]
        if self._accounts.get(account.tenant_id) is not account:
            self._ring.popleft()  # cleared
        elif account.day != self._day and now - account.seen_at >= _DAY_US:
            del self._accounts[account.tenant_id]
            self._ring.popleft()
        else:
            account.settle(now)
            self._ring.rotate(-1)

    def _exceeded(self, charge: Charge, account: _Account, rate: int, burst: int) -> tuple[Exceeded, ...]:
        limits = charge.limits
        found: list[Exceeded] = []
        quota, budget = limits.max_requests_per_day, limits.max_cost_per_day
        if quota is not None and account.requests >= quota:
            found.append(_over(Dimension.QUOTA, self._to_midnight(), account.requests, quota))
        if limits.rate is not None:
            found += _over_bucket(Dimension.RATE, rate, limits.rate, RATE_PERIOD_US)
        if limits.burst is not None:
            found += _over_bucket(Dimension.BURST, burst, limits.burst, BURST_PERIOD_US)
        if budget is not None and (account.cost + charge.cost > budget or budget == 0):
            found.append(_over(Dimension.COST, self._to_midnight(), account.cost, budget))
        return tuple(found)

    def _to_midnight(self) -> int:
        return max(1, round((self._day_end - self._wall()) * 1e6))


def _over(dimension: Dimension, wait: int, current: int, allowed: int) -> Exceeded:
    return Exceeded(dimension=dimension, wait_us=wait, current=current, allowed=allowed)


def _over_bucket(dimension: Dimension, deficit: int, limit: int, period_us: int) -> list[Exceeded]:
    wait = wait_us(deficit, limit, period_us)
    return [_over(dimension, wait, limit - remaining(deficit, limit, period_us), limit)] if wait else []


def _result(
    exceeded: tuple[Exceeded, ...], limits: Limits, requests: int, cost: int, rate: int, burst: int, *, passed: bool
) -> ChargeResult:
    """The answer, from where the counts stand now. Near is above 80 %, that is 5 * count > 4 * limit."""
    quota, n_rate, n_burst, budget = limits.max_requests_per_day, limits.rate, limits.burst, limits.max_cost_per_day
    near: list[Dimension] = []
    if quota is not None and requests * 5 > quota * 4:
        near.append(Dimension.QUOTA)
    if n_rate is not None and rate * 5 > n_rate * (4 * RATE_PERIOD_US):
        near.append(Dimension.RATE)
    if n_burst is not None and burst * 5 > n_burst * (4 * BURST_PERIOD_US):
        near.append(Dimension.BURST)
    if budget is not None and cost * 5 > budget * 4:
        near.append(Dimension.COST)
    if n_rate is not None:
        return ChargeResult(charged=passed, exceeded=exceeded, near=tuple(near), rate=_rate_status(rate, n_rate))
    return ChargeResult(charged=passed, exceeded=exceeded, near=tuple(near)) if near or exceeded else _CHARGED


def _rate_status(deficit: int, limit: int) -> RateStatus:
    return RateStatus(
        limit=limit,
        remaining=remaining(deficit, limit, RATE_PERIOD_US),
        reset_us=reset_us(deficit, limit, RATE_PERIOD_US),
    )
