"""Counting in process in the store's place: full at the start unless the store knew better, bounded, and without leftovers."""

from dataclasses import replace

import pytest

from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Dimension, Exceeded
from extauthz.providers.local_costs import LocalCosts
from extauthz.providers.local_protection import LocalProtection
from extauthz.testing.contracts_protection import MicroTime

QUOTA, RATE, BURST, COST = CHARGED
ALL = frozenset(CHARGED)
SECOND = 1_000_000
ASK = Charge(tenant_id="acme", limits=Limits(rate=60), blocking=ALL)


class World:
    def __init__(self, most_tenants: int = 100) -> None:
        self.time = MicroTime(mono=10**12)
        self.time.advance(60 * SECOND)  # a new day has settled
        self.costs = LocalCosts(wall=self.time.wall_clock, most_tenants=most_tenants)
        self.local = LocalProtection(costs=self.costs, clock=self.time.clock, most_tenants=most_tenants)

    def passed(self, times: int, ask: Charge = ASK, *, asked: bool = False) -> int:
        return sum(self.local.count(ask, asked=asked).charged for _ in range(times))


def over(dimension: Dimension, wait_us: int, allowed: int, current: int = 0) -> Exceeded:
    return Exceeded(dimension=dimension, wait_us=wait_us, current=current, allowed=allowed)


def test_a_tenant_gets_its_limit_and_what_is_refilled() -> None:
    world = World()
    assert world.passed(100) == 60
    refused = world.local.count(ASK, asked=False)
    assert [(each.dimension, each.wait_us) for each in refused.exceeded] == [(RATE, SECOND)]
    assert refused.rate is not None
    assert refused.rate.remaining == 0
    world.time.advance(10 * SECOND)
    assert world.passed(100) == 10


def test_burst_is_counted_beside_rate_and_a_refusal_consumes_nothing() -> None:
    world = World()
    ask = replace(ASK, limits=Limits(rate=60, burst=5))
    assert world.passed(20, ask) == 5
    world.time.advance(SECOND)
    assert world.passed(20, ask) == 5
    world.time.advance(50 * SECOND)
    assert world.passed(100) == 60


def test_the_day_quota_is_neither_counted_nor_enforced() -> None:
    world = World()
    ask = replace(ASK, limits=Limits(max_requests_per_day=0))
    assert world.passed(3, ask) == 3
    assert world.local.count(ask, asked=False).near == ()
    assert world.local.requests == 4


def test_a_limit_of_nothing_lets_nothing_through() -> None:
    world = World()
    assert [world.passed(1, replace(ASK, limits=limits)) for limits in (Limits(rate=0), Limits(burst=0))] == [0, 0]
    assert world.passed(1, replace(ASK, limits=Limits(max_cost_per_day=0))) == 0


def test_what_only_warns_is_charged_in_full_and_never_in_debt() -> None:
    world = World()
    ask = replace(ASK, blocking=frozenset())
    assert world.passed(200, ask) == 200
    world.time.advance(SECOND)
    assert world.passed(10) == 1


def test_without_commit_nothing_is_kept() -> None:
    world = World()
    assert world.passed(100, replace(ASK, commit=False, cost=1)) == 100
    assert (world.local.tenants, world.costs.waiting, world.local.requests) == (0, 0, 0)


def test_a_tenant_without_limits_costs_no_memory_but_its_cost_is_counted() -> None:
    world = World()
    assert world.passed(3, replace(ASK, limits=Limits(), cost=2)) == 3
    assert (world.local.tenants, world.costs.today("acme")) == (0, 6)


# What the store said


