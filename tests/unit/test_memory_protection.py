import asyncio
import inspect
from collections.abc import Coroutine
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from extauthz.model.billing import Limits
from extauthz.model.protection import (
    BURST_PERIOD_US,
    CHARGED,
    RATE_PERIOD_US,
    Charge,
    ChargeResult,
    Dimension,
    Exceeded,
    RateStatus,
    Usage,
)
from extauthz.providers.memory_protection import MemoryProtection

T = TypeVar("T")

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
EVENING = 1_767_225_600 * SECOND + 20 * HOUR  # 2026-01-01T20:00:00Z
ALL = frozenset(CHARGED)


@dataclass
class Time:
    """Both clocks, in whole microseconds."""

    mono: int = 10**9
    wall: int = EVENING

    def advance(self, microseconds: int) -> None:
        self.mono += microseconds
        self.wall += microseconds

    def provider(self) -> MemoryProtection:
        return MemoryProtection(clock=lambda: self.mono / 1e6, wall=lambda: self.wall / 1e6)


def now(step: Coroutine[object, None, T]) -> T:
    """The result of a coroutine that must not wait for anything: a charge in process is one step."""
    try:
        step.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited")


def charge(
    provider: MemoryProtection,
    limits: Limits,
    *,
    blocking: frozenset[Dimension] = ALL,
    cost: int = 0,
    tenant: str = "acme",
    commit: bool = True,
) -> ChargeResult:
    return now(provider.charge(Charge(tenant_id=tenant, limits=limits, blocking=blocking, cost=cost, commit=commit)))


# A plain model: tokens are fractions, days are dictionary keys, nothing is ever tidied away.


@dataclass
class Bucket:
    period: int
    missing: Fraction = Fraction(0)
    at: int = 0

    def look(self, limit: int, at: int) -> Fraction:
        return max(Fraction(0), min(self.missing, Fraction(limit)) - Fraction((at - self.at) * limit, self.period))


@dataclass
class Account:
    rate: Bucket = field(default_factory=lambda: Bucket(RATE_PERIOD_US))
    burst: Bucket = field(default_factory=lambda: Bucket(BURST_PERIOD_US))
    days: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass
