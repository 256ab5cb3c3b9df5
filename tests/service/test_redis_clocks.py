"""Clocks of servers that differ, as after a failover; the time is fed in."""

from collections.abc import AsyncIterator, Iterator

import pytest

from extauthz.model.billing import Limits
from extauthz.model.protection import BURST_PERIOD_US, RATE_PERIOD_US, Charge, Dimension
from extauthz.providers.redis_protection import RedisProtection
from tests.redis_asks import ask, over
from tests.redis_server import PRODUCTS, RedisServer, flushed, single

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
NOON = 1_767_268_800 * SECOND


@pytest.fixture(scope="module", params=PRODUCTS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with single(product=request.param) as started:
        yield started


class Clocked:
    """A provider whose time is fed in."""

    def __init__(self, url: str) -> None:
        self.now = NOON
        self.provider = RedisProtection(url, timeout=5.0, now=lambda: self.now)


@pytest.fixture
async def clocked(server: RedisServer) -> AsyncIterator[Clocked]:
    made = Clocked(flushed(server.url))
    yield made
    await made.provider.close()


async def test_a_time_a_little_ahead_stands_still_until_it_is_reached(clocked: Clocked) -> None:
    limits = Limits(rate=2, burst=2)
    assert [(await clocked.provider.charge(ask(limits))).charged for _ in range(3)] == [True, True, False]
    told = over(await clocked.provider.charge(ask(limits)))
    clocked.now -= 400_000
    later = await clocked.provider.charge(ask(limits))
    assert over(later) == {dimension: wait + 400_000 for dimension, wait in told.items()}
    assert later.rate is not None
    assert later.rate.reset_us == RATE_PERIOD_US + 400_000
    clocked.now += over(later)[Dimension.BURST]
    assert Dimension.BURST not in over(await clocked.provider.charge(ask(limits)))


async def test_what_is_left_may_be_used_while_time_stands_still_and_gains_nothing_by_it(clocked: Clocked) -> None:
    limits = Limits(rate=4)
    await clocked.provider.charge(ask(limits))
    clocked.now -= 10 * SECOND
    assert [(await clocked.provider.charge(ask(limits))).charged for _ in range(4)] == [True, True, True, False]
    clocked.now += 10 * SECOND
    assert not (await clocked.provider.charge(ask(limits))).charged
    clocked.now += RATE_PERIOD_US // 4
    assert (await clocked.provider.charge(ask(limits))).charged


async def test_a_time_more_than_a_period_ahead_is_set_anew(clocked: Clocked) -> None:
    """A clock that was an hour ahead shuts nobody out for longer than the period, and gives no bucket as a present."""
    limits = Limits(rate=2, burst=2)
    for _ in range(2):
        await clocked.provider.charge(ask(limits))
    clocked.now -= HOUR
    told = over(await clocked.provider.charge(ask(limits)))
    assert told == {Dimension.RATE: RATE_PERIOD_US // 2, Dimension.BURST: BURST_PERIOD_US // 2}
    lenient = Charge(tenant_id="acme", limits=limits, blocking=frozenset())
    await clocked.provider.charge(lenient)
    clocked.now += told[Dimension.RATE]
    assert (await clocked.provider.charge(ask(limits))).charged


async def test_going_to_and_fro_over_midnight_never_gives_a_quota_twice(clocked: Clocked) -> None:
    limits = Limits(max_requests_per_day=5, max_cost_per_day=50)
    passed = 0
    for jump in [0] + [13 * HOUR, -13 * HOUR] * 5:
        clocked.now += jump
        passed += [(await clocked.provider.charge(ask(limits, cost=10))).charged for _ in range(8)].count(True)
    assert passed == 5 + 5


async def test_a_day_far_ahead_ends_as_soon_as_the_clock_is_right(clocked: Clocked) -> None:
    limits = Limits(max_requests_per_day=5)
    clocked.now += 400 * DAY
    assert [(await clocked.provider.charge(ask(limits))).charged for _ in range(6)].count(True) == 5
    clocked.now -= 400 * DAY
    assert [(await clocked.provider.charge(ask(limits))).charged for _ in range(6)].count(True) == 5


async def test_a_key_of_a_report_is_over_after_the_next_day(clocked: Clocked) -> None:
    await clocked.provider.record_usage("acme", 5, "run-1")
    clocked.now += DAY
    assert (await clocked.provider.record_usage("acme", 5, "run-1")).cost_today == 0
    clocked.now += DAY
    assert (await clocked.provider.record_usage("acme", 5, "run-1")).cost_today == 5
