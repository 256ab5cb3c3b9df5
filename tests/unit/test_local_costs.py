"""The day's cost that was counted in process: what it starts from, what is reported, and what is lost."""

from extauthz.providers.local_costs import LocalCosts, Lost
from extauthz.providers.local_day import Report
from extauthz.testing import FakeWallClock

HOUR = 3600.0


def the_next(costs: LocalCosts) -> Report:
    report = costs.next_report()
    assert report is not None
    return report


def test_it_starts_from_what_the_store_said_last() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    assert costs.today("acme") == 0
    costs.learn("acme", 40)
    costs.add("acme", 2)
    costs.learn("acme", 50)
    assert (costs.today("acme"), costs.today("other")) == (52, 0)


def test_a_report_is_made_once_and_what_the_store_then_says_holds() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    costs.add("acme", 2)
    costs.add("acme", 3)
    report = the_next(costs)
    assert (report.tenant_id, report.cost, costs.waiting, costs.today("acme")) == ("acme", 5, 1, 5)
    costs.reported(report, 105)
    assert (costs.today("acme"), costs.waiting, costs.next_report()) == (105, 0, None)


def test_a_report_that_failed_keeps_cost_and_key_and_what_comes_meanwhile_is_the_next() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    costs.add("acme", 5)
    first = the_next(costs)
    costs.failed(first)
    costs.add("acme", 7)
    costs.add("acme", 1)
    assert (the_next(costs), costs.waiting, costs.today("acme")) == (first, 2, 13)
    costs.reported(first, 5)
    second = the_next(costs)
    assert (second.cost, second.key != first.key, costs.today("acme")) == (8, True, 13)
    costs.reported(second, 13)
    assert (costs.today("acme"), costs.waiting) == (13, 0)


def test_one_that_fails_does_not_hold_up_the_others() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    for tenant in ("a", "b"):
        costs.add(tenant, 1)
    failing = the_next(costs)
    costs.failed(failing)
    other = the_next(costs)
    assert other.tenant_id != failing.tenant_id
    costs.failed(other)
    assert [the_next(costs)] == [failing]
    costs.failed(failing)
    assert [the_next(costs)] == [other]


def test_what_the_store_says_while_a_report_is_under_way_is_not_counted_twice() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    costs.add("acme", 5)
    report = the_next(costs)
    costs.learn("acme", 5)  # it may have the report already
    assert costs.today("acme") == 5
    costs.reported(report, 6)
    assert costs.today("acme") == 6


def test_what_others_spend_while_a_report_cannot_be_made_is_known_here() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    costs.learn("acme", 10)
    costs.add("acme", 1)
    report = the_next(costs)
    costs.failed(report)
    costs.add("acme", 2)
    for at_store in (50, 100, 99):
        costs.learn("acme", at_store)
    assert costs.today("acme") == 102  # at least 100 at the store, perhaps with the report, and 2 since
    costs.reported(report, 101)
    assert costs.today("acme") == 103


def test_keys_differ_between_processes() -> None:
    keys = set()
    for _ in range(2):
        costs = LocalCosts(wall=FakeWallClock())
        costs.add("acme", 1)
        keys.add(the_next(costs).key)
    assert len(keys) == 2
    assert all(len(key) <= 128 for key in keys)


def test_a_day_that_is_over_takes_with_it_what_was_not_reported() -> None:
    wall = FakeWallClock()
    costs = LocalCosts(wall=wall)
    costs.add("a", 5)
    report = the_next(costs)
    costs.add("a", 1)
    costs.add("b", 7)
    costs.learn("c", 9)
    assert costs.to_midnight_us() == 12 * 3600 * 10**6
    wall.advance(12 * HOUR)
    assert [costs.today(tenant) for tenant in "abc"] == [0, 0, 0]
    assert (costs.take_lost(), costs.take_lost()) == (Lost(3, 13), Lost())
    costs.reported(report, 5)  # too late: it says nothing about today
    costs.failed(report)
    assert (costs.today("a"), costs.next_report()) == (0, None)
    costs.add("a", 2)
    assert (costs.give_up(), costs.give_up()) == (Lost(1, 2), Lost())


def test_clearing_limits_clears_what_waits() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    for tenant in ("a", "b", "c"):
        costs.learn(tenant, 10)
        costs.add(tenant, 1)
    report = the_next(costs)
    costs.add(report.tenant_id, 1)
    costs.clear(report.tenant_id)
    assert (costs.today(report.tenant_id), costs.waiting) == (0, 2)
    costs.reported(report, 99)
    assert costs.today(report.tenant_id) == 0
    costs.clear(None)
    assert ([costs.today(tenant) for tenant in "abc"], costs.waiting, costs.take_lost()) == ([0, 0, 0], 0, Lost())


def test_memory_is_bounded_and_what_does_not_fit_is_told() -> None:
    costs = LocalCosts(wall=FakeWallClock(), most_tenants=4)
    for number in range(10):
        costs.add(f"t{number}", 2)
        costs.learn(f"t{number}", 10)
    costs.add("t0", 2)
    assert (costs.waiting, costs.take_lost()) == (4, Lost(6, 12))
    assert costs.today("t0") == 4  # what the store said of it is forgotten
    assert costs.today("t9") == 10


def test_who_gives_up_loses_what_waits() -> None:
    costs = LocalCosts(wall=FakeWallClock())
    costs.add("a", 2)
    assert (costs.give_up(), costs.waiting) == (Lost(1, 2), 0)
    assert costs.give_up() == Lost()
