"""Real servers that stop answering, under the real drivers: the answer comes in time, the circuit opens, all is well again.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, single
from tests.served import Served, eventually, served

GRACE = 0.025
"""Seconds beyond a provider's deadline in which the answer is there (spec section 9)."""

CALLERS = 8

CONFIGURATION = """\
providers:
  credentials: {{url: "sqlite:///credentials.db"}}
  lifecycle: {{url: "{postgres}", cache: {{ttl: 50ms}}, breaker: {{reset: 2s}}}}
  billing: {{url: "{postgres}", cache: {{ttl: 50ms, plan_ttl: 50ms}}, breaker: {{reset: 2s}}}}
  protection: {{url: "{redis}", breaker: {{reset: 2s}}}}
  events: {{url: "none:"}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
default_plan: big
"""


@pytest.fixture(name="postgres", scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(name="redis", scope="module")
def redis_server() -> Iterator[RedisServer]:
    with single() as server:
        yield server


async def checks(replica: Served, keys: list[str], rounds: int = 1) -> list[float]:
    """The seconds of checks that were all allowed, so many at once as there are keys."""
    times: list[float] = []
    for _ in range(rounds):
        done = await asyncio.gather(*(replica.check(key) for key in keys))
        assert all(each.answer.allowed for each in done)
        times += [each.seconds for each in done]
    return times


async def keys_of(replica: Served) -> list[str]:
    keys = [await replica.tenant(f"t{number}") for number in range(CALLERS)]
    await checks(replica, keys, 3)  # warm: connections are there, keys are cached
    return keys


async def test_postgresql_frozen_lifecycle_answers_within_its_deadline_although_the_driver_hangs(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    url = postgres.new_database()
    async with served(tmp_path, CONFIGURATION.format(postgres=url, redis=redis.url)) as replica:
        keys = await keys_of(replica)
        connections = postgres.connections(url)
        postgres.freeze()
        try:
            await asyncio.sleep(0.1)  # what was cached is no longer fresh
            slowest = max(await checks(replica, keys, 6))
            assert slowest <= 0.5 + GRACE
            assert (await replica.circuit("lifecycle"), await replica.circuit("billing")) == ("open", "open")
            assert max(await checks(replica, keys, 5)) <= 0.05  # nobody waits any more
            done = await replica.check(keys[0])
            assert done.answer.headers["x-extauthz-degraded"] == "lifecycle,billing"
            assert done.answer.metadata["lifecycle"]["source"] == "stale"  # type: ignore[index]  # the oracle's plain object
            assert await replica.metric("gate_fallbacks_total", gate="lifecycle", reason="timeout", answer="stale") >= 3
        finally:
            postgres.thaw()

        async def fresh() -> bool:
            answer = (await replica.check(keys[0])).answer
            return "x-extauthz-degraded" not in answer.headers

        assert (
            await eventually(fresh) <= 2.0 * 1.1 + 0.5 + 0.5
        )  # reset + 10 % + one try, and the look of a slow machine
        assert await replica.circuit("lifecycle") == "closed"
        assert max(await checks(replica, keys, 3)) <= 0.1
        assert postgres.connections(url) <= connections + 2 * CALLERS


async def test_redis_frozen_charges_answer_within_their_deadline_and_the_limit_holds_again_after_the_thaw(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    url = postgres.new_database()
    async with served(tmp_path, CONFIGURATION.format(postgres=url, redis=redis.url)) as replica:
        keys = await keys_of(replica)
        redis.freeze()
        try:
            slowest = max(await checks(replica, keys, 6))
            assert slowest <= 0.1 + GRACE
            assert await replica.circuit("protection") == "open"
            assert max(await checks(replica, keys, 5)) <= 0.05
            assert (await replica.check(keys[0])).answer.headers["x-extauthz-degraded"] == "protection"
            assert (await replica.check(keys[0])).answer.to_client.get("x-ratelimit-limit") is None
        finally:
            redis.thaw()

        async def counted() -> bool:
            return "x-ratelimit-remaining" in (await replica.check(keys[0])).answer.to_client

        assert await eventually(counted) <= 2.0 * 1.1 + 0.1 + 0.5
        assert await replica.circuit("protection") == "closed"
        assert max(await checks(replica, keys, 3)) <= 0.1


async def test_everything_frozen_at_once_from_the_first_check_on(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    """Cold: nothing is cached and no connection was ever made. Envoy's default of 200 ms is all there is."""
    url = postgres.new_database()
    async with served(tmp_path, CONFIGURATION.format(postgres=url, redis=redis.url)) as warm:
        key = await warm.tenant("acme")
    postgres.freeze()
    redis.freeze()
    try:
        async with served(tmp_path, CONFIGURATION.format(postgres=url, redis=redis.url)) as replica:
            for _ in range(5):
                done = await replica.check(key, within=0.2)
                assert done.answer.allowed
                assert done.seconds < 0.2
                assert done.answer.headers["x-tenant-lifecycle"] == "ACTIVE"
                assert done.answer.headers["x-extauthz-degraded"] == "lifecycle,billing,protection"
            assert (await replica.admin("GET", "/tenants/acme"))[0] in (200, 503)
    finally:
        redis.thaw()
        postgres.thaw()
