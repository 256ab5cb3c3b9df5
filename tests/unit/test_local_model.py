"""Schedules of outages, floods and charges, generated: what counting in the store and in process comes to together.

The store is the in-process provider behind a line that answers, is slow, hangs, fails, or loses the answer. One tenant, one
process, virtual time; the gate, the guard, the breaker and the hand-over are the real ones.
"""

import asyncio
from fractions import Fraction
from typing import ClassVar, Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extauthz.errors import ProviderError
from extauthz.gates.base import GateControl, GateSettings, Stopwatch
from extauthz.gates.limits import Terms
from extauthz.gates.protection import ProtectionGate
from extauthz.model.billing import Limits
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Gate, OnFailure, Reason, Source
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Usage
from extauthz.ports import CacheResult, CircuitState
from extauthz.providers.local_costs import LocalCosts
from extauthz.providers.local_handover import LONGEST_PAUSE, HandOver
from extauthz.providers.local_protection import LocalProtection
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.policy import BreakerPolicy, ChargePolicy
from extauthz.testing import FakeWallClock, run_virtual

N: Final = 6
PERIOD: Final = 60
BUDGET: Final = 30
RESET: Final = 5.0
LIMITS: Final = Limits(rate=N, max_cost_per_day=BUDGET)
COST: Final = 1


class Silent:
    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        pass

    def refused(self, operation: str) -> None:
        pass

    def cache(self, result: CacheResult) -> None:
        pass

    def circuit(self, state: CircuitState) -> None:
        pass


class Store:
    """The store, behind a line that does what `way` says."""

    in_process: ClassVar[bool] = False

    def __init__(self, wall: FakeWallClock) -> None:
        self.clock = asyncio.get_running_loop().time
        self.counts = MemoryProtection(clock=self.clock, wall=wall)
        self.way = "answers"
        self.let_through: list[float] = []

    async def charge(self, charge: Charge) -> ChargeResult:
        await self._there()
        result = await self.counts.charge(charge)
        if result.charged and charge.commit:
            self.let_through.append(self.clock())
        await self._back()
        return result

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        await self._there()
        usage = await self.counts.record_usage(tenant_id, cost, idempotency_key)
        await self._back()
        return usage

    async def usage(self, tenant_id: str) -> Usage:
        return await self.counts.usage(tenant_id)

    async def clear(self, tenant_id: str | None) -> None:
        raise NotImplementedError(tenant_id)

    async def _there(self) -> None:
        if self.way == "hangs":
            await asyncio.Event().wait()
        if self.way == "fails":
            raise ProviderError("not reached")

    async def _back(self) -> None:
        if self.way == "slow":
            await asyncio.sleep(0.06)
        if self.way == "loses":
            raise ProviderError("connection lost")


class Counter(LocalProtection):
    """What is counted in process, and when."""

    def __init__(self, costs: LocalCosts, store: Store) -> None:
        super().__init__(costs=costs, clock=store.clock)
        self._now_is = store.clock
        self.let_through: list[float] = []
        self.unasked = 0
        self.refused_asked = 0

    def count(self, charge: Charge, *, asked: bool) -> ChargeResult:
        result = super().count(charge, asked=asked)
        if result.charged:
            self.let_through.append(self._now_is())
            self.unasked += not asked
        else:
            self.refused_asked += asked
        return result


class World:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        wall = FakeWallClock(clock=self.loop.time)
        self.store = Store(wall)
        self.passed = 0
        self.local = Counter(LocalCosts(wall=wall), self.store)
        policy, observer = BreakerPolicy(failures=3, window=30.0, reset=RESET), Silent()
        self.breaker = Breaker(
            provider="protection", policy=policy, clock=self.loop.time, observer=observer, spread=lambda: 1.0
        )
        self.guard = ChargeGuard(
            provider=self.store,
            policy=ChargePolicy(timeout=0.1, max_in_flight=8),
            breaker=self.breaker,
            observer=observer,
            clock=self.loop.time,
            learn=self.local.learn,
        )
        settings = GateSettings(on_failure=OnFailure.LOCAL)
        self.gate = ProtectionGate(charger=self.guard, control=GateControl(Gate.PROTECTION, settings), local=self.local)
        self.handover = HandOver(
            local=self.local, store=self.store, answers=lambda: self.breaker.state is CircuitState.CLOSED
        )
        self.handover.start()

    async def charge(self, seconds: float) -> None:
        terms = Terms(
            "acme", LIMITS, COST, quota_counts=False, quota_blocks=False, plan_id="", billing_state=None, commit=True
        )
        ruling = await self.gate.judge(terms, Deadline.after(seconds, self.loop.time), Stopwatch(self.loop.time))
        denial = ruling.denial
        self.passed += denial is None
        if ruling.report.source is Source.PROVIDER:
            if denial is not None:
                # nothing of an outage refuses what the store lets through
                assert not (await self._store_would()).charged
        elif denial is not None and denial.reason is Reason.RATE:
            together = sorted(self.store.let_through + self.local.let_through)
            assert bucket(together, self.loop.time()) > N - 1  # one bucket for both would refuse it, too

    async def _store_would(self) -> ChargeResult:
        ask = Charge(tenant_id="acme", limits=LIMITS, blocking=frozenset(CHARGED), cost=COST, commit=False)
        return await self.store.counts.charge(ask)

    async def close(self) -> None:
        await self.handover.close()
        await self.guard.close()


