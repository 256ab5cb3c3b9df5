"""A cluster of three primaries: each tenant at the node that keeps it, wherever that is by now."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from extauthz.errors import ProviderError, ProviderTimeout
from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Usage
from extauthz.providers.redis_protection import RedisProtection
from extauthz.providers.redis_servers import connect_servers
from extauthz.providers.redis_sweep import Sweeper
from extauthz.providers.redis_url import parse_redis_url
from tests.redis_server import HOST, RedisServer, clustered, replica_of, single, until

TENANTS = [f"t{number}" for number in range(60)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RedisServer]]:
    with clustered() as servers:
        yield servers


@pytest.fixture
async def provider(nodes: list[RedisServer]) -> AsyncIterator[RedisProtection]:
    for node in nodes:
        node.ask("FLUSHALL")
    made = provider_of(nodes[0])
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def own_nodes() -> Iterator[list[RedisServer]]:
    """A cluster of the test's own, to be broken."""
    with clustered() as servers:
        yield servers


def provider_of(*nodes: RedisServer) -> RedisProtection:
    places = ",".join(f"{HOST}:{node.port}" for node in nodes)
    return RedisProtection(f"redis+cluster://{places}", timeout=2.0)


async def charge(provider: RedisProtection, tenant: str) -> ChargeResult:
    limits = Limits(max_requests_per_day=3)
    return await provider.charge(Charge(tenant_id=tenant, limits=limits, blocking=frozenset(CHARGED)))


def keys(nodes: list[RedisServer]) -> list[int]:
    return [node.ask("DBSIZE") for node in nodes]


def slot_of(node: RedisServer, tenant: str) -> int:
    slot: int = node.ask("CLUSTER", "KEYSLOT", f"extauthz:{{{tenant}}}")
    return slot


async def move(slot: int, source: RedisServer, target: RedisServer, nodes: list[RedisServer]) -> None:
    """Give a slot, with its keys, to another node."""
    names = {node.port: node.ask("CLUSTER", "MYID").decode() for node in (source, target)}
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source.port])
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target.port])
    for key in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
        source.ask("MIGRATE", HOST, target.port, key, 0, 5_000)
    for node in (target, source, *nodes):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[target.port])


def keeps(node: RedisServer, tenant: str) -> bool:
    """Whether the tenant's counts are there."""
    with node.client() as client:
        return next(client.scan_iter(match=f"extauthz:{{{tenant}}}", count=10_000), None) is not None


async def test_tenants_are_spread_and_each_is_counted(nodes: list[RedisServer], provider: RedisProtection) -> None:
    for _ in range(3):
        results = await asyncio.gather(*(charge(provider, tenant) for tenant in TENANTS))
        assert all(result.charged for result in results)
    results = await asyncio.gather(*(charge(provider, tenant) for tenant in TENANTS))
    assert not any(result.charged for result in results)
    assert all(count > 0 for count in keys(nodes))
    assert sum(keys(nodes)) == len(TENANTS)


async def test_usage_goes_by_both_keys_in_one_slot(provider: RedisProtection) -> None:
    for tenant in TENANTS[:20]:
        for _ in range(2):
            assert await provider.record_usage(tenant, 5, "run}1") == Usage(requests_today=0, cost_today=5)
        assert await provider.usage(tenant) == Usage(requests_today=0, cost_today=5)


async def test_clearing_all_clears_every_node(nodes: list[RedisServer], provider: RedisProtection) -> None:
    await asyncio.gather(*(charge(provider, tenant) for tenant in TENANTS))
    await provider.clear("t0")
    assert sum(keys(nodes)) == len(TENANTS) - 1
    await provider.clear(None)
    assert keys(nodes) == [0, 0, 0]


async def test_what_one_node_does_not_clear_the_others_do(nodes: list[RedisServer], provider: RedisProtection) -> None:
    await asyncio.gather(*(charge(provider, tenant) for tenant in TENANTS))
    servers = connect_servers(parse_redis_url(f"redis+cluster://{HOST}:{nodes[0].port}"), 2.0)
    sweeper = Sweeper(servers, where="here", pattern=b"extauthz:{*}", patience=0.5)
    await servers.links()  # or the frozen one might be the one that is asked for the slots
    nodes[2].freeze()
    try:
        with pytest.raises(ProviderTimeout):
            await sweeper.sweep()
        assert keys(nodes[:2]) == [0, 0]
    finally:
        nodes[2].thaw()
    assert nodes[2].ask("DBSIZE") > 0
    await sweeper.close()
    await servers.close()


async def test_a_slot_that_moved_is_followed_and_nothing_is_counted_twice(
    nodes: list[RedisServer], provider: RedisProtection
) -> None:
    await charge(provider, "t1")
    source = next(node for node in nodes if keeps(node, "t1"))
    target = next(node for node in nodes if node is not source)
    await move(slot_of(source, "t1"), source, target, nodes)
    assert (await charge(provider, "t1")).charged
    assert (await charge(provider, "t1")).charged
    assert not (await charge(provider, "t1")).charged
    assert (await provider.usage("t1")).requests_today == 3
    assert target.ask("HGET", "extauthz:{t1}", "requests") == b"3"


