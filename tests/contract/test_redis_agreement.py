"""Memory and Redis give the same answers to the same generated sequence, one by one; the time is fed in."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.errors import IdempotencyConflict
from extauthz.model.billing import MAX_RATE, Limits
from extauthz.model.protection import BURST_PERIOD_US, CHARGED, RATE_PERIOD_US, Charge, Dimension
from extauthz.ports import ProtectionProvider
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.redis_protection import RedisProtection
from extauthz.testing.contracts_protection import MicroTime
from tests.redis_server import single

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
EVENING = 1_767_225_600 * SECOND + 20 * HOUR  # 2026-01-01T20:00:00Z


class Pair:
    """Both providers on one time; the time of memory's two clocks is the one that Redis is told."""

    def __init__(self, runner: asyncio.Runner, url: str, flushing: redis.Redis) -> None:
        self._runner = runner
        self._flushing = flushing
        self.time = MicroTime(mono=EVENING, wall=EVENING)
        self.redis = RedisProtection(url, timeout=5.0, now=lambda: self.time.wall)
        self.memory = self._fresh()

    def _fresh(self) -> MemoryProtection:
        return MemoryProtection(clock=self.time.clock, wall=self.time.wall_clock)

    def reset(self) -> None:
        self._flushing.flushall()
        self.time.mono = self.time.wall = EVENING
        self.memory = self._fresh()

    def play(self, steps: list["Step"]) -> None:
        self._runner.run(self._play(steps))

    async def _play(self, steps: list["Step"]) -> None:
        for step in steps:
            if isinstance(step, Pause):
                self.time.advance(step.microseconds)
                continue
            assert await step.ask(self.redis) == await step.ask(self.memory), step


@dataclass(frozen=True)
class Pause:
    microseconds: int


@dataclass(frozen=True)
class Charged:
    charge: Charge

    async def ask(self, provider: ProtectionProvider) -> object:
        return await provider.charge(self.charge)


@dataclass(frozen=True)
class Reported:
    tenant: str
    cost: int
    key: str

    async def ask(self, provider: ProtectionProvider) -> object:
        try:
            return await provider.record_usage(self.tenant, self.cost, self.key)
        except IdempotencyConflict:
            return IdempotencyConflict


@dataclass(frozen=True)
class Looked:
    tenant: str

    async def ask(self, provider: ProtectionProvider) -> object:
        return await provider.usage(self.tenant)


@dataclass(frozen=True)
class Cleared:
    tenant: str | None

    async def ask(self, provider: ProtectionProvider) -> object:
        return await provider.clear(self.tenant)  # type: ignore[func-returns-value] # None from both is what is compared


Step = Pause | Charged | Reported | Looked | Cleared

TENANTS = st.sampled_from(["acme", "globex"])
PER_PERIOD = st.none() | st.integers(0, 5) | st.sampled_from([7, 60, 1000, MAX_RATE - 1, MAX_RATE])
PLAN = Limits(rate=7, burst=3, max_requests_per_day=40, max_cost_per_day=90)
LIMITS = st.just(PLAN) | st.builds(
    Limits,
    rate=PER_PERIOD,
    burst=PER_PERIOD,
    max_requests_per_day=st.none() | st.integers(0, 12),
    max_cost_per_day=st.none() | st.just(0) | st.integers(0, 30) | st.just(10**15),
)
COSTS = st.just(0) | st.integers(0, 12) | st.sampled_from([10**15, 2**53 - 1, 2**53, 10**17])
CHARGES = st.builds(
    Charge,
    tenant_id=TENANTS,
    limits=LIMITS,
    blocking=st.just(frozenset(CHARGED)) | st.frozensets(st.sampled_from(CHARGED)),
    cost=COSTS,
    commit=st.sampled_from([True, True, True, False]),
)
PAUSES = (
    st.integers(0, 3)
    | st.sampled_from([BURST_PERIOD_US // 7, BURST_PERIOD_US - 1, BURST_PERIOD_US, RATE_PERIOD_US // 7])
    | st.integers(0, 2 * RATE_PERIOD_US)
    | st.sampled_from([4 * HOUR - 1, 4 * HOUR, DAY - 1, DAY, DAY + 1, 2 * DAY])
    | st.integers(0, 5 * DAY)
)
STEPS = st.lists(
    CHARGES.map(Charged)
    | CHARGES.map(Charged)
    | PAUSES.map(Pause)
    | st.builds(Reported, tenant=TENANTS, cost=COSTS, key=st.sampled_from(["a", "b"]))
    | TENANTS.map(Looked)
    | st.builds(Cleared, tenant=TENANTS | st.none()),
    min_size=10,
    max_size=60,
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with single() as server, closing(server.client()) as client, asyncio.Runner() as runner:
        made = Pair(runner, server.url, client)
        yield made
        runner.run(made.redis.close())


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_abuse_005_memory_and_redis_give_the_same_answers(pair: Pair, steps: list[Step]) -> None:
    pair.reset()
    pair.play(steps)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limits=LIMITS, times=st.integers(20, 60), pauses=st.lists(st.integers(0, 30 * SECOND), min_size=1, max_size=5))
def test_a_long_run_of_one_tenant_under_one_plan_agrees_too(
    pair: Pair, limits: Limits, times: int, pauses: list[int]
) -> None:
    pair.reset()
    ask = Charged(Charge(tenant_id="acme", limits=limits, blocking=frozenset({Dimension.RATE, Dimension.BURST})))
    for number in range(times):
        pair.play([ask, ask, Pause(pauses[number % len(pauses)])])
