"""Protection in a real Redis, on its own clock: what is sent, and what is stored."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from extauthz.errors import IdempotencyConflict
from extauthz.model.billing import Limits
from extauthz.model.protection import (
    BURST_PERIOD_US,
    RATE_PERIOD_US,
    Dimension,
    Usage,
)
from extauthz.providers.redis_protection import RedisProtection
from tests.redis_asks import ask, connected, over
from tests.redis_server import PRODUCTS, RedisServer, flushed, single

OF_THE_SCRIPT = {"cmdstat_time", "cmdstat_hmget", "cmdstat_hset", "cmdstat_pexpire"}
SECOND = 1_000_000


@pytest.fixture(scope="module", params=PRODUCTS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with single(product=request.param) as started:
        yield started


@pytest.fixture
async def provider(server: RedisServer) -> AsyncIterator[RedisProtection]:
    async with connected(flushed(server.url)) as made:
        yield made


# On Redis's own clock


async def test_abuse_005_a_limit_holds_and_the_answer_tells_where_it_stands(provider: RedisProtection) -> None:
    results = [await provider.charge(ask(Limits(rate=3, max_cost_per_day=100), cost=10)) for _ in range(4)]
    assert [result.charged for result in results] == [True, True, True, False]
    last = results[-1]
    assert last.rate is not None
    assert (last.rate.limit, last.rate.remaining) == (3, 0)
    assert 0 < over(last)[Dimension.RATE] <= RATE_PERIOD_US // 3
    assert await provider.usage("acme") == Usage(requests_today=3, cost_today=30)


async def test_callers_at_once_get_exactly_the_quota(provider: RedisProtection) -> None:
    limits = Limits(max_requests_per_day=200)

    async def caller() -> int:
        return sum([(await provider.charge(ask(limits))).charged for _ in range(10)])

    assert sum(await asyncio.gather(*(caller() for _ in range(64)))) == 200


async def test_the_wait_for_a_day_limit_ends_at_midnight_on_redis_clock(
    server: RedisServer, provider: RedisProtection
) -> None:
    before = await provider.charge(ask(Limits(max_requests_per_day=0)))
    seconds, _ = server.ask("TIME")
    to_midnight = (86_400 - seconds % 86_400) * SECOND
    assert abs(over(before)[Dimension.QUOTA] - to_midnight) <= 60 * SECOND or to_midnight > 86_000 * SECOND


async def test_it_really_refills(provider: RedisProtection) -> None:
    limits = Limits(burst=20)
    assert [(await provider.charge(ask(limits))).charged for _ in range(20)].count(True) == 20
    async with asyncio.timeout(20):
        while (wait := over(await provider.charge(ask(limits, commit=False)))) != {}:
            assert 0 < wait[Dimension.BURST] <= BURST_PERIOD_US // 20
            await asyncio.sleep(wait[Dimension.BURST] / 1e6)


async def test_usage_is_reported_once(provider: RedisProtection) -> None:
    for _ in range(2):
        assert await provider.record_usage("acme", 10**15, "run-1") == Usage(requests_today=0, cost_today=10**15)
    with pytest.raises(IdempotencyConflict):
        await provider.record_usage("acme", 10**15 + 1, "run-1")


# What is sent, and what is stored


async def test_a_charge_is_one_command_and_nothing_else(server: RedisServer, provider: RedisProtection) -> None:
    await provider.charge(ask())
    server.ask("CONFIG", "RESETSTAT")
    await asyncio.gather(*(provider.charge(ask(Limits(rate=10**6), tenant=f"t{number % 7}")) for number in range(500)))
    with server.client() as client:
        stats = client.info("commandstats")
    calls = {name: stats[name]["calls"] for name in stats.keys() - OF_THE_SCRIPT}
    # The look itself begins with greetings of the client.
    assert {
        name: n for name, n in calls.items() if "client" not in name and "config" not in name and "hello" not in name
    } == {"cmdstat_evalsha": 500}
    assert {stats[name]["calls"] for name in OF_THE_SCRIPT} == {500}


async def test_one_connection_is_enough_for_everybody(server: RedisServer, provider: RedisProtection) -> None:
    def clients() -> int:
        listed: bytes = server.ask("CLIENT", "LIST")
        return listed.count(b"\n")

    before = clients()
    await asyncio.gather(*(provider.charge(ask(tenant=f"t{number}")) for number in range(500)))
    assert clients() == before


async def test_billing_002_a_tenant_is_one_hash_without_its_plan_that_expires(
    server: RedisServer, provider: RedisProtection
) -> None:
    await provider.charge(ask(cost=10**15, limits=Limits(rate=100_000_000, burst=100_000_000)))
    assert server.ask("KEYS", "*") == [b"extauthz:{acme}"]
    stored = server.ask("HGETALL", "extauthz:{acme}")
    assert set(stored) == {b"day", b"requests", b"cost", b"rate", b"rate_at", b"burst", b"burst_at"}
    assert all(value.isdigit() for value in stored.values())
    assert (stored[b"cost"], stored[b"requests"]) == (b"1000000000000000", b"1")
    assert 0 < server.ask("PTTL", "extauthz:{acme}") <= 2 * 86_400_000


async def test_idempotency_keys_lie_in_the_tenants_slot_and_expire(
    server: RedisServer, provider: RedisProtection
) -> None:
    await provider.record_usage("acme", 5, "run-1")
    assert sorted(server.ask("KEYS", "*")) == [b"extauthz-usage:{acme}:run-1", b"extauthz:{acme}"]
    assert 86_400_000 < server.ask("PTTL", "extauthz-usage:{acme}:run-1") <= 2 * 86_400_000


async def test_what_is_denied_asked_or_looked_at_leaves_nothing_behind(
    server: RedisServer, provider: RedisProtection
) -> None:
    await provider.charge(ask(Limits(rate=0)))
    await provider.charge(ask(commit=False))
    await provider.usage("acme")
    assert server.ask("DBSIZE") == 0


async def test_a_script_that_is_not_known_any_more_is_sent_whole_once(
    server: RedisServer, provider: RedisProtection
) -> None:
    await provider.charge(ask())
    server.ask("SCRIPT", "FLUSH")
    results = await asyncio.gather(*(provider.charge(ask(Limits(burst=10**6))) for _ in range(50)))
    assert all(result.charged for result in results)
    assert (await provider.usage("acme")).requests_today == 51
    server.ask("CONFIG", "RESETSTAT")
    await provider.charge(ask())
    with server.client() as client:
        assert "cmdstat_eval" not in client.info("commandstats")


async def test_clearing_all_leaves_alone_what_is_not_ours(server: RedisServer, provider: RedisProtection) -> None:
    await asyncio.gather(*(provider.charge(ask(tenant=f"t{number}")) for number in range(900)))
    await asyncio.gather(*(provider.charge(ask(tenant=f"u{number}")) for number in range(900)))
    await provider.record_usage("acme", 5, "run-1")
    for foreign in ("extauthz", "extauthz:", "extauthz:acme", "other:{acme}", "xextauthz:{acme}"):
        server.ask("SET", foreign, "1")
    await provider.clear(None)
    left = set(server.ask("KEYS", "*"))
    assert left == {
        b"extauthz",
        b"extauthz:",
        b"extauthz:acme",
        b"other:{acme}",
        b"xextauthz:{acme}",
        b"extauthz-usage:{acme}:run-1",
    }
