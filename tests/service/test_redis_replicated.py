"""A primary that fails over under Sentinel: the provider follows by itself, and what that lets through is bounded."""

import asyncio
from collections.abc import Iterator

import pytest

from extauthz.errors import ProviderError
from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, ChargeResult
from extauthz.providers.redis_protection import RedisProtection
from tests.redis_server import HOST, SERVICE, RedisServer, SentinelServer, replicated, until

QUOTA = 20


@pytest.fixture
def setup() -> Iterator[tuple[RedisServer, RedisServer, SentinelServer]]:
    with replicated() as servers:
        yield servers


def provider_of(*sentinels: RedisServer | str) -> RedisProtection:
    places = ",".join(each if isinstance(each, str) else f"{HOST}:{each.port}" for each in sentinels)
    return RedisProtection(f"redis+sentinel://{places}/{SERVICE}", timeout=1.0)


async def charge(provider: RedisProtection, limits: Limits | None = None) -> ChargeResult:
    asked = limits or Limits(max_requests_per_day=QUOTA)
    return await provider.charge(Charge(tenant_id="acme", limits=asked, blocking=frozenset(CHARGED)))


async def counted_again(provider: RedisProtection) -> ChargeResult:
    async with asyncio.timeout(20):
        while True:
            try:
                return await charge(provider)
            except ProviderError:
                await asyncio.sleep(0.02)


async def test_the_provider_follows_to_the_new_primary_and_what_was_replicated_still_counts(
    setup: tuple[RedisServer, RedisServer, SentinelServer],
) -> None:
    primary, replica, sentinel = setup
    provider = provider_of(sentinel)
    passed = [(await charge(provider)).charged for _ in range(QUOTA - 5)].count(True)
    primary.ask("WAIT", 1, 5_000)
    until(lambda: replica.ask("HGET", "extauthz:{acme}", "requests") == b"15", "the replica did not follow")
    primary.kill()
    passed += (await counted_again(provider)).charged
    passed += [(await charge(provider)).charged for _ in range(QUOTA)].count(True)
    assert passed == QUOTA
    assert replica.ask("ROLE")[0] == b"master"
    await provider.close()


async def test_a_primary_that_froze_is_left_for_the_new_one_though_its_connection_stays_open(
    setup: tuple[RedisServer, RedisServer, SentinelServer],
) -> None:
    primary, replica, sentinel = setup
    provider = RedisProtection(f"redis+sentinel://{HOST}:{sentinel.port}/{SERVICE}", timeout=0.1)
    assert (await charge(provider)).charged
    until(lambda: replica.ask("HGET", "extauthz:{acme}", "requests") == b"1", "the replica did not follow")
    primary.freeze()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):  # as the guard does: cancelled at its deadline
                await charge(provider)
        until(lambda: replica.ask("ROLE")[0] == b"master", "the replica did not take over")
        assert (await counted_again(provider)).charged
        assert replica.ask("HGET", "extauthz:{acme}", "requests") == b"2"
    finally:
        primary.thaw()
    await provider.close()


async def test_what_was_not_replicated_is_let_through_once_more_at_most(
    setup: tuple[RedisServer, RedisServer, SentinelServer],
) -> None:
    """The worst case: nothing of it had reached the replica. One more bucket, one more quota, per failover."""
    primary, replica, sentinel = setup
    replica.freeze()
    provider = provider_of(sentinel)
    passed = [(await charge(provider)).charged for _ in range(2 * QUOTA)].count(True)
    assert passed == QUOTA
    primary.kill()
    replica.thaw()
    passed += (await counted_again(provider)).charged
    passed += [(await charge(provider)).charged for _ in range(2 * QUOTA)].count(True)
    assert QUOTA <= passed <= 2 * QUOTA
    await provider.close()


async def test_the_first_sentinel_to_answer_is_enough(
    setup: tuple[RedisServer, RedisServer, SentinelServer],
) -> None:
    _, _, sentinel = setup
    provider = provider_of(f"{HOST}:1", sentinel, f"{HOST}:2")
    assert (await charge(provider)).charged
    await provider.close()


async def test_a_primary_that_became_a_replica_is_left(
    setup: tuple[RedisServer, RedisServer, SentinelServer],
) -> None:
    primary, replica, sentinel = setup
    provider = provider_of(sentinel)
    assert (await charge(provider)).charged
    until(lambda: replica.ask("HGET", "extauthz:{acme}", "requests") == b"1", "the replica did not follow")
    sentinel.ask("SENTINEL", "REMOVE", SERVICE)  # or it would put right what is done by hand
    replica.ask("REPLICAOF", "NO", "ONE")
    primary.ask("REPLICAOF", HOST, replica.port)
    with pytest.raises(ProviderError, match="a replica"):
        await charge(provider)
    with pytest.raises(ProviderError, match="knows no service"):
        await charge(provider)
    sentinel.ask("SENTINEL", "MONITOR", SERVICE, HOST, replica.port, 1)
    await counted_again(provider)
    assert replica.ask("HGET", "extauthz:{acme}", "requests") == b"2"
    await provider.close()


async def test_a_service_that_no_sentinel_knows_is_an_error_that_says_so(
    setup: tuple[RedisServer, RedisServer, SentinelServer],
) -> None:
    _, _, sentinel = setup
    provider = RedisProtection(f"redis+sentinel://{HOST}:{sentinel.port}/other", timeout=1.0)
    with pytest.raises(ProviderError, match="knows no service"):
        await charge(provider)
    await provider.close()


async def test_a_sentinel_that_names_a_replica_is_not_believed() -> None:
    with replicated() as (primary, replica, sentinel):
        sentinel.ask("SENTINEL", "REMOVE", SERVICE)
        sentinel.ask("SENTINEL", "MONITOR", SERVICE, HOST, replica.port, 1)
        provider = provider_of(sentinel)
        with pytest.raises(ProviderError, match="it is a replica"):
            await charge(provider)
        assert primary.ask("DBSIZE") == 0
        await provider.close()


async def test_nobody_to_ask_is_an_error() -> None:
    provider = provider_of(f"{HOST}:1", f"{HOST}:2")
    with pytest.raises(ProviderError, match="Connection refused"):
        await charge(provider)
    await provider.close()
