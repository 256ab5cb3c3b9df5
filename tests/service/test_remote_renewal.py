"""A connection to a remote provider that is no good any more: the next call has another one, and nobody waits for gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from extauthz.errors import ProviderError, ProviderTimeout
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState
from extauthz.providers import remote_channel
from extauthz.providers.memory import MemoryStore
from extauthz.providers.remote import RemoteStore, RemoteTimeouts
from extauthz.testing.contracts_values import ACME, tenant_in
from tests.fault_proxy import BlackHole, FaultProxy, Refuse, Reset
from tests.remote_bench import asking, serving, state

SHORT = RemoteTimeouts(lifecycle=0.3, billing=0.3, credentials=0.3, changes=5.0)


@asynccontextmanager
async def by_way() -> AsyncIterator[tuple[FaultProxy, RemoteStore]]:
    """A remote store with a tenant, and the way to it."""
    store = MemoryStore()
    await tenant_in(store, LifecycleState.ACTIVE)
    async with serving(state(store)) as server:
        with FaultProxy(int(server.address.rpartition(":")[2])) as proxy:
            async with asking(f"grpc://{proxy.address}", SHORT) as remote:
                assert await found(remote) is not None
                yield proxy, remote


async def found(remote: RemoteStore) -> LifecycleRecord | None:
    return await remote.find_lifecycle(ACME)


async def old_enough() -> None:
    await asyncio.sleep(remote_channel.RENEW_SECONDS)


async def test_a_connection_that_swallows_everything_is_replaced_after_one_call_that_found_out() -> None:
    async with by_way() as (proxy, remote):
        await old_enough()
        proxy.fail(BlackHole(), new=False)
        with pytest.raises(ProviderTimeout):
            await found(remote)
        assert await found(remote) is not None


async def test_while_others_are_answered_a_call_that_is_not_costs_no_connection() -> None:
    async with by_way() as (proxy, remote):
        await old_enough()
        accepted = proxy.accepted
        await asyncio.gather(*(found(remote) for _ in range(20)))
        assert proxy.accepted == accepted


async def test_the_first_call_to_a_provider_that_is_back_does_not_wait_for_grpcs_backoff() -> None:
    async with by_way() as (proxy, remote):
        for _ in range(2):
            proxy.fail(Refuse())
            proxy.fail(Reset(), new=False)
            for _ in range(4):  # its backoff grows meanwhile
                with pytest.raises(ProviderError):
                    await found(remote)
                await asyncio.sleep(0.3)
            await old_enough()
            proxy.heal()
            assert await found(remote) is not None


async def test_an_outage_is_no_storm_of_connections() -> None:
    async with by_way() as (proxy, remote):
        await old_enough()
        before = proxy.accepted
        proxy.fail(BlackHole())
        await asyncio.gather(*(found(remote) for _ in range(50)), return_exceptions=True)
        await asyncio.gather(*(found(remote) for _ in range(50)), return_exceptions=True)
        assert proxy.accepted - before == 1
        proxy.heal()
