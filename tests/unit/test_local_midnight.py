"""Midnight, for the cost of the day that is counted in process: what a clock that is set back finds, and what a late answer says."""

import pytest

from extauthz.model.billing import Limits
from extauthz.model.protection import Charge, ChargeResult, Dimension
from extauthz.providers.local_costs import SETTLING, LocalCosts, Lost
from extauthz.providers.local_protection import LocalProtection
from extauthz.testing import FakeWallClock

HOUR = 3600.0
NOON_TO_MIDNIGHT = 12 * HOUR
ALL = Charge(
    tenant_id="acme", limits=Limits(max_cost_per_day=100), blocking=frozenset({Dimension.COST}), commit=True, cost=100
)


@pytest.fixture
def wall() -> FakeWallClock:
    wall = FakeWallClock()
    wall.advance(NOON_TO_MIDNIGHT - 0.1)
    return wall


@pytest.fixture
def costs(wall: FakeWallClock) -> LocalCosts:
    return LocalCosts(wall=wall)


def test_a_clock_that_goes_past_midnight_and_back_gives_nobody_the_limit_of_the_day_again(
    costs: LocalCosts, wall: FakeWallClock
) -> None:
    local = LocalProtection(costs=costs)
    passed = []
    for step in (0.0, HOUR, -HOUR, HOUR):
        wall.advance(step)
        passed.append([local.count(ALL, asked=False).charged for _ in range(2)])
    assert passed == [[True, False], [True, False], [False, False], [False, False]]


def test_what_waited_is_reported_once_the_clock_is_back(costs: LocalCosts, wall: FakeWallClock) -> None:
    costs.learn("acme", 40)
    costs.add("acme", 5)
    report = costs.next_report()
    costs.add("acme", 2)
    costs.add("other", 1)
    wall.advance(HOUR)
    assert (costs.today("acme"), costs.waiting, costs.next_report()) == (0, 0, None)
    assert costs.take_lost() == Lost(3, 8)
    wall.advance(-HOUR)
    assert (costs.today("acme"), costs.waiting, costs.take_lost()) == (47, 3, Lost())
    other = costs.next_report()
    assert other is not None
    costs.reported(other, 1)
    assert costs.next_report() is report
    wall.advance(HOUR)
    assert costs.take_lost() == Lost(2, 7)


def test_what_was_counted_for_a_day_that_never_came_is_lost_and_told(costs: LocalCosts, wall: FakeWallClock) -> None:
    wall.advance(HOUR)
    costs.add("acme", 3)
    wall.advance(-HOUR)
    assert costs.take_lost() == Lost()  # that day may come
    wall.advance(72 * HOUR)
    assert costs.take_lost() == Lost(1, 3)


def test_clearing_limits_holds_for_the_day_before_too(costs: LocalCosts, wall: FakeWallClock) -> None:
    for tenant in ("a", "b"):
        costs.add(tenant, 3)
    wall.advance(HOUR)
    costs.clear("a")
    wall.advance(-HOUR)
    assert [costs.today(tenant) for tenant in "ab"] == [0, 3]
    wall.advance(HOUR)
    costs.clear(None)
    wall.advance(-HOUR)
    assert (costs.today("b"), costs.waiting) == (0, 0)


def test_a_charge_under_way_over_midnight_does_not_teach_what_yesterday_cost(
    costs: LocalCosts, wall: FakeWallClock
) -> None:
    local = LocalProtection(costs=costs)
    local.learn(ALL, ChargeResult(charged=True, cost_today=60))
    wall.advance(0.2)
    local.learn(ALL, ChargeResult(charged=True, cost_today=100))
    local.learn(ALL, ChargeResult(charged=True, cost_today=60))
    assert costs.today("acme") == 0
    wall.advance(10 * HOUR)
    assert local.count(ALL, asked=False).charged


def test_what_is_less_than_yesterday_cost_is_of_today_and_what_comes_later_too(
    costs: LocalCosts, wall: FakeWallClock
) -> None:
    costs.learn("acme", 60)
    wall.advance(0.2)
    costs.learn("acme", 59)
    assert costs.today("acme") == 59
    wall.advance(SETTLING)
    costs.learn("acme", 70)
    assert costs.today("acme") == 70


def test_a_report_at_the_start_of_a_day_counts_as_what_it_was(costs: LocalCosts, wall: FakeWallClock) -> None:
    costs.learn("acme", 60)
    wall.advance(0.2)
    costs.add("acme", 5)
    report = costs.next_report()
    assert report is not None
    costs.reported(report, 65)  # a store whose clock is behind added it to yesterday's
    assert (costs.today("acme"), costs.waiting) == (5, 0)