async def test_a_slot_on_its_way_is_asked_for_at_both_ends(nodes: list[RedisServer], provider: RedisProtection) -> None:
    await charge(provider, "t2")
    source = next(node for node in nodes if keeps(node, "t2"))
    target = next(node for node in nodes if node is not source)
    slot = slot_of(source, "t2")
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
    source.ask("MIGRATE", HOST, target.port, "extauthz:{t2}", 0, 5_000)
    try:
        assert (await charge(provider, "t2")).charged
        assert (await provider.usage("t2")).requests_today == 2
    finally:
        for node in (target, source, *nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))


async def test_any_node_that_answers_is_enough_to_begin_with(nodes: list[RedisServer]) -> None:
    provider = RedisProtection(f"redis+cluster://{HOST}:1,{HOST}:{nodes[1].port}", timeout=2.0)
    assert (await charge(provider, "begin")).charged
    await provider.close()


async def test_a_server_that_is_in_no_cluster_is_an_error() -> None:
    with single() as server:
        provider = provider_of(server)
        with pytest.raises(ProviderError):
            await charge(provider, "t1")
        await provider.close()


async def test_a_node_that_is_gone_fails_its_own_tenants_alone() -> None:
    with clustered() as nodes:
        for node in nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        provider = provider_of(*nodes)
        await asyncio.gather(*(charge(provider, tenant) for tenant in TENANTS))
        lost = {tenant for tenant in TENANTS if keeps(nodes[2], tenant)}
        nodes[2].kill()
        for _ in range(2):
            results = await asyncio.gather(*(charge(provider, tenant) for tenant in TENANTS), return_exceptions=True)
            failed = {
                tenant for tenant, result in zip(TENANTS, results, strict=True) if isinstance(result, ProviderError)
            }
            assert failed == lost
            assert 0 < len(lost) < len(TENANTS)
        nodes[2].start()
        await provider.close()


async def charged_by(provider: RedisProtection, tenant: str, seconds: float) -> bool:
    """One charge under a deadline, as the guard makes it: a task that is cancelled when its time is up."""
    task = asyncio.ensure_future(charge(provider, tenant))
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    with suppress(asyncio.CancelledError, ProviderError):
        return (await task).charged
    return False


async def test_a_primary_that_froze_is_left_for_the_replica_that_took_over_at_the_first_try(
    own_nodes: list[RedisServer],
) -> None:
    """Nobody hears an error of it: all there is are deadlines that pass."""
    with replica_of(own_nodes[0]) as replica:
        provider = RedisProtection(f"redis+cluster://{HOST}:{own_nodes[1].port}", timeout=0.1)
        await provider.start()
        tenant = next(tenant for tenant in TENANTS if slot_of(own_nodes[1], tenant) < 16_384 // 3)
        assert await charged_by(provider, tenant, 5.0)
        own_nodes[0].freeze()
        try:
            for _ in range(3):
                assert not await charged_by(provider, tenant, 0.1)
            until(lambda: replica.ask("ROLE")[0] == b"master", "the replica did not take over")
            until(
                lambda: knows(own_nodes[1], replica) and knows(own_nodes[2], replica), "the others did not hear of it"
            )
            assert await charged_by(provider, tenant, 5.0)  # the one try of a circuit that is half open
        finally:
            own_nodes[0].thaw()
        await provider.close()


def knows(node: RedisServer, primary: RedisServer) -> bool:
    """Whether a node has heard that the other one keeps slots."""
    return any(shard[2][1] == primary.port for shard in node.ask("CLUSTER SLOTS"))


async def test_a_node_that_leaves_without_an_answer_and_is_well_is_asked_again(
    nodes: list[RedisServer], provider: RedisProtection
) -> None:
    assert await charged_by(provider, "t1", 5.0)
    keeper = next(node for node in nodes if keeps(node, "t1"))
    keeper.freeze()
    assert not await charged_by(provider, "t1", 0.1)
    keeper.thaw()
    assert await charged_by(provider, "t1", 5.0)


async def test_nothing_can_be_asked_after_it_was_closed(nodes: list[RedisServer]) -> None:
    for asked_before in (True, False):
        provider = provider_of(*nodes)
        if asked_before:
            await charge(provider, "t1")
        await provider.close()
        with pytest.raises(ProviderError, match="closed"):
            await charge(provider, "t1")


async def test_closing_while_the_slots_are_asked_for_fails_those_who_wait() -> None:
    with clustered() as nodes:
        for node in nodes:
            node.freeze()
        provider = provider_of(*nodes)
        waiting = asyncio.ensure_future(charge(provider, "t1"))
        await asyncio.sleep(0.1)
        await provider.close()
        with pytest.raises(ProviderError, match="closed"):
            await waiting
