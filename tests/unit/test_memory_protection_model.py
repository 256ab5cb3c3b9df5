"""The in-process provider against a plain model: tokens are fractions, days are dictionary keys, nothing is tidied away."""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import TypeVar

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
from extauthz.testing.contracts_protection import MicroTime

T = TypeVar("T")

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
EVENING = 1_767_225_600 * SECOND + 20 * HOUR  # 2026-01-01T20:00:00Z
ALL = frozenset(CHARGED)
START = 10**9


def now(step: Coroutine[object, None, T]) -> T:
    """The result of a coroutine that must not wait for anything: a charge in process is one step."""
    try:
        step.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited")


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
    time: MicroTime
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
PLAN = Limits(rate=7, burst=3, max_requests_per_day=40, max_cost_per_day=90)
LIMITS = st.just(PLAN) | st.builds(
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
        self.time = MicroTime(mono=START, wall=EVENING)
        self.provider = MemoryProtection(clock=self.time.clock, wall=self.time.wall_clock)
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
        if abs(self.time.wall - EVENING - (self.time.mono - START) + hours * HOUR) <= HOUR:
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