def exact(moment: float) -> Fraction:
    return Fraction(round(moment * 1_000_000), 1_000_000)


def bucket(moments: list[float], now: float) -> Fraction:
    """What is missing in a bucket of N that was charged at these moments."""
    missing, last = Fraction(0), Fraction(0)
    for moment in moments:
        missing = min(Fraction(N), max(Fraction(0), missing - (exact(moment) - last) * N / PERIOD) + 1)
        last = exact(moment)
    return max(Fraction(0), missing - (exact(now) - last) * N / PERIOD)


def never_more(moments: list[float], times: int) -> None:
    """In no stretch of time more than so many times N + elapsed * N / period."""
    ordered = sorted(map(exact, moments))
    for begin, first in enumerate(ordered):
        for end in range(begin, len(ordered)):
            assert end - begin + 1 <= times * (N + (ordered[end] - first) * N / PERIOD)


STEPS = st.one_of(
    st.tuples(st.just("way"), st.sampled_from(["answers", "slow", "hangs", "fails", "loses"])),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.5, 4.0, 11.0, 61.0])),
    st.tuples(st.just("charge"), st.sampled_from([0.02, 1.0])),
    st.tuples(st.just("flood"), st.integers(2, 12)),
)


async def follow(schedule: list[tuple[str, object]]) -> None:
    world = World()
    for what, detail in schedule:
        if what == "way":
            world.store.way = str(detail)
        elif what == "wait":
            await asyncio.sleep(float(str(detail)))
        elif what == "charge":
            await world.charge(float(str(detail)))
        else:
            await asyncio.gather(*(world.charge(0.2) for _ in range(int(str(detail)))))
    world.store.way = "answers"
    await asyncio.sleep(RESET + LONGEST_PAUSE + 5)
    spent = (await world.store.usage("acme")).cost_today
    assert spent == COST * (len(world.store.let_through) + world.local.unasked)  # each once, nothing lost
    assert spent <= COST * (world.passed + world.local.refused_asked)  # and nobody pays twice
    assert (world.local.costs.waiting, world.local.tenants) == (0, 0)
    assert world.local.costs.today("acme") <= spent  # what the store counted and did not say is not known here
    never_more(world.store.let_through, 1)
    never_more(world.local.let_through, 1)
    never_more(world.store.let_through + world.local.let_through, 2)
    await world.close()


SLOW, FAILS, LOSES, ANSWERS = (("way", way) for way in ("slow", "fails", "loses", "answers"))
ONE, SHORT, SECONDS = ("charge", 1.0), ("charge", 0.02), ("wait", 4.0)


@example([SLOW, ("flood", 12), LOSES, SECONDS, SECONDS])  # a report that is counted and not confirmed
@example([SLOW, SHORT, SHORT])  # counted at the store after the caller has gone
@example([("flood", 6), SECONDS, ONE, FAILS, SECONDS, *[("wait", 0.5)] * 4, ONE])  # what the store said, to its moment
@example([FAILS, *[ONE] * 6, ANSWERS, ("wait", 11.0), *[ONE] * 7, FAILS, *[ONE] * 6])  # an outage soon after another
@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_generated_outages_let_through_no_more_refuse_no_more_and_lose_no_cost(
    schedule: list[tuple[str, object]],
) -> None:
    run_virtual(follow(schedule))


def test_a_flood_beside_a_slow_store_gets_twice_its_limit_at_most_and_no_failure_is_counted() -> None:
    async def flood() -> None:
        world = World()
        world.store.way = "slow"
        for _ in range(20):
            await asyncio.gather(*(world.charge(0.2) for _ in range(30)))
        assert world.local.let_through  # some found no room in time
        assert not world.breaker.failing
        never_more(world.store.let_through, 1)
        never_more(world.local.let_through, 1)
        assert len(world.store.let_through + world.local.let_through) <= 2 * (N + 1)
        await world.close()

    run_virtual(flood())
