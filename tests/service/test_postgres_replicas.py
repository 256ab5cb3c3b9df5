"""Replicas that share a PostgreSQL: what one changes the others hear, and their leases. On a real server."""

import asyncio
from collections.abc import Iterator
from time import monotonic

import pytest

from extauthz.errors import ProviderError, ProviderTimeout
from extauthz.model.changed import ChangedKind
from extauthz.model.identity import KeyUse
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers.postgres import PostgresStore
from extauthz.providers.postgres_changes import PRUNE_EVERY
from extauthz.testing.contracts_values import ACME, NOW, a_change, a_key, a_tenant
from tests.postgres import PostgresServer, database_of, shared
from tests.postgres_way import SHORT, opened, until


@pytest.fixture
def url() -> Iterator[str]:
    with shared().database() as url:
        yield url


async def test_a_change_is_heard_by_the_other_replica_at_once(url: str) -> None:
    async with opened(url, "one") as one, opened(url, "two") as two:
        await two.wait_for_change(0.05)
        await heard(two, one, "a")


async def heard(listening: PostgresStore, changing: PostgresStore, tenant_id: str) -> None:
    """That the one hears within a second what the other changes."""
    seen = await listening.last_change()
    begin = monotonic()
    await changing.create_tenant(a_tenant(tenant_id), a_change())
    while not (found := await listening.changes_after(seen)):
        assert monotonic() - begin < 1.0
        await listening.wait_for_change(1.0)
    assert [(change.kind, change.id) for change in found] == [(ChangedKind.CREATED, tenant_id)]


async def test_a_replica_whose_listening_connection_was_lost_looks_for_itself_and_listens_again(url: str) -> None:
    listeners = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database_of(url)}' AND query LIKE 'LISTEN%'"
    async with opened(url, "one") as one, opened(url, "two") as two:

        async def listens() -> bool:
            await two.wait_for_change(0.01)
            return len(shared().sql(listeners)) == 1

        await until(listens)
        for number in range(3):
            shared().sql(f"SELECT pg_terminate_backend(pid) FROM ({listeners}) AS listening")
            await heard(two, one, f"t{number}")
            await until(listens)
        await heard(two, one, "again")


async def test_waiting_for_a_change_never_raises_when_the_server_is_gone(url: str) -> None:
    server = shared()
    async with opened(url) as store:
        await store.wait_for_change(0.05)
        server.stop()
        for _ in range(5):
            await store.wait_for_change(0.05)
        server.start()
        await heard(store, store, "after")


async def test_old_changes_are_removed_and_the_newest_stays(url: str) -> None:
    async with opened(url) as store:
        await store.import_tenants([a_tenant(f"t{number}") for number in range(100)], a_change())
        shared().sql("UPDATE extauthz.changes SET at = at - 3601", url)
        assert await store.last_change() == 100
        await store.import_tenants([a_tenant(f"u{number}") for number in range(PRUNE_EVERY)], a_change())
        assert [change.id for change in await store.changes_after(0)] == [f"u{number}" for number in range(PRUNE_EVERY)]
        shared().sql("UPDATE extauthz.changes SET at = at - 3601", url)
        last = await store.last_change()
        assert last == 100 + PRUNE_EVERY


async def test_leases_that_ran_out_long_ago_are_forgotten(url: str) -> None:
    async with opened(url) as store:
        await store.renew_lease("gone", 1, -7200)
        await store.renew_lease("here", 1, 60)
        await store.end_lease("some other")
        assert shared().sql("SELECT replica FROM extauthz.replicas", url) == ["here"]


async def test_a_standby_that_stalls_ends_no_lease() -> None:
    with PostgresServer(wal_level="replica", max_wal_senders="1") as server:
        async with opened(server.new_database(), pools=SHORT) as store:
            server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            server.sql("SELECT pg_reload_conf()")

            async def stalled() -> bool:
                try:
                    await store.create_tenant(a_tenant(), a_change())
                except ProviderTimeout:
                    return True
                except ProviderError:
                    return False
                return False

            await until(stalled)
            for seen in range(3):
                await store.renew_lease("one", seen, 60)
            assert await store.replicas_behind(3) == ("one",)
            await store.end_lease("one")
            assert await store.replicas_behind(3) == ()


async def test_offboard_005_batches_of_uses_and_revocations_at_once_never_wait_for_each_other_for_ever(
    url: str,
) -> None:
    async with opened(url, "one") as one, opened(url, "two") as two:
        await one.create_tenant(a_tenant(), a_change())
        keys = [a_key(f"key-{number:02}", later=number) for number in range(30)]
        for key in keys:
            await one.issue_key(key, a_change(), require_active=True)
        uses = [KeyUse(key_id=key.key_id, used_at=NOW + 100) for key in keys]
        batches = [store.record_uses(uses[:: 1 if number % 2 else -1]) for number in range(3) for store in (one, two)]
        end = one.transition(ACME, LifecycleState.TERMINATED, a_change(later=9), revoke_keys=True)
        await asyncio.gather(*batches, end)
        found = await two.list_keys(ACME)
        assert {(key.revoked_at, key.last_used_at) for key in found} == {(NOW + 9, NOW + 100)}
