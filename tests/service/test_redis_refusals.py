"""What a real Redis refuses, and what that comes to: one tenant's problem, or a failure of the provider."""

from collections.abc import AsyncIterator, Iterator

import pytest

from extauthz.errors import InvalidRecord, ProviderError
from extauthz.model.protection import Usage
from extauthz.providers.redis_protection import RedisProtection
from tests.redis_asks import ask, connected
from tests.redis_server import PRODUCTS, RedisServer, flushed, single


@pytest.fixture(scope="module", params=PRODUCTS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with single(product=request.param) as started:
        yield started


@pytest.fixture
async def provider(server: RedisServer) -> AsyncIterator[RedisProtection]:
    async with connected(flushed(server.url)) as made:
        yield made


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