def test_rate_and_burst_that_were_used_up_at_the_store_are_so_here_until_the_same_moment() -> None:
    world = World()
    ask = replace(ASK, limits=Limits(rate=60, burst=5))
    exceeded = (over(RATE, SECOND // 2, 60), over(BURST, SECOND // 10, 5))
    world.local.learn(ask, ChargeResult(charged=False, exceeded=exceeded))
    world.time.advance(SECOND // 2 - 1)
    assert world.passed(1, ask) == 0
    world.time.advance(1)
    assert world.passed(5, ask) == 1


def test_what_the_store_said_makes_no_bucket_fuller_than_it_is_here() -> None:
    world = World()
    assert world.passed(60) == 60
    world.local.learn(ASK, ChargeResult(charged=False, exceeded=(over(RATE, 1, 60),)))
    world.time.advance(SECOND - 1)
    assert world.passed(1) == 0


def test_a_clock_of_the_store_that_is_behind_makes_no_debt_here() -> None:
    world = World()
    world.local.learn(ASK, ChargeResult(charged=False, exceeded=(over(RATE, 50 * SECOND, 60),)))
    world.time.advance(SECOND)
    assert world.passed(5) == 1


def test_the_cost_of_the_day_starts_from_what_the_store_said_last() -> None:
    world = World()
    ask = replace(ASK, limits=Limits(max_cost_per_day=100), cost=10)
    world.local.learn(ask, ChargeResult(charged=True, cost_today=75))
    assert world.passed(5, ask) == 2
    refused = world.local.count(ask, asked=False)
    assert [(each.dimension, each.current, each.allowed) for each in refused.exceeded] == [(COST, 95, 100)]
    assert refused.near == (COST,)


def test_a_provider_that_does_not_tell_the_cost_tells_it_when_it_refuses() -> None:
    world = World()
    ask = replace(ASK, limits=Limits(max_cost_per_day=100), cost=10)
    world.local.learn(ask, ChargeResult(charged=False, exceeded=(over(COST, 1, 100, current=95),)))
    assert world.passed(5, ask) == 0
    world.local.learn(ask, ChargeResult(charged=True, exceeded=(over(COST, 1, 100, current=95),), cost_today=105))
    assert world.costs.today("acme") == 105


def test_a_used_up_quota_and_a_limit_of_nothing_teach_nothing() -> None:
    world = World()
    world.local.learn(ASK, ChargeResult(charged=False, exceeded=(over(QUOTA, 1, 5), over(RATE, 60 * SECOND, 0))))
    assert world.local.tenants == 0


def test_cost_of_a_charge_that_the_provider_may_have_counted_is_left_to_it() -> None:
    world = World()
    ask = replace(ASK, limits=Limits(rate=60, max_cost_per_day=100), cost=10)
    world.local.learn(ask, ChargeResult(charged=True, cost_today=90))
    assert world.passed(3, ask, asked=True) == 3
    assert (world.costs.waiting, world.local.requests) == (0, 0)
    assert world.passed(2, ask) == 1
    assert world.passed(1, ask, asked=True) == 0  # the limit holds for it all the same
    assert world.passed(100) == 56  # and so does rate


# No leftovers, no growth


def test_an_outage_leaves_nothing_behind_for_one_that_comes_a_minute_later() -> None:
    world = World()
    assert world.passed(60) == 60
    world.time.advance(60 * SECOND)
    assert world.passed(100) == 60


def test_an_outage_that_comes_sooner_finds_the_bucket_refilled_by_the_time_between() -> None:
    world = World()
    assert world.passed(60) == 60
    world.time.advance(20 * SECOND)
    assert world.passed(100) == 20


def test_a_wall_clock_that_jumps_is_not_noticed_by_rate_and_burst() -> None:
    world = World()
    assert world.passed(60) == 60
    world.time.wall += 3600 * SECOND
    assert world.passed(1) == 0
    world.time.wall -= 2 * 3600 * SECOND
    assert world.passed(1) == 0


def test_buckets_that_are_full_are_dropped_as_others_are_charged() -> None:
    world = World(most_tenants=1_000)
    for number in range(500):
        world.passed(1, replace(ASK, tenant_id=f"t{number}"))
    world.time.advance(60 * SECOND)
    for number in range(250):
        world.passed(1, replace(ASK, tenant_id=f"u{number}"))
    assert world.local.tenants == 250


def test_buckets_that_are_full_are_dropped_where_nobody_charges_any_more() -> None:
    world = World()
    world.passed(1, replace(ASK, tenant_id="a"))
    world.passed(1, replace(ASK, tenant_id="b"))
    world.time.advance(60 * SECOND)
    world.local.tidy(1)
    assert world.local.tenants == 1
    world.local.tidy(10)
    assert world.local.tenants == 0


def test_of_too_many_tenants_the_one_with_the_fullest_bucket_goes() -> None:
    world = World(most_tenants=10)
    world.passed(60)
    for number in range(9):
        world.time.advance(SECOND)
        world.passed(1, replace(ASK, tenant_id=f"t{number}"))
    world.passed(1)  # touched again: what is forgotten now is t0
    world.passed(1, replace(ASK, tenant_id="one-more"))
    assert world.local.tenants == 10
    assert world.passed(60) == 8
    assert world.passed(100, replace(ASK, tenant_id="t0")) == 60
    assert world.passed(100, replace(ASK, tenant_id="t3")) == 59 + 1  # refilled meanwhile


def test_a_million_tenants_are_bounded() -> None:
    world = World(most_tenants=1_000)
    for number in range(20_000):
        world.passed(1, replace(ASK, tenant_id=f"t{number}", cost=1))
    assert (world.local.tenants, world.costs.waiting) == (1_000, 1_000)
    assert world.costs.take_lost().tenants == 19_000


@pytest.mark.parametrize("tenant", ["acme", None])
def test_clearing_limits_clears_what_is_counted_here(tenant: str | None) -> None:
    world = World()
    ask = replace(ASK, limits=Limits(rate=60, max_cost_per_day=60), cost=1)
    assert world.passed(100, ask) == 60
    world.local.clear(tenant)
    assert (world.passed(100, ask), world.costs.today("acme")) == (60, 60)


def test_by_default_it_goes_by_the_clocks_of_the_machine() -> None:
    assert LocalProtection().count(ASK, asked=False).charged