class Model:
    time: Time
    accounts: dict[str, Account] = field(default_factory=dict)

    def today(self, tenant: str) -> tuple[int, int]:
        return self.accounts.get(tenant, Account()).days.get(self.time.wall // DAY, (0, 0))

    def over(self, ask: Charge) -> tuple[Exceeded, ...]:
        account = self.accounts.get(ask.tenant_id, Account())
        requests, cost = self.today(ask.tenant_id)
        to_midnight = DAY - self.time.wall % DAY
        limits, found = ask.limits, []
        if limits.max_requests_per_day is not None and requests + 1 > limits.max_requests_per_day:
            found.append((Dimension.QUOTA, to_midnight, requests, limits.max_requests_per_day))
        for dimension, bucket, limit in (
            (Dimension.RATE, account.rate, limits.rate),
            (Dimension.BURST, account.burst, limits.burst),
        ):
            if limit is None:
                continue
            missing = bucket.look(limit, self.time.mono)
            if missing + 1 > limit:
                wait = ceil((missing + 1 - limit) * bucket.period / limit) if limit else bucket.period
                found.append((dimension, wait, ceil(missing), limit))
        budget = limits.max_cost_per_day
        if budget is not None and (budget == 0 or cost + ask.cost > budget):
            found.append((Dimension.COST, to_midnight, cost, budget))
        return tuple(Exceeded(dimension=d, wait_us=w, current=c, allowed=a) for d, w, c, a in found)

    def charge(self, ask: Charge) -> ChargeResult:
        exceeded = self.over(ask)
        passes = not any(each.dimension in ask.blocking for each in exceeded)
        account = self.accounts.get(ask.tenant_id, Account())
        requests, cost = self.today(ask.tenant_id)
        levels: dict[Dimension, tuple[Fraction, int | None]] = {
            Dimension.QUOTA: (Fraction(requests + passes), ask.limits.max_requests_per_day),
            Dimension.RATE: self.level(account.rate, ask.limits.rate, passes=passes),
            Dimension.BURST: self.level(account.burst, ask.limits.burst, passes=passes),
            Dimension.COST: (Fraction(cost + passes * ask.cost), ask.limits.max_cost_per_day),
        }
        if passes and ask.commit:
            self.accounts[ask.tenant_id] = account
            account.days[self.time.wall // DAY] = (requests + 1, cost + ask.cost)
            for bucket, dimension in ((account.rate, Dimension.RATE), (account.burst, Dimension.BURST)):
                if levels[dimension][1] is not None:
                    bucket.missing, bucket.at = levels[dimension][0], self.time.mono
        near = tuple(d for d, (level, limit) in levels.items() if limit is not None and level > Fraction(8, 10) * limit)
        return ChargeResult(charged=passes, exceeded=exceeded, near=near, rate=self.status(*levels[Dimension.RATE]))

    def level(self, bucket: Bucket, limit: int | None, *, passes: bool) -> tuple[Fraction, int | None]:
        if limit is None:
            return Fraction(0), None
        return min(bucket.look(limit, self.time.mono) + passes, Fraction(limit)), limit

    @staticmethod
    def status(missing: Fraction, limit: int | None) -> RateStatus | None:
        if limit is None:
            return None
        reset = ceil(missing * RATE_PERIOD_US / limit) if limit else RATE_PERIOD_US
        return RateStatus(limit=limit, remaining=int(limit - missing), reset_us=reset)


PER_PERIOD = st.none() | st.integers(0, 5) | st.sampled_from([7, 60, 1000, 100_000_000])
LIMITS = st.builds(
    Limits,
    rate=PER_PERIOD,
    burst=PER_PERIOD,
    max_requests_per_day=st.none() | st.integers(0, 12),
    max_cost_per_day=st.none() | st.integers(0, 30),
)
TENANTS = st.sampled_from(["acme", "globex", "initech"])
PAUSES = (
    st.integers(0, 3)
    | st.sampled_from([BURST_PERIOD_US // 7, BURST_PERIOD_US - 1, BURST_PERIOD_US, RATE_PERIOD_US // 7, RATE_PERIOD_US])
    | st.integers(0, 25 * 60 * SECOND)
)


class Abuse001And002AgainstAModel(RuleBasedStateMachine):
    """Whatever comes, in whatever order: the provider answers as the model does, and every outcome is explicit."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.provider = self.time.provider()
        self.model = Model(self.time)
        self.denied: tuple[Charge, Exceeded] | None = None

    @rule(
        tenant=TENANTS,
        limits=LIMITS,
        blocking=st.just(ALL) | st.frozensets(st.sampled_from(CHARGED)),
        cost=st.integers(0, 12),
        mode=st.sampled_from(["commit", "commit", "commit", "look"]),
        times=st.integers(1, 8),
    )
    def charge(
        self, tenant: str, limits: Limits, blocking: frozenset[Dimension], cost: int, mode: str, times: int
    ) -> None:
        ask = Charge(tenant_id=tenant, limits=limits, blocking=blocking, cost=cost, commit=mode == "commit")
        for _ in range(times):
            result = now(self.provider.charge(ask))
            assert result == self.model.charge(ask)
            assert result.charged is blocking.isdisjoint(each.dimension for each in result.exceeded)
            if not result.charged:
                self.denied = ask, result.exceeded[-1]

    @rule(pause=PAUSES)
    def let_time_pass(self, pause: int) -> None:
        self.time.advance(pause)

    @rule(hours=st.sampled_from([-1, 1]))
    def wall_clock_jumps_an_hour(self, hours: int) -> None:
        if abs(self.time.wall - EVENING - (self.time.mono - 10**9) + hours * HOUR) <= HOUR:
            self.time.wall += hours * HOUR

    @precondition(lambda self: self.denied is not None and self.denied[1].wait_us <= RATE_PERIOD_US)
    @rule()
    def wait_as_told(self) -> None:
        assert self.denied is not None
        ask = self.denied[0]
        probe = Charge(tenant_id=ask.tenant_id, limits=ask.limits, blocking=ask.blocking, cost=ask.cost, commit=False)
        told = [each for each in now(self.provider.charge(probe)).exceeded if each.wait_us <= RATE_PERIOD_US]
        for each in sorted(told, key=lambda each: each.wait_us):
            waited = self.time.mono
            self.time.advance(each.wait_us - 1)
            assert each.dimension in [e.dimension for e in now(self.provider.charge(probe)).exceeded]
            self.time.advance(1)
            after = [e.dimension for e in now(self.provider.charge(probe)).exceeded]
            assert each.dimension not in after or each.allowed == 0 or each.dimension is Dimension.COST
            assert self.time.mono - waited == each.wait_us
            break
        self.denied = None

    @rule(tenant=TENANTS)
    def clear_one(self, tenant: str) -> None:
        now(self.provider.clear(tenant))
        self.model.accounts.pop(tenant, None)

    @rule()
    def clear_all(self) -> None:
        now(self.provider.clear(None))
        self.model.accounts.clear()

    @invariant()
    def usage_is_the_same(self) -> None:
        for tenant in ("acme", "globex", "initech", "nobody"):
            requests, cost = self.model.today(tenant)
            assert now(self.provider.usage(tenant)) == Usage(requests_today=requests, cost_today=cost)


Abuse001And002AgainstAModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAbuse001And002AgainstAModel = Abuse001And002AgainstAModel.TestCase


def test_abuse_001_it_knows_nothing_but_two_clocks() -> None:
    """There is no store in its reach that it could change: neither onboarding, nor roles, nor billing."""
    assert list(inspect.signature(MemoryProtection).parameters) == ["clock", "wall"]


def test_billing_002_nothing_of_the_plan_is_kept() -> None:
    """The same history under two plans, then one plan: the answers are the same."""
    results = []
    for first in (Limits(rate=50, burst=50, max_requests_per_day=50), Limits(rate=900, burst=60)):
        time = Time()
        provider = time.provider()
        for _ in range(30):
            assert charge(provider, first).charged
        results.append([charge(provider, Limits(rate=40, burst=40, max_requests_per_day=40)) for _ in range(20)])
    assert results[0] == results[1]
    assert [each.charged for each in results[0]] == [True] * 10 + [False] * 10


async def test_callers_at_once_get_exactly_n() -> None:
    time = Time()
    provider = time.provider()
    ask = Charge(tenant_id="acme", limits=Limits(burst=17, rate=10_000), blocking=ALL)

    async def caller() -> int:
        passed = 0
        for _ in range(5):
            passed += (await provider.charge(ask)).charged
            await asyncio.sleep(0)
        return passed

    assert sum(await asyncio.gather(*(caller() for _ in range(64)))) == 17


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_rate_and_burst_do_not_notice_that_the_wall_clock_jumps(jump: int) -> None:
    time = Time()
    provider = time.provider()
    limits = Limits(rate=2, burst=1)
    assert charge(provider, limits).charged
    before = charge(provider, limits)
    time.wall += jump
    assert charge(provider, limits) == before
    time.advance(before.exceeded[0].wait_us)
    assert charge(provider, limits).charged


def test_a_wall_clock_that_goes_to_and_fro_over_midnight_never_gives_a_quota_twice() -> None:
    time = Time()
    provider = time.provider()
    limits = Limits(max_requests_per_day=5, max_cost_per_day=50)
    passed = 0
    for jump in [0] + [5 * HOUR, -5 * HOUR] * 10:
        time.wall += jump
        passed += sum(charge(provider, limits, cost=10).charged for _ in range(20))
    assert passed == 5 + 5  # one quota for each of the two days that were seen


def test_a_wall_clock_that_was_years_ahead_and_is_put_right_finds_the_day_it_left() -> None:
    time = Time()
    provider = time.provider()
    limits = Limits(max_requests_per_day=5)
    assert sum(charge(provider, limits).charged for _ in range(9)) == 5
    time.wall += 3650 * DAY
    assert sum(charge(provider, limits).charged for _ in range(9)) == 5
    time.wall -= 3650 * DAY
    assert not charge(provider, limits).charged
    time.advance(4 * HOUR)
    assert charge(provider, limits).charged


def test_day_counts_end_at_midnight_to_the_microsecond() -> None:
    time = Time()
    provider = time.provider()
    limits = Limits(max_requests_per_day=1)
    assert charge(provider, limits).charged
    assert charge(provider, limits).exceeded[0].wait_us == 4 * HOUR
    time.advance(4 * HOUR - 1)
    assert charge(provider, limits).exceeded[0].wait_us == 1
    time.advance(1)
    assert charge(provider, limits).charged


def test_a_clock_with_fractions_of_a_microsecond_never_makes_a_wait_of_nothing() -> None:
    provider = MemoryProtection(clock=lambda: 1.0, wall=lambda: 86_400 - 2e-7)
    assert charge(provider, Limits(max_requests_per_day=0)).exceeded[0].wait_us == 1


# Memory


def test_tenants_that_stay_away_are_dropped_a_few_with_each_charge() -> None:
    time = Time()
    provider = time.provider()
    for number in range(500):
        charge(provider, Limits(rate=10, burst=10), tenant=f"t{number}")
    assert provider.tenants == 500
    time.advance(DAY)
    sizes = [provider.tenants]
    for _ in range(600):
        charge(provider, Limits())
        sizes.append(provider.tenants)
    assert sizes[-1] == 1
    assert max(before - after for before, after in pairwise(sizes)) <= 2


def test_tenants_of_today_are_kept() -> None:
    time = Time()
    provider = time.provider()
    for number in range(50):
        charge(provider, Limits(rate=10, burst=10), tenant=f"t{number}")
    time.advance(3 * HOUR)
    for _ in range(500):
        charge(provider, Limits())
    assert [now(provider.usage(f"t{number}")).requests_today for number in range(50)] == [1] * 50
    time.wall += 2 * HOUR  # over midnight, but a day has not passed: it may be the wall clock that is wrong
    for _ in range(500):
        charge(provider, Limits())
    time.wall -= 2 * HOUR
    assert [now(provider.usage(f"t{number}")).requests_today for number in range(50)] == [1] * 50


def test_what_is_asked_denied_or_cleared_leaves_nothing_behind() -> None:
    time = Time()
    provider = time.provider()
    charge(provider, Limits(rate=0), tenant="denied")
    charge(provider, Limits(), tenant="asked", commit=False)
    now(provider.usage("shown"))
    assert provider.tenants == 0
    for _ in range(1_000):
        charge(provider, Limits(rate=5))
        now(provider.clear("acme"))
    assert provider.tenants == 0
    charge(provider, Limits(rate=5))
    now(provider.clear(None))
    assert provider.tenants == 0
    assert charge(provider, Limits(rate=1)).charged
