"""Several replicas over one PostgreSQL and one Redis: what one changes holds on the others, and limits are shared exactly."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests import oracle, postgres
from tests.redis_server import RedisServer, single
from tests.served import METHOD, Served, eventually, served

CALLERS = 64
BURST = 40

CONFIGURATION = """\
providers:
  credentials: {{url: "{postgres}"}}
  lifecycle: {{url: "{postgres}", cache: {{ttl: {ttl}}}}}
  billing: {{url: "{postgres}", cache: {{ttl: {ttl}}}}}
  protection: {{url: "{redis}"}}
  events: {{url: "{postgres}"}}
gates:
  protection: {{actions: {{burst: reject}}}}
plans:
  free: {{name: Free, tier: FREE, limits: {{rate: 100000000, burst: {burst}}}}}
  big: {{name: Big, tier: ENTERPRISE, limits: {{}}}}
default_plan: big
"""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Two replicas, and what they share."""

    one: Served
    two: Served
    database: str
    redis: RedisServer


@pytest.fixture(name="redis", scope="module")
def redis_server() -> Iterator[RedisServer]:
    with single() as server:
        yield server


@pytest.fixture(name="fleet")
async def two_replicas(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Fleet]:
    redis.ask("FLUSHALL")
    async with AsyncExitStack() as running:
        with postgres.shared().database() as url:
            text = CONFIGURATION.format(postgres=url, redis=redis.url, burst=BURST, ttl="1h")
            one, two = [await running.enter_async_context(served(_folder(tmp_path, name), text)) for name in "ab"]
            yield Fleet(one=one, two=two, database=url, redis=redis)
            await running.aclose()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


async def reason_at(replica: Served, key: str) -> str:
    answer = (await replica.check(key)).answer
    return "allowed" if answer.allowed else str(answer.body["reason"])


async def test_a_change_made_at_one_replica_holds_at_the_other_within_a_second(fleet: Fleet) -> None:
    key = await fleet.one.tenant("acme")
    assert await reason_at(fleet.two, key) == "allowed"  # cached there for an hour from here on
    for path, body, reason in (
        ("lifecycle", {"to": "SUSPENDED"}, "suspended"),
        ("lifecycle", {"to": "ACTIVE"}, "allowed"),
        ("billing", {"state": "SUSPENDED"}, "suspended"),
        ("billing", {"state": "ACTIVE"}, "allowed"),
    ):
        method = "POST" if path == "lifecycle" else "PUT"
        status, _ = await fleet.one.admin(method, f"/tenants/acme/{path}", body | {"reason": "test"})
        assert status == 200

        async def holds(reason: str = reason) -> bool:
            return await reason_at(fleet.two, key) == reason

        assert await eventually(holds) < 1.0


async def test_a_revoked_key_ends_at_every_replica_within_a_second(fleet: Fleet) -> None:
    key = await fleet.one.tenant("acme")
    assert await reason_at(fleet.two, key) == "allowed"
    key_id = key.split("_")[1][:16]
    await fleet.one.admin("DELETE", f"/tenants/acme/keys/{key_id}", {"reason": "lost"})

    async def refused() -> bool:
        return await reason_at(fleet.two, key) == "invalid_credentials"

    assert await eventually(refused) < 1.0


async def test_offboard_006_a_termination_that_is_reported_complete_is_blocked_on_the_other_replica_already(
    fleet: Fleet,
) -> None:
    for number in range(5):
        key = await fleet.one.tenant(f"t{number}")
        assert await reason_at(fleet.two, key) == "allowed"
        status, content = await fleet.one.admin(
            "POST", f"/tenants/t{number}/lifecycle", {"to": "TERMINATED", "reason": "over"}
        )
        assert (status, content) == (200, {"from": "ACTIVE", "to": "TERMINATED", "revoked_keys": 1})
        assert await reason_at(fleet.two, key) != "allowed"  # the very next check


