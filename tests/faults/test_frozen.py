"""Real servers that stop answering, under the real drivers: the answer comes in time, the circuit opens, all is well again.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outage import CALLERS, checks, configuration, degraded, in_time, keys_of
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, single
from tests.served import eventually, served


@pytest.fixture(name="postgres", scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(name="redis", scope="module")
def redis_server() -> Iterator[RedisServer]:
    with single() as server:
        yield server


@pytest.mark.long_form
async def test_postgresql_frozen_lifecycle_answers_within_its_deadline_although_the_driver_hangs(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    url = postgres.new_database()
    async with served(tmp_path, configuration(url, redis.url)) as replica:
        keys = await keys_of(replica)
        connections = postgres.connections(url)

        async def fresh() -> bool:
            return not await degraded(replica, keys[0])

        async def outage() -> float:
            postgres.freeze()
            try:
                await asyncio.sleep(0.1)  # what was cached is no longer fresh
                slowest = await checks(replica, keys, 6)
                assert (await replica.circuit("lifecycle"), await replica.circuit("billing")) == ("open", "open")
                assert await checks(replica, keys, 5) <= 0.2  # nobody waits for a deadline any more
                answer = (await replica.check(keys[0])).answer
                assert answer.headers["x-extauthz-degraded"] == "lifecycle,billing"
                assert answer.metadata["lifecycle"]["source"] == "stale"  # type: ignore[index]  # the oracle's plain object
            finally:
                postgres.thaw()
            # Reset time, 10 % of it, one try, and what a slow machine takes to look.
            assert await eventually(fresh) <= 2.0 * 1.1 + 0.5 + 1.0
            return slowest

        await in_time(outage, 0.5)
        assert await replica.metric("gate_fallbacks_total", gate="lifecycle", reason="timeout", answer="stale") >= 3
        assert await replica.circuit("lifecycle") == "closed"
        assert await checks(replica, keys, 3) <= 0.2
        assert postgres.connections(url) <= connections + 2 * CALLERS


@pytest.mark.long_form
async def test_redis_frozen_charges_answer_within_their_deadline_and_the_limit_holds_again_after_the_thaw(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    url = postgres.new_database()
    async with served(tmp_path, configuration(url, redis.url)) as replica:
        keys = await keys_of(replica)

        async def counted() -> bool:
            return "x-ratelimit-remaining" in (await replica.check(keys[0])).answer.to_client

        async def outage() -> float:
            redis.freeze()
            try:
                slowest = await checks(replica, keys, 6)
                assert await replica.circuit("protection") == "open"
                assert await checks(replica, keys, 5) <= 0.08
                answer = (await replica.check(keys[0])).answer
                assert answer.headers["x-extauthz-degraded"] == "protection"
                assert "x-ratelimit-limit" not in answer.to_client
            finally:
                redis.thaw()
            assert await eventually(counted) <= 2.0 * 1.1 + 0.1 + 1.0
            return slowest

        await in_time(outage, 0.1)
        assert await replica.circuit("protection") == "closed"
        assert await checks(replica, keys, 3) <= 0.2


EVERYTHING = """\
providers:
  credentials: {{url: "{postgres}", cache: {{ttl: 2s}}, breaker: {{reset: 1s}}}}
  lifecycle: {{url: "{postgres}", breaker: {{reset: 1s}}}}
  billing: {{url: "{postgres}", breaker: {{reset: 1s}}}}
  protection: {{url: "{redis}"}}
  events: {{url: "{postgres}", breaker: {{reset: 1s}}}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
default_plan: big
"""
"""As the README has it for production: all in one database."""


async def test_the_credential_store_frozen_known_keys_go_on_until_their_ttl_then_503_and_nobody_else_gets_in(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    url = postgres.new_database()
    async with served(tmp_path, EVERYTHING.format(postgres=url, redis=redis.url)) as replica:
        known, unseen = await replica.tenant("known"), await replica.tenant("unseen")
        assert (await replica.check(known)).answer.allowed
        postgres.freeze()
        try:
            assert (await replica.check(known)).answer.allowed
            answers = [(await replica.check(unseen)).answer for _ in range(2)]
            assert {(each.http_status, each.body["error"]) for each in answers} == {(503, "auth_unavailable")}
            forged = unseen[:-9] + ("b" if unseen[-9] == "a" else "a") + unseen[-8:]
            made_up = "exak_" + "a" * 24 + "_" + "a" * 52
            assert (await replica.check(made_up)).answer.http_status == 401  # its mac tells, without a query
            assert (await replica.check(forged)).answer.http_status == 503  # only the store could tell

            async def ended() -> bool:
                return not (await replica.check(known)).answer.allowed

            await eventually(ended)
            assert (await replica.check(known)).answer.body["reason"] == "provider_unavailable"
            status, content = await replica.admin("GET", "/tenants/known?fresh=1")
            assert (status, content["error"]) == (503, "provider_unavailable")
            assert (await replica.admin("GET", "/health"))[1]["status"] == "degraded"
        finally:
            postgres.thaw()

        async def back() -> bool:
            return (await replica.check(unseen)).answer.allowed and (await replica.check(known)).answer.allowed

        await eventually(back)
        assert (await replica.check(forged)).answer.http_status == 401


async def test_everything_frozen_at_once_from_the_first_check_on(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    """Cold: nothing is cached and no connection was ever made. Envoy's default of 200 ms is all there is."""
    url = postgres.new_database()
    async with served(tmp_path, configuration(url, redis.url)) as warm:
        key = await warm.tenant("acme")
    postgres.freeze()
    redis.freeze()
    try:
        async with served(tmp_path, configuration(url, redis.url)) as replica:
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
