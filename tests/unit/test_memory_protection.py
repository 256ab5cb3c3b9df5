import asyncio
import inspect
from collections.abc import Coroutine
from itertools import pairwise
from typing import TypeVar

import pytest

from extauthz.model.billing import Limits
from extauthz.model.protection import (
    CHARGED,
    Charge,
    ChargeResult,
    Dimension,
)
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.testing.contracts_protection import MicroTime

T = TypeVar("T")

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
EVENING = 1_767_225_600 * SECOND + 20 * HOUR  # 2026-01-01T20:00:00Z
ALL = frozenset(CHARGED)


def started() -> tuple[MicroTime, MemoryProtection]:
    time = MicroTime(mono=10**9, wall=EVENING)
    return time, MemoryProtection(clock=time.clock, wall=time.wall_clock)


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


def test_abuse_001_it_knows_nothing_but_two_clocks() -> None:
    """There is no store in its reach that it could change: neither onboarding, nor roles, nor billing."""
    assert list(inspect.signature(MemoryProtection).parameters) == ["clock", "wall"]


def test_billing_002_nothing_of_the_plan_is_kept() -> None:
    """The same history under two plans, then one plan: the answers are the same."""
    results = []
    for first in (Limits(rate=50, burst=50, max_requests_per_day=50), Limits(rate=900, burst=60)):
        _, provider = started()
        for _ in range(30):
            assert charge(provider, first).charged
        results.append([charge(provider, Limits(rate=40, burst=40, max_requests_per_day=40)) for _ in range(20)])
    assert results[0] == results[1]
    assert [each.charged for each in results[0]] == [True] * 10 + [False] * 10


async def test_callers_at_once_get_exactly_n() -> None:
    _time, provider = started()
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
    time, provider = started()
    limits = Limits(rate=2, burst=1)
    assert charge(provider, limits).charged
    before = charge(provider, limits)
    time.wall += jump
    assert charge(provider, limits) == before
    time.advance(before.exceeded[0].wait_us)
    assert charge(provider, limits).charged


def test_a_wall_clock_that_goes_to_and_fro_over_midnight_never_gives_a_quota_twice() -> None:
    time, provider = started()
    limits = Limits(max_requests_per_day=5, max_cost_per_day=50)
    passed = 0
    for jump in [0] + [5 * HOUR, -5 * HOUR] * 10:
        time.wall += jump
        passed += sum(charge(provider, limits, cost=10).charged for _ in range(20))
    assert passed == 5 + 5  # one quota for each of the two days that were seen


def test_a_wall_clock_that_was_years_ahead_and_is_put_right_finds_the_day_it_left() -> None:
    time, provider = started()
    limits = Limits(max_requests_per_day=5)
    assert sum(charge(provider, limits).charged for _ in range(9)) == 5
    time.wall += 3650 * DAY
    assert sum(charge(provider, limits).charged for _ in range(9)) == 5
    time.wall -= 3650 * DAY
    assert not charge(provider, limits).charged
    time.advance(4 * HOUR)
    assert charge(provider, limits).charged


def test_day_counts_end_at_midnight_to_the_microsecond() -> None:
    time, provider = started()
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
    time, provider = started()
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
    time, provider = started()
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


@pytest.mark.parametrize("limits", [Limits(rate=4), Limits(burst=4)])
def test_what_is_not_full_yet_is_not_let_go(limits: Limits) -> None:
    time, provider = started()
    while charge(provider, limits).charged:
        pass
    (exceeded,) = charge(provider, limits).exceeded
    for wait in (exceeded.wait_us - 1, 1):
        assert charge(provider, limits).exceeded
        time.advance(wait)
        for number in range(20):
            charge(provider, Limits(), tenant=f"t{number}")
    assert [charge(provider, limits).charged for _ in range(3)] == [True, False, False]


def test_charging_and_clearing_by_turns_does_not_let_memory_grow() -> None:
    _, provider = started()
    for number in range(100):
        charge(provider, Limits(), tenant=f"t{number}")
    for _ in range(5_000):
        charge(provider, Limits())
        now(provider.clear("acme"))
    assert provider.tenants == 100
    assert len(provider._ring) <= 300


def test_what_is_asked_denied_or_cleared_leaves_nothing_behind() -> None:
    _time, provider = started()
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
