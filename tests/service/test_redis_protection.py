"""Protection in a real Redis, on its own clock: what is sent, what is stored, and what goes wrong with one tenant."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from extauthz.errors import IdempotencyConflict, InvalidRecord, ProviderError
from extauthz.model.billing import Limits
from extauthz.model.protection import (
    BURST_PERIOD_US,
    CHARGED,
    RATE_PERIOD_US,
    Charge,
    ChargeResult,
    Dimension,
    Usage,
)
from extauthz.providers.redis_protection import RedisProtection
from tests.redis_server import RedisServer, flushed, single

ALL = frozenset(CHARGED)
PLAN = Limits(rate=600, burst=50, max_requests_per_day=1_000, max_cost_per_day=10_000)
OF_THE_SCRIPT = {"cmdstat_time", "cmdstat_hmget", "cmdstat_hset", "cmdstat_pexpire"}
SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
NOON = 1_767_268_800 * SECOND


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with single() as started:
        yield started


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisProtection]:
    provider = RedisProtection(url, timeout=5.0)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


@pytest.fixture
async def provider(server: RedisServer) -> AsyncIterator[RedisProtection]:
    async with connected(flushed(server.url)) as made:
        yield made


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


def ask(limits: Limits = PLAN, *, tenant: str = "acme", cost: int = 0, commit: bool = True) -> Charge:
    return Charge(tenant_id=tenant, limits=limits, blocking=ALL, cost=cost, commit=commit)


def over(result: ChargeResult) -> dict[Dimension, int]:
    return {each.dimension: each.wait_us for each in result.exceeded}


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


# What goes wrong


async def test_a_tenant_whose_key_holds_something_else_is_its_own_problem(
    server: RedisServer, provider: RedisProtection
) -> None:
    server.ask("SET", "extauthz:{acme}", "1")
    for asking in (provider.charge(ask()), provider.usage("acme"), provider.record_usage("acme", 1, "run-1")):
        with pytest.raises(InvalidRecord):
            await asking
    assert (await provider.charge(ask(tenant="other"))).charged
    await provider.clear("acme")
    assert (await provider.charge(ask())).charged


async def test_damaged_fields_count_from_nothing(server: RedisServer, provider: RedisProtection) -> None:
    server.ask("HSET", "extauthz:{acme}", "rate", "many", "burst_at", "", "requests", "?", "day", "x", "cost", "-")
    server.ask("SET", "extauthz-usage:{acme}:run-1", "nonsense", "PX", 100_000)
    assert (await provider.charge(ask(cost=5))).charged
    assert await provider.record_usage("acme", 6, "run-1") == Usage(requests_today=1, cost_today=11)


async def test_a_password_is_used_and_a_wrong_one_never_told() -> None:
    with single(password="right-and-long") as server:
        async with connected(server.url) as provider:
            assert (await provider.charge(ask())).charged
        for url in (server.url.replace("right", "wrong"), server.url.replace(":right-and-long@", "")):
            async with connected(url) as provider:
                with pytest.raises(ProviderError, match="refuses our user or password") as caught:
                    await provider.charge(ask())
                assert "wrong" not in str(caught.value)


async def test_a_user_needs_no_more_than_the_docs_list(server: RedisServer) -> None:
    flushed(server.url)
    commands = ["ping", "eval", "evalsha", "time", "hmget", "hset", "pexpire", "get", "set", "scan", "unlink"]
    rights = ["~extauthz:*", "~extauthz-usage:*", *(f"+{command}" for command in commands)]
    server.ask("ACL", "SETUSER", "limits", "reset", "on", ">pw", *rights)
    try:
        async with connected(server.url.replace("redis://", "redis://limits:pw@")) as provider:
            assert (await provider.charge(ask())).charged
            assert (await provider.record_usage("acme", 5, "run-1")).cost_today == 5
            await provider.clear("acme")
            await provider.clear(None)
            server.ask("ACL", "SETUSER", "limits", "-unlink")
            with pytest.raises(ProviderError, match="may not do that"):
                await provider.clear("acme")
    finally:
        server.ask("ACL", "DELUSER", "limits")


async def test_a_database_of_its_own(server: RedisServer) -> None:
    async with connected(flushed(server.url) + "/3") as provider:
        await provider.charge(ask())
        assert server.ask("DBSIZE") == 0
        await provider.clear(None)
        assert await provider.usage("acme") == Usage(requests_today=0, cost_today=0)


async def test_a_server_that_is_a_replica_counts_nothing() -> None:
    with single("--replicaof", "127.0.0.1", "1") as replica:
        async with connected(replica.url) as provider:
            for _ in range(2):
                with pytest.raises(ProviderError, match="it is a replica"):
                    await provider.charge(ask())


async def test_a_server_without_memory_is_a_failure(server: RedisServer, provider: RedisProtection) -> None:
    await provider.charge(ask())
    server.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(ProviderError, match="out of memory"):
            await provider.charge(ask())
    finally:
        server.ask("CONFIG", "SET", "maxmemory", "0")
    assert (await provider.charge(ask())).charged


async def test_nobody_there_is_no_error_at_the_start_but_one_for_who_asks(caplog: pytest.LogCaptureFixture) -> None:
    async with connected("redis://127.0.0.1:1") as provider:
        assert "not connected yet" in caplog.text
        with pytest.raises(ProviderError, match="Connection refused"):
            await provider.charge(ask())


# Clocks of servers that differ, as after a failover


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
