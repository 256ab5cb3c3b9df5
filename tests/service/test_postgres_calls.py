"""Calls to PostgreSQL: how they connect, how long they may take, what they are refused for. On a real server."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing

import asyncpg
import pytest

from extauthz.errors import ProviderBusy, ProviderError, ProviderTimeout
from extauthz.model.billing import BillingState
from extauthz.providers.postgres import PoolPolicy
from extauthz.providers.postgres_state import FIND_LIFECYCLE
from extauthz.testing.contracts_values import ACME, a_change, a_tenant
from tests.postgres import database_of, shared
from tests.postgres_way import SHORT, eventually, opened, until


@pytest.fixture
def url() -> Iterator[str]:
    with shared().database() as url:
        yield url


async def test_the_first_look_ups_find_connections_that_know_their_statements(url: str) -> None:
    shared().sql(f"ALTER DATABASE {database_of(url)} SET log_statement = 'all'")
    async with opened(url, pools=PoolPolicy(warm=2)) as store:

        async def warm() -> bool:
            return shared().connections(url) >= 6  # two for each kind of look-up

        await until(warm)
        before = shared().logged().count(FIND_LIFECYCLE)
        assert before >= 2
        await store.find_lifecycle(ACME)
        assert shared().logged().count(FIND_LIFECYCLE) == before + 1
        assert shared().connections(url) <= 7


async def test_what_is_wrong_with_a_url_is_said_without_a_password() -> None:
    server = shared()
    cases = {
        server.url("postgres", password="wrong-secret"): "password is not accepted",
        server.url("nowhere"): "no such database",
        server.url("postgres", password=None): "password is not accepted",
        server.url("postgres") + "?sslmode=require": "rejected|cannot be reached",
    }
    for url, says in cases.items():
        async with opened(url) as store:
            with pytest.raises(ProviderError, match=says) as caught:
                await store.find_lifecycle(ACME)
            assert "secret" not in str(caught.value)
            assert "s3cr3t" not in str(caught.value)


async def test_a_host_that_is_silent_is_given_up_for_the_next() -> None:
    with shared().database() as url, closing(socket.socket()) as silent, closing(socket.socket()) as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)  # connections are accepted by the kernel, and never answered
        closed.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (closed, silent)]
        login, _, place = url.rpartition("@")
        several = f"{login}@{','.join(hosts)},{place}"
        async with opened(several) as store:
            await eventually(lambda: store.create_tenant(a_tenant(), a_change()))
            assert await store.find_lifecycle(ACME) == a_tenant().record


async def test_over_a_unix_socket(url: str) -> None:
    async with opened(shared().unix_url(database_of(url))) as store:
        await store.create_tenant(a_tenant(), a_change())
        assert await store.find_lifecycle(ACME) == a_tenant().record


async def test_no_backend_outlives_its_caller(url: str) -> None:
    async with opened(url, pools=SHORT) as store:
        with pytest.raises(ProviderTimeout):
            await store._tenants.read(lambda db: db.fetchval("SELECT pg_sleep(60)"))
        with pytest.raises(ProviderTimeout):
            await store._admin.write(lambda db: db.fetchval("SELECT pg_sleep(60)"))

        async def ended() -> bool:
            running = (
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)' AND state = 'active'"
            )
            return shared().sql(running) == ["0"]

        await until(ended)
        assert await store.find_lifecycle(ACME) is None


async def test_a_used_up_pool_is_refused_and_touches_no_other_gate(url: str) -> None:
    async with opened(url, pools=SHORT) as store:
        await asyncio.gather(*(store.find_lifecycle(ACME) for _ in range(2)))
        held = [
            asyncio.ensure_future(store._tenants.read(lambda db: db.fetchval("SELECT pg_sleep(0.2)"))) for _ in range(2)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(ProviderBusy):
            await store.find_lifecycle(ACME)
        assert await store.find_billing(ACME) is None
        assert await store.find_key("key1") is None
        await store.create_tenant(a_tenant(), a_change())
        await asyncio.gather(*held)
        assert await store.find_lifecycle(ACME) == a_tenant().record


async def test_a_change_that_waits_too_long_for_another_is_given_up_and_leaves_nothing(url: str) -> None:
    async with opened(url, pools=SHORT) as store, opened(url) as other:
        await store.create_tenant(a_tenant(), a_change())
        inside = asyncio.Event()
        enough = asyncio.Event()

        async def hold(db: asyncpg.Connection) -> None:
            await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 4711))", ACME)
            inside.set()
            await enough.wait()

        holding = asyncio.ensure_future(other._admin.write(hold))
        await inside.wait()
        with pytest.raises(ProviderTimeout):
            await store.set_billing(ACME, a_change(), state=BillingState.ACTIVE)
        enough.set()
        await holding
        assert await store.find_billing(ACME) is None
        assert len(await store.history(ACME)) == 1
        await store.set_billing(ACME, a_change(), state=BillingState.ACTIVE)
