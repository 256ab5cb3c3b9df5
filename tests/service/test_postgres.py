"""PostgreSQL as it fails: frozen, killed, slow, full, out of reach; and as replicas share it. On a real server."""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from time import monotonic

import asyncpg
import pytest

from extauthz.errors import InvalidRecord, ProviderBusy, ProviderError, ProviderTimeout
from extauthz.model.billing import BillingState
from extauthz.model.changed import ChangedKind
from extauthz.model.identity import KeyUse
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.providers.postgres import LINEAGE, LookupPool, PoolPolicy, PostgresStore
from extauthz.providers.postgres_changes import PRUNE_EVERY
from extauthz.providers.postgres_db import PostgresDatabase
from extauthz.providers.postgres_state import FIND_LIFECYCLE
from extauthz.testing.contracts_values import ACME, NOW, a_change, a_key, a_tenant
from tests.postgres import PostgresServer, database_of, shared

PATIENCE = 20.0
SHORT = PoolPolicy(
    credentials=LookupPool(size=2, timeout=0.3),
    lifecycle=LookupPool(size=2, timeout=0.3),
    billing=LookupPool(size=2, timeout=0.3),
    admin_timeout=0.5,
    warm=0,
)
SOON = 5.0
"""Far above any deadline here, far below what the driver needs by itself."""


@asynccontextmanager
async def opened(url: str, replica: str = "", pools: PoolPolicy | None = None) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, replica=replica, pools=pools)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


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


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 - the server is asked; nothing here could set an event
            await asyncio.sleep(0.02)


async def eventually(attempt: Callable[[], Awaitable[object]]) -> None:
    """Until the attempt succeeds."""

    async def succeeds() -> bool:
        try:
            await attempt()
        except ProviderError:
            return False
        return True

    await until(succeeds)


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


# Frozen


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
        assert await store.get_tenant("other") is None or await store.history("other")


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


@dataclass
class Way:
    """A way to the server, by its URL. Unless it is `well`, what clients say with a certain word in it is lost."""

    url: str = ""
    well: asyncio.Event = field(default_factory=asyncio.Event)
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    def _open(self) -> list[asyncio.StreamWriter]:
        clients, self.clients = self.clients, []
        return [client for client in clients if not client.is_closing()]

    def reset(self) -> None:
        """End every connection in the roughest way."""
        for client in self._open():
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()

    def half_close(self) -> None:
        """Say on every connection that nothing more will come."""
        for client in self._open():
            client.write_eof()


