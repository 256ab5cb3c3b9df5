"""Refusals that are remembered: for how long, how they age, and that their memory is bounded."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Dimension, Exceeded, RateStatus
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.resilience.refused import MOST_CHARGES, RefusedCharges
from extauthz.testing import FakeClock
from extauthz.testing.contracts_protection import MicroTime

T = TypeVar("T")

ALL = frozenset(CHARGED)
CHARGE = Charge(tenant_id="acme", limits=Limits(rate=60, burst=10), blocking=ALL)
NOON = 1_767_268_800_000_000


def over(dimension: Dimension, wait_us: int, allowed: int = 10) -> Exceeded:
    return Exceeded(dimension=dimension, wait_us=wait_us, current=allowed, allowed=allowed)


def refused(*exceeded: Exceeded, rate: RateStatus | None = None) -> ChargeResult:
    return ChargeResult(charged=False, exceeded=exceeded, rate=rate)


def started() -> tuple[FakeClock, RefusedCharges]:
    clock = FakeClock()
    return clock, RefusedCharges(clock)


def test_it_holds_until_the_longest_wait_over_what_denies() -> None:
    clock, refusals = started()
    refusals.remember(CHARGE, refused(over(Dimension.RATE, 300_000), over(Dimension.BURST, 100_000)), refusals.epoch)
    clock.advance(0.2)
    assert refusals.find(CHARGE) == refused(over(Dimension.RATE, 100_000))
    clock.advance(0.099999)
    assert refusals.find(CHARGE) == refused(over(Dimension.RATE, 1))
    clock.advance(0.000001)
    assert refusals.find(CHARGE) is None
    assert len(refusals) == 0


def test_what_does_not_block_does_not_prolong_it() -> None:
    clock, refusals = started()
    charge = replace(CHARGE, blocking=frozenset({Dimension.BURST}))
    refusals.remember(charge, refused(over(Dimension.RATE, 900_000), over(Dimension.BURST, 100_000)), refusals.epoch)
    clock.advance(0.1)
    assert refusals.find(charge) is None


def test_a_long_wait_is_believed_for_a_second() -> None:
    clock, refusals = started()
    refusals.remember(CHARGE, refused(over(Dimension.QUOTA, 3_600_000_000)), refusals.epoch)
    clock.advance(0.999)
    assert refusals.find(CHARGE) == refused(over(Dimension.QUOTA, 3_599_001_000))
    clock.advance(0.001)
    assert refusals.find(CHARGE) is None


def test_a_limit_of_zero_waits_one_period_all_the_time() -> None:
    clock, refusals = started()
    status = RateStatus(limit=0, remaining=0, reset_us=60_000_000)
    told = refused(over(Dimension.RATE, 60_000_000, 0), over(Dimension.COST, 5_000_000, 0), rate=status)
    refusals.remember(CHARGE, told, refusals.epoch)
    clock.advance(0.5)
    later = refused(over(Dimension.RATE, 60_000_000, 0), over(Dimension.COST, 4_500_000, 0), rate=status)
    assert refusals.find(CHARGE) == later


def test_nothing_but_a_refusal_that_was_meant_is_kept() -> None:
    _, refusals = started()
    told = refused(over(Dimension.RATE, 1_000_000))
    refusals.remember(replace(CHARGE, commit=False), told, refusals.epoch)
    refusals.remember(CHARGE, ChargeResult(charged=True, exceeded=told.exceeded), refusals.epoch)
    refusals.remember(CHARGE, told, refusals.epoch - 1)
    assert len(refusals) == 0
    refusals.remember(CHARGE, refused(), refusals.epoch)
    assert refusals.find(CHARGE) is None


def test_a_plan_change_or_whether_the_quota_applies_is_another_charge() -> None:
    _, refusals = started()
    refusals.remember(CHARGE, refused(over(Dimension.RATE, 1_000_000)), refusals.epoch)
    assert refusals.find(replace(CHARGE, limits=Limits(rate=600, burst=10))) is None
    assert refusals.find(replace(CHARGE, blocking=ALL - {Dimension.QUOTA})) is None
    assert refusals.find(replace(CHARGE, cost=1)) is None
    assert refusals.find(CHARGE) is not None
    assert refusals.answers == 1


def test_forgetting_is_for_one_tenant_and_clearing_for_all() -> None:
    _, refusals = started()
    other = replace(CHARGE, tenant_id="other")
    for charge in (CHARGE, other):
        refusals.remember(charge, refused(over(Dimension.RATE, 1_000_000)), refusals.epoch)
    refusals.forget("acme")
    assert refusals.find(CHARGE) is None
    assert refusals.find(other) is not None
    refusals.clear()
    assert refusals.find(other) is None


def test_of_too_many_tenants_the_one_refused_longest_ago_goes() -> None:
    refusals = RefusedCharges(FakeClock(), most_tenants=3)
    charges = [replace(CHARGE, tenant_id=f"t{number}") for number in range(4)]
    for charge in (*charges[:3], charges[0], charges[3]):
        refusals.remember(charge, refused(over(Dimension.RATE, 1_000_000)), refusals.epoch)
    assert [refusals.find(charge) is not None for charge in charges] == [True, False, True, True]


def test_one_tenant_cannot_fill_memory_with_different_charges() -> None:
    _, refusals = started()
    for cost in range(10 * MOST_CHARGES):
        refusals.remember(replace(CHARGE, cost=cost), refused(over(Dimension.RATE, 1_000_000)), refusals.epoch)
    kept = sum(refusals.find(replace(CHARGE, cost=cost)) is not None for cost in range(10 * MOST_CHARGES))
    assert 1 <= kept <= MOST_CHARGES


def test_what_is_over_goes_as_others_come() -> None:
    clock, refusals = started()
    for number in range(100):
        refusals.remember(
            replace(CHARGE, tenant_id=f"t{number}"), refused(over(Dimension.RATE, 100_000)), refusals.epoch
        )
    assert len(refusals) == 100
    clock.advance(0.1)
    for _ in range(50):
        refusals.remember(CHARGE, refused(over(Dimension.RATE, 1_000_000)), refusals.epoch)
    assert len(refusals) == 1


def now(step: Coroutine[object, None, T]) -> T:
    return asyncio.run(step)


@settings(max_examples=100, deadline=None)
@given(
    limits=st.builds(
        Limits, rate=st.integers(0, 200), burst=st.none() | st.integers(0, 20), max_requests_per_day=st.just(150)
    ),
    times=st.integers(1, 160),
    elapsed_us=st.integers(0, 999_999),
)
def test_it_ages_as_the_provider_itself_would(limits: Limits, times: int, elapsed_us: int) -> None:
    """What is told from memory is what the provider would say at that moment, to the microsecond; near apart."""
    time = MicroTime(mono=10**9, wall=NOON)
    provider = MemoryProtection(clock=time.clock, wall=time.wall_clock)
    clock = FakeClock()
    refusals = RefusedCharges(clock)
    charge = Charge(tenant_id="acme", limits=limits, blocking=ALL)
    results = now(_charged(provider, charge, times))
    refusals.remember(charge, results[-1], refusals.epoch)
    time.advance(elapsed_us)
    clock.advance(elapsed_us / 1e6)
    told = refusals.find(charge)
    asked = now(provider.charge(replace(charge, commit=False)))
    if told is None:
        assert asked.charged or results[-1].charged
        return
    assert not asked.charged
    assert told.exceeded == asked.exceeded
    assert told.rate is not None
    assert asked.rate is not None
    assert told.rate.reset_us == asked.rate.reset_us
    assert 0 <= asked.rate.remaining - told.rate.remaining <= 1


async def _charged(provider: MemoryProtection, charge: Charge, times: int) -> list[ChargeResult]:
    return [await provider.charge(charge) for _ in range(times)]
