"""PostgreSQL as it fails: frozen, gone, out of reach, and there again. On a real server."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing
from time import monotonic

import pytest

from extauthz.errors import ProviderBusy, ProviderError, ProviderTimeout
from extauthz.model.identity import KeyUse
from extauthz.model.lifecycle import Onboarding
from extauthz.providers.postgres import LINEAGE
from extauthz.providers.postgres_db import PostgresDatabase
from extauthz.providers.postgres_state import FIND_LIFECYCLE
from extauthz.testing.contracts_values import ACME, NOW, a_change, a_tenant
from tests.postgres import PostgresServer, database_of, shared
from tests.postgres_way import PATIENCE, SHORT, SOON, Way, eventually, opened, until, way_to


@pytest.fixture
def url() -> Iterator[str]:
    with shared().database() as url:
        yield url


@pytest.fixture
def frozen_later() -> Iterator[PostgresServer]:
    """The server, thawed at the end whatever happens."""
    try:
        yield shared()
    finally:
        shared().thaw()


async def test_a_frozen_server_holds_nobody_longer_than_the_deadline(url: str, frozen_later: PostgresServer) -> None:
    async with opened(url, pools=SHORT) as store:
        await store.create_tenant(a_tenant(), a_change())
        await store.find_lifecycle(ACME)
        frozen_later.freeze()
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: store.find_lifecycle(ACME),  # over a connection that was there
            lambda: store.find_billing(ACME),  # over one that has to be made
            lambda: store.find_key("key1"),
            lambda: store.create_tenant(a_tenant("other"), a_change()),
            lambda: store.history(ACME),
            lambda: store.record_uses([KeyUse(key_id="key1", used_at=NOW)]),
            lambda: store.changes_after(0),
            lambda: store.renew_lease("one", 1, 3),
        )
        begin = monotonic()
        results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
        assert monotonic() - begin < SOON
        assert {type(result) for result in results} == {ProviderTimeout}
        frozen_later.thaw()
        await eventually(lambda: store.find_lifecycle(ACME))
        await eventually(lambda: store.find_billing(ACME))
        counts = (
            f"(SELECT count(*) FROM extauthz.{table} WHERE tenant_id = 'other')" for table in ("tenants", "audit")
        )
        assert shared().sql("SELECT " + ", ".join(counts), url)[0] in {"0|0", "1|1"}


async def test_no_connection_is_left_behind_after_the_thaw(url: str, frozen_later: PostgresServer) -> None:
    async with opened(url, pools=SHORT) as store:
        await store.find_lifecycle(ACME)
        frozen_later.freeze()
        for _ in range(3):
            attempts = (store.find_lifecycle(ACME) for _ in range(10))
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert all(isinstance(result, ProviderTimeout | ProviderBusy) for result in results)
        frozen_later.thaw()
        await eventually(lambda: store.find_lifecycle(ACME))

        async def as_many_as_wanted() -> bool:
            return frozen_later.connections(url) <= SHORT.lifecycle.size

        await until(as_many_as_wanted)

    async def none_left() -> bool:
        return frozen_later.connections(url) == 0

    await until(none_left)


async def test_closing_does_not_wait_for_a_frozen_server(url: str, frozen_later: PostgresServer) -> None:
    async with opened(url, pools=SHORT) as store:
        await store.find_lifecycle(ACME)
        await store.wait_for_change(0.01)
        frozen_later.freeze()
        begin = monotonic()
    assert monotonic() - begin < SOON


async def test_a_look_at_the_schema_that_gets_no_answer_is_given_up_and_made_again(url: str) -> None:
    async with way_to(url, b"pg_class") as way:
        database = PostgresDatabase(way.url, LINEAGE, look_limit=0.2)
        lane = database.lane(size=1, timeout=0.2)
        await database.start()
        for _ in range(3):
            with pytest.raises(ProviderTimeout):
                await lane.read(lambda db: db.fetchval("SELECT 1"))
        way.well.set()
        await eventually(lambda: lane.read(lambda db: db.fetchval("SELECT 1")))
        await database.close()


async def test_who_waits_for_the_look_at_the_schema_is_told_when_the_store_is_closed(url: str) -> None:
    async with way_to(url, b"pg_class") as way:
        database = PostgresDatabase(way.url, LINEAGE)
        lane = database.lane(size=1, timeout=PATIENCE)
        waiting = asyncio.ensure_future(lane.read(lambda db: db.fetchval("SELECT 1")))
        await asyncio.sleep(0.1)
        await database.close()
        with pytest.raises(ProviderError, match="closed"):
            await waiting


@pytest.mark.parametrize("where", [b"user\0", FIND_LIFECYCLE.encode()])
async def test_after_a_black_hole_in_the_middle_of_connecting_all_is_well_again(url: str, where: bytes) -> None:
    async with way_to(url) as way, opened(way.url, pools=SHORT) as store:
        await store.create_tenant(a_tenant(), a_change())
        way.word = where  # in the first message of all, or in the rehearsal
        way.reset()
        for _ in range(3):
            begin = monotonic()
            calls = (store.find_lifecycle(ACME) for _ in range(8))
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert monotonic() - begin < SOON
            assert all(isinstance(result, ProviderError) for result in results)
        way.well.set()  # for new connections; those that were swallowed are never answered
        await eventually(lambda: store.find_lifecycle(ACME))
        assert await store.find_lifecycle(ACME) == a_tenant().record


async def test_a_full_accept_backlog_holds_nobody_longer_than_the_deadline(url: str) -> None:
    async with AsyncExitStack() as waiting:
        listening = waiting.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        port = listening.getsockname()[1]
        for _ in range(4):
            client = waiting.enter_context(closing(socket.socket()))
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        store = await waiting.enter_async_context(opened(url.replace(str(shared().port), str(port)), pools=SHORT))
        begin = monotonic()
        with pytest.raises(ProviderTimeout):
            await store.find_lifecycle(ACME)
        assert monotonic() - begin < SOON
        await waiting.enter_async_context(way_to(url, listening=listening))
        await eventually(lambda: store.find_lifecycle(ACME))


async def test_a_database_that_is_not_there_at_start_is_only_logged_and_used_when_it_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with PostgresServer() as server:
        url = server.empty_database()
        server.stop()
        with caplog.at_level(logging.WARNING):
            async with opened(url) as store:
                assert "not reachable at start" in caplog.text
                assert "s3cr3t" not in caplog.text
                with pytest.raises(ProviderError, match="cannot be reached"):
                    await store.find_lifecycle(ACME)
                server.start()
                await eventually(lambda: store.create_tenant(a_tenant(), a_change()))
                assert await store.find_lifecycle(ACME) == a_tenant().record


async def test_a_server_that_was_killed_and_came_back_is_used_again(url: str) -> None:
    server = shared()
    async with opened(url) as store:
        await store.create_tenant(a_tenant(), a_change())
        server.kill()
        for _ in range(20):
            with pytest.raises(ProviderError):
                await store.find_lifecycle(ACME)
        server.start()
        await eventually(lambda: store.find_lifecycle(ACME))
        assert await store.find_lifecycle(ACME) == a_tenant().record


async def test_connections_that_ended_while_idle_are_hidden(url: str) -> None:
    async with opened(url) as store:
        await store.create_tenant(a_tenant(), a_change())
        for _ in range(3):
            await asyncio.gather(*(store.find_lifecycle(ACME) for _ in range(8)))
            shared().sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database_of(url)}'")
            assert await store.find_lifecycle(ACME) == a_tenant().record  # no chance yet to notice it
            assert await asyncio.gather(*(store.find_billing(ACME) for _ in range(8))) == [None] * 8
            await store.set_onboarding(ACME, Onboarding.COMPLETE, a_change())


@pytest.mark.parametrize("end", [Way.reset, Way.half_close])
async def test_connections_that_were_reset_or_half_closed_while_idle_are_hidden(
    url: str, end: Callable[[Way], None]
) -> None:
    async with way_to(url) as way, opened(way.url) as store:
        await store.create_tenant(a_tenant(), a_change())
        for _ in range(3):
            found = await asyncio.gather(*(store.find_lifecycle(ACME) for _ in range(8)))
            assert found == [a_tenant().record] * 8
            end(way)


async def test_a_server_that_restarted_is_no_failure_at_all_for_a_look_up(url: str) -> None:
    async with opened(url) as store:
        await asyncio.gather(*(store.find_lifecycle(ACME) for _ in range(8)))
        shared().restart()
        assert await asyncio.gather(*(store.find_lifecycle(ACME) for _ in range(8))) == [None] * 8