async def test_two_replicas_and_64_callers_get_exactly_the_limit_and_what_time_refills(fleet: Fleet) -> None:
    """N + elapsed * N / period, whoever asks where: nothing lost, nothing twice."""
    key = await fleet.one.tenant("acme")
    await fleet.one.admin("PUT", "/tenants/acme/billing", {"plan": "free", "reason": "small"})

    async def known() -> bool:
        answers = [(await replica.check(key)).answer for replica in (fleet.one, fleet.two)]
        return all(each.headers.get("x-tenant-plan") == "free" for each in answers if each.allowed)

    await eventually(known)
    await asyncio.sleep(1.1)  # the bucket is full again
    message = oracle.message({"x-api-key": key})
    passed = 0
    started = time.monotonic()

    async def caller(replica: Served) -> None:
        nonlocal passed
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = replica.channel.unary_unary(METHOD)
        while time.monotonic() - started < 2.0:
            answer = oracle.read(await call(message, timeout=5))
            assert answer.allowed or answer.body["reason"] == "burst"
            passed += answer.allowed

    await asyncio.gather(*(caller(fleet.one if number % 2 else fleet.two) for number in range(CALLERS)))
    elapsed = time.monotonic() - started
    assert passed <= BURST + elapsed * BURST
    # Refusals are remembered for as long as they hold, so what is refilled is found by the next who asks.
    assert passed >= BURST + 2.0 * BURST * 0.9
    for replica in (fleet.one, fleet.two):
        assert await replica.metric("checks_degraded_total") == 0


async def test_one_redis_round_trip_a_check(fleet: Fleet) -> None:
    keys = [await fleet.one.tenant(f"t{number}") for number in range(8)]
    for key in keys:
        await fleet.one.check(key)  # whatever is done once is done
    fleet.redis.ask("CONFIG", "RESETSTAT")
    for _ in range(5):
        done = await asyncio.gather(*(fleet.one.check(key) for key in keys))
        assert all(each.answer.allowed for each in done)
    calls = {name: found["calls"] for name, found in fleet.redis.client().info("commandstats").items()}
    inside = {"cmdstat_time", "cmdstat_hmget", "cmdstat_hget", "cmdstat_hset", "cmdstat_pexpire", "cmdstat_hincrby"}
    ours = {"cmdstat_config", "cmdstat_info", "cmdstat_client", "cmdstat_hello"}  # of this test's own client
    sent = {name: count for name, count in calls.items() if name not in inside | ours}
    assert sent == {"cmdstat_evalsha": 40}


async def test_no_postgresql_query_for_a_cached_tenant_and_one_for_an_expired_one_under_1000_at_once(
    tmp_path: Path, redis: RedisServer
) -> None:
    server = postgres.shared()
    with server.database() as url:
        server.sql(f"ALTER DATABASE {postgres.database_of(url)} SET log_statement = 'all'")
        text = CONFIGURATION.format(postgres=url, redis=redis.url, burst=1_000_000, ttl="6s")
        async with served(tmp_path, text) as replica:
            key = await replica.tenant("acme")
            assert await reason_at(replica, key) == "allowed"
            await asyncio.sleep(
                1.1
            )  # the news of that tenant and key has come round by now, and emptied what it concerns
            assert await reason_at(replica, key) == "allowed"
            before = looked_up()
            assert before["tenants"] >= 1
            await burst(replica, key, 500)
            assert looked_up() == before
            await asyncio.sleep(6.1)
            await burst(replica, key, 1_000)
            assert looked_up() - before == Counter(tenants=1, billing=1)


def looked_up() -> Counter[str]:
    """How often each table was read by primary key so far."""
    found = re.findall(
        r"execute .*FROM extauthz\.(\w+) WHERE (?:tenant|key)_id = \$1$", postgres.shared().logged(), re.MULTILINE
    )
    return Counter(found)


async def burst(replica: Served, key: str, count: int) -> None:
    """So many checks at once, over connections of 50 each: a connection takes 100 streams."""
    message = oracle.message({"x-api-key": key})
    async with AsyncExitStack() as channels:
        calls: list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = []
        for _ in range(count // 50):
            channel = grpc.aio.insecure_channel(replica.checks, options=[("grpc.use_local_subchannel_pool", 1)])
            await channels.enter_async_context(channel)
            await channel.channel_ready()
            calls.append(channel.unary_unary(METHOD))
        answers = await asyncio.gather(*(call(message, timeout=10) for call in calls for _ in range(50)))
    assert all(oracle.read(answer).allowed for answer in answers)