@asynccontextmanager
async def way_to(url: str, word: bytes = b"") -> AsyncIterator[Way]:
    """A way on which everything is lost once a client has said `word`."""
    place = url.rpartition("@")[2].partition("/")[0]
    host, _, port = place.partition(":")
    way = Way()
    links: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                if word and word in data and not way.well.is_set():
                    await asyncio.Event().wait()
                writer.write(data)

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way.clients.append(writer)
        there, back = await asyncio.open_connection(host, int(port))
        for each in (pump(reader, back), pump(there, writer)):
            links.add(asyncio.create_task(each))

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    try:
        way.url = url.replace(place, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield way
    finally:
        server.close()
        for each in links:
            each.cancel()
        await asyncio.gather(*links, return_exceptions=True)


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


# Gone, and there again


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


# Slow


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


async def test_behind_a_pooler_everything_works_and_nothing_is_kept_on_a_connection(url: str) -> None:
    async with opened(f"{url}?statement_cache_size=0", pools=SHORT) as store:
        await store.create_tenant(a_tenant(), a_change())
        for _ in range(3):
            assert await store.find_lifecycle(ACME) == a_tenant().record
        limit = await store._tenants.read(lambda db: db.fetchval("SHOW statement_timeout"))
        assert limit == "400ms"
        with pytest.raises(ProviderTimeout):
            await store._tenants.read(lambda db: db.fetchval("SELECT pg_sleep(60)"))
        await store.wait_for_change(0.05)  # nothing is heard there, and nothing is wrong with that
        prepared = "SELECT count(*) FROM pg_prepared_statements"
        assert await store._admin.read(lambda db: db.fetchval(prepared)) == 0


# Two replicas


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


async def test_a_change_that_is_visible_is_never_overtaken_however_long_another_takes(url: str) -> None:
    async with opened(url) as store:
        inside, enough = asyncio.Event(), asyncio.Event()

        async def slow(db: asyncpg.Connection) -> None:
            await db.execute("INSERT INTO extauthz.tenants VALUES ('slow', 'x', 'ACTIVE', 'COMPLETE', 0)")
            inside.set()  # all but the log: the lock is taken as late as can be
            await enough.wait()

        holding = asyncio.ensure_future(store._admin.write(slow))
        await inside.wait()
        await store.create_tenant(a_tenant("quick"), a_change())
        assert [change.id for change in await store.changes_after(0)] == ["quick"]
        enough.set()
        await holding


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


# Rows and texts


async def test_a_row_that_cannot_be_read_is_that_tenants_matter(url: str) -> None:
    async with opened(url) as store:
        for tenant_id in (ACME, "other"):
            await store.create_tenant(a_tenant(tenant_id), a_change())
            await store.issue_key(a_key(f"key-{tenant_id}", tenant_id), a_change(), require_active=True)
        shared().sql(f"UPDATE extauthz.tenants SET state = 'FROZEN' WHERE tenant_id = '{ACME}'", url)
        shared().sql("UPDATE extauthz.api_keys SET scopes = '{' WHERE key_id = 'key-acme'", url)
        shared().sql("INSERT INTO extauthz.changes (kind, id, origin, at) VALUES ('moon', 'x', '', 0)", url)
        with pytest.raises(InvalidRecord, match="FROZEN"):
            await store.find_lifecycle(ACME)
        with pytest.raises(InvalidRecord, match="scopes"):
            await store.find_key("key-acme")
        with pytest.raises(InvalidRecord, match="moon"):
            await store.changes_after(0)
        assert await store.find_lifecycle("other") == a_tenant().record
        assert await store.revoke_all(ACME, a_change()) == ("key-acme",)


async def test_texts_that_postgresql_cannot_keep_are_refused_or_shown_otherwise_in_the_audit(url: str) -> None:
    async with opened(url) as store:
        for tenant_id in ("a\0b", "\udcff"):
            with pytest.raises(InvalidRecord):
                await store.create_tenant(a_tenant(tenant_id), a_change())
        await store.create_tenant(a_tenant(), a_change("a\0b\udcff"))
        (record,) = await store.history(ACME)
        assert record.change.reason == "a\N{SYMBOL FOR NULL}b?"
        assert [tenant.tenant_id for tenant in await store.list_tenants(after="aaa\0")] == [ACME]
        await store.record_uses([KeyUse(key_id="a\0b", used_at=NOW)])
        assert await store.find_standings(["a\0b", ACME]) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE extauthz.audit SET reason = 'x'",
        "DELETE FROM extauthz.audit",
        "TRUNCATE extauthz.audit",
    ],
)
async def test_offboard_010_the_schema_itself_refuses_to_change_or_remove_an_audit_record(
    url: str, statement: str
) -> None:
    async with opened(url) as store:
        await store.create_tenant(a_tenant(), a_change())
        history = await store.history(ACME)
        with pytest.raises(RuntimeError, match="the audit trail is append-only"):
            shared().sql(statement, url)
        assert await store.history(ACME) == history


async def test_look_ups_read_one_row_by_primary_key(url: str) -> None:
    async with opened(url) as store:
        await store.import_tenants([a_tenant(f"t{number}") for number in range(2000)], a_change())
    for table, key in (("tenants", "tenant_id"), ("billing", "tenant_id"), ("api_keys", "key_id")):
        statement = f"SET enable_seqscan = off; EXPLAIN SELECT * FROM extauthz.{table} WHERE {key} = 'x'"
        assert f"Index Scan using {table}_pkey" in shared().sql(statement, url)[0]


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
