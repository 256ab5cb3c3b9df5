"""Protection counted in process: rate and burst on the monotonic clock, quota and cost by the UTC day of the wall clock."""

import time
from collections import deque
from collections.abc import Iterable
from typing import ClassVar, Final

from extauthz.errors import IdempotencyConflict
from extauthz.model.billing import Limits
from extauthz.model.bucket import charged, drained
from extauthz.model.deadline import Clock
from extauthz.model.protection import (
    BURST_PERIOD_US,
    RATE_PERIOD_US,
    Charge,
    ChargeResult,
    Exceeded,
    Usage,
)
from extauthz.ports import WallClock
from extauthz.providers.memory_protection_keys import UsageKey, UsageKeys
from extauthz.providers.protection_answer import LARGEST_COUNT, answer, over_limits, saturated

_DAY: Final = 86_400
_DAY_US: Final = _DAY * 1_000_000


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
        self._keys = UsageKeys()
        self.changes = 0
        """Moves on whenever a day count or a key changes."""
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
            exceeded = over_limits(charge, account.requests, account.cost, rate, burst, self._to_midnight())
            if not charge.blocking.isdisjoint([each.dimension for each in exceeded]):
                return answer(exceeded, limits, account.requests, account.cost, rate, burst, passed=False)
        requests, cost = account.requests + 1, saturated(account.cost, charge.cost)
        if n_rate is not None:
            rate = charged(rate, n_rate, RATE_PERIOD_US)
        if n_burst is not None:
            burst = charged(burst, n_burst, BURST_PERIOD_US)
        if charge.commit:
            self._commit(account, limits, now, requests, cost, rate, burst)
        return answer(exceeded, limits, requests, cost, rate, burst, passed=True)

    def today(self) -> int:
        """The UTC day by the wall clock, in days since 1970."""
        wall = self._wall()
        if not self._day_start <= wall < self._day_end:
            self._begin_day(int(wall // _DAY))
        return self._day

    def day_counts(self) -> list["_Account"]:
        """Every account, as it is now; reading `tenant_id`, `day`, `requests` and `cost` of them later is safe too."""
        return list(self._accounts.values())

    def usage_keys(self) -> list[UsageKey]:
        """Every idempotency key that is kept, oldest first."""
        return self._keys.all()

    def restore(self, counts: Iterable[tuple[str, int, int]], keys: Iterable[UsageKey]) -> None:
        """Add what a snapshot holds of today: requests and cost by tenant, and the keys that still count."""
        now = int(self._clock() * 1e6 + 0.5)
        today = self.today()
        for tenant_id, requests, cost in counts:
            account = self._account(tenant_id)
            self._keep(account, now)
            account.requests = saturated(account.requests, requests)
            account.cost = saturated(account.cost, cost)
        for key in keys:
            if abs(key.day - today) <= 1:
                self._keys.add(key)

    async def usage(self, tenant_id: str) -> Usage:
        """What the tenant used today (UTC)."""
        account = self._account(tenant_id)
        return Usage(requests_today=account.requests, cost_today=account.cost)

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        """Add `cost` (micro-units, not negative), which is known only afterwards, to today's; the usage after it.

        The same key again up to the end of the next day adds nothing.

        Raises:
            IdempotencyConflict: the tenant used this key before for another cost.
        """
        account = self._account(tenant_id)
        cost = min(cost, LARGEST_COUNT)
        known = self._keys.cost_of(tenant_id, idempotency_key, self._day)
        if known is None:
            self._keys.add(UsageKey(tenant_id, idempotency_key, cost, self._day))
            self._keep(account, int(self._clock() * 1e6 + 0.5))
            account.cost = saturated(account.cost, cost)
        elif known != cost:
            raise IdempotencyConflict("this idempotency key was used before for another cost")
        return Usage(requests_today=account.requests, cost_today=account.cost)

    async def clear(self, tenant_id: str | None) -> None:
        """Forget rate and burst state and the day's counts of one tenant, or of all for None."""
        self.clear_now(tenant_id)

    def clear_now(self, tenant_id: str | None) -> None:
        """The same for a caller that does not wait."""
        self.changes += 1
        if tenant_id is None:
            self._accounts = {}  # what is still in the ring is dropped by the sweep, a little at a time
        else:
            self._accounts.pop(tenant_id, None)

    def _account(self, tenant_id: str) -> _Account:
        """The tenant's account at today's counts; one that is not kept yet where there is none."""
        day = self.today()
        account = self._accounts.get(tenant_id)
        if account is None:
            return _Account(tenant_id, day)
        if account.day != day:
            account.turn(day)
        return account

    def _begin_day(self, day: int) -> None:
        self._day = day
        self._day_start = float(day * _DAY)
        self._day_end = self._day_start + _DAY

    def _commit(
        self, account: _Account, limits: Limits, now: int, requests: int, cost: int, rate: int, burst: int
    ) -> None:
        self._keep(account, now)
        account.requests = requests
        account.cost = cost
        if limits.rate is not None:
            account.rate = rate
            account.rate_at = now
        if limits.burst is not None:
            account.burst = burst
            account.burst_at = now
        self._sweep(now)

    def _keep(self, account: _Account, now: int) -> None:
        """See that the account is kept: its day's counts are about to change."""
        self.changes += 1
        if not account.seen_at and account.tenant_id not in self._accounts:
            self._accounts[account.tenant_id] = account
            self._ring.append(account)
            self._sweep(now)  # two looks for one that is added: clearing and charging by turns cannot let the ring grow
        account.seen_at = now

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

    def _to_midnight(self) -> int:
        return max(1, round((self._day_end - self._wall()) * 1e6))
