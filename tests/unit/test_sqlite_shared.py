"""What is particular to SQLite where processes share a file: what is kept, for how long, and what older files become."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from extauthz.errors import InvalidRecord, ProviderError, SchemaMismatch
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.changed import ChangedKind
from extauthz.model.lifecycle import LifecycleState
from extauthz.ports import CHANGES_KEPT
from extauthz.providers import sqlite, sqlite_file, sqlite_writing
from extauthz.providers.sqlite import MIGRATIONS, SqliteStore
from extauthz.providers.sqlite_schema import STATE_APPLICATION_ID, Kind, Migrations
from extauthz.providers.sqlite_shared import POLL_EVERY
from extauthz.providers.sqlite_uptime import boot_id, uptime
from extauthz.testing import FakeClock, in_virtual_time
from extauthz.testing.contracts_changes import told
from extauthz.testing.contracts_values import ACME, a_change, a_key, a_tenant, refused, tenant_in

BOOT = "a-boot"
MINUTE = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "state.db", readers=2, replica="one", clock=clock, boot=BOOT)
    await made.start()
    yield made
    await made.close()


def behind(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Run a statement behind the store's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


# All or nothing


@pytest.mark.parametrize("table", ["changes", "api_keys", "audit"])
async def test_a_change_that_cannot_be_told_is_not_made(store: SqliteStore, table: str) -> None:
    await store.create_tenant(a_tenant(), a_change())
    await store.issue_key(a_key(), a_change(), require_active=True)
    await store.plan_termination(ACME, a_change())
    seen = await store.last_change()
    when = "UPDATE" if table == "api_keys" else "INSERT"
    behind(store.path, f"CREATE TRIGGER fail BEFORE {when} ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
    end = store.transition(ACME, LifecycleState.TERMINATED, a_change(), revoke_keys=True)
    await refused(ProviderError, end)
    assert await store.find_lifecycle(ACME) == a_tenant().record
    assert await store.find_key("key1") == a_key()
    assert len(await store.planned_terminations()) == 1
    assert await store.last_change() == seen


async def test_an_import_that_breaks_in_the_middle_adds_nothing(store: SqliteStore) -> None:
    fail = "WHEN NEW.tenant_id = 't3' BEGIN SELECT RAISE(ABORT, 'no'); END"
    behind(store.path, f"CREATE TRIGGER fail BEFORE INSERT ON billing {fail}")
    given = [a_tenant(f"t{number}") for number in range(5)]
    standings = {tenant.tenant_id: BillingRecord(state=BillingState.TRIAL) for tenant in given}
    await refused(ProviderError, store.import_tenants(given, a_change(), standings))
    assert not await store.list_tenants()
    assert not await store.history("t0")
    assert await store.last_change() == 0


# What is kept


async def test_offboard_005_a_plan_outlives_a_restart(store: SqliteStore, clock: FakeClock) -> None:
    await store.create_tenant(a_tenant(), a_change())
    await store.plan_termination(ACME, a_change("fraud", later=1))
    await store.close()
    again = SqliteStore(store.path, clock=clock)
    assert list(await again.planned_terminations()) == [(ACME, a_change("fraud", later=1))]
    await again.close()


async def test_offboard_005_a_plan_that_cannot_be_read_does_not_hide_the_others(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    for tenant_id in ("a", "b", "c"):
        await store.create_tenant(a_tenant(tenant_id), a_change())
        await store.plan_termination(tenant_id, a_change())
    behind(store.path, "UPDATE planned_terminations SET actor_type = 'banana' WHERE tenant_id = 'b'")
    for _ in range(2):
        assert [tenant_id for tenant_id, _ in await store.planned_terminations()] == ["a", "c"]
    told_of = [line for line in caplog.messages if "planned termination of tenant 'b'" in line]
    assert len(told_of) == 1
    assert len(behind(store.path, "SELECT 1 FROM planned_terminations")) == 3  # `extauthz db check` tells of it


async def test_offboard_005_a_plan_whose_tenant_is_gone_is_dropped(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    for tenant_id in ("gone", "there"):
        await store.create_tenant(a_tenant(tenant_id), a_change())
        await store.plan_termination(tenant_id, a_change())
    behind(store.path, "DELETE FROM tenants WHERE tenant_id = 'gone'")
    for _ in range(2):
        assert [tenant_id for tenant_id, _ in await store.planned_terminations()] == ["there"]
    assert len([line for line in caplog.messages if "there is no tenant 'gone'" in line]) == 1
    assert behind(store.path, "SELECT tenant_id FROM planned_terminations") == [("there",)]


async def test_changes_are_kept_for_their_time_and_then_dropped(store: SqliteStore, clock: FakeClock) -> None:
    await store.create_tenant(a_tenant("old"), a_change())
    clock.advance(CHANGES_KEPT / 2)
    await store.create_tenant(a_tenant("young"), a_change())
    clock.advance(CHANGES_KEPT / 2 - MINUTE)
    await store.record_uses([])
    await store.renew_lease("one", 1, 3)
    assert [change.id for change in await store.changes_after(0)] == ["old", "young"]
    clock.advance(2 * MINUTE)
    await store.renew_lease("one", 1, 3)
    assert [change.id for change in await store.changes_after(0)] == ["young"]


async def test_the_number_of_the_last_change_outlives_the_change(store: SqliteStore, clock: FakeClock) -> None:
    await store.create_tenant(a_tenant("a"), a_change())
    last = await store.last_change()
    clock.advance(CHANGES_KEPT + MINUTE)
    await store.renew_lease("one", last, 3)
    assert not await store.changes_after(0)
    assert await store.last_change() == last
    await store.create_tenant(a_tenant("b"), a_change())
    assert [change.seq for change in await store.changes_after(last)] == [last + 1]


async def test_old_changes_are_dropped_a_few_at_a_time(store: SqliteStore, clock: FakeClock) -> None:
    many = sqlite_writing.PRUNED_AT_ONCE + 5
    await store.create_tenant(a_tenant(), a_change())
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})"
    behind(store.path, f"INSERT INTO changes (kind, id, origin, at) {numbers} SELECT 'key', 'k', 'two', -9e9 FROM n")
    for left in (6, 0):  # the oldest row of all is the tenant's
        clock.advance(CHANGES_KEPT + MINUTE)
        await store.renew_lease("one", 0, 3)
        assert len(await store.changes_after(0, limit=many)) == left


async def test_changes_from_before_the_machine_was_started_again_are_dropped_in_the_end(store: SqliteStore) -> None:
    await store.create_tenant(a_tenant("old"), a_change())
    await store.close()
    clock = FakeClock(5.0)
    later = SqliteStore(store.path, clock=clock, boot="later")
    await later.create_tenant(a_tenant("young"), a_change())
    clock.advance(CHANGES_KEPT - MINUTE)
    await later.renew_lease("one", 1, 3)
    assert "young" in [change.id for change in await later.changes_after(0)]
    clock.advance(CHANGES_KEPT)
    await later.renew_lease("one", 1, 3)
    assert not await later.changes_after(0)
    await later.close()


async def test_offboard_006_leases_do_not_end_by_the_calendar(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    before = uptime()
    await store.renew_lease("one", 1, 3)
    ((boot, ends),) = behind(store.path, "SELECT boot, expires_at FROM replicas")
    assert isinstance(ends, float)
    assert before + 3 <= ends <= uptime() + 3
    assert boot == boot_id()
    assert await store.replicas_behind(9) == ("one",)
    await store.close()


@pytest.mark.parametrize("ends", [0.0, 1e12], ids=["long ago", "far ahead"])
async def test_offboard_006_leases_of_another_start_of_the_machine_are_over(store: SqliteStore, ends: float) -> None:
    await store.renew_lease("alive", 1, 3)
    behind(store.path, f"INSERT INTO replicas (replica, seen, boot, expires_at) VALUES ('dead', 0, 'earlier', {ends})")
    assert await store.replicas_behind(9) == ("alive",)
    await store.renew_lease("alive", 2, 3)
    assert behind(store.path, "SELECT replica, seen FROM replicas") == [("alive", 2)]


async def test_offboard_006_all_who_share_a_file_see_the_same_leases(store: SqliteStore, clock: FakeClock) -> None:
    other = SqliteStore(store.path, replica="two", clock=clock, boot=BOOT)
    await store.renew_lease("one", 1, 3)
    clock.advance(2.0)
    await other.renew_lease("two", 1, 3)
    assert await other.replicas_behind(9) == await store.replicas_behind(9) == ("one", "two")
    clock.advance(2.0)
    assert await other.replicas_behind(9) == await store.replicas_behind(9) == ("two",)
    await other.close()


def test_a_system_that_does_not_tell_its_starts_has_one(tmp_path: Path) -> None:
    assert boot_id(tmp_path / "none") == ""
    assert boot_id() == boot_id()


async def test_leases_that_ran_out_are_dropped(store: SqliteStore, clock: FakeClock) -> None:
    for number in range(5):
        await store.renew_lease(f"pod-{number}", 1, 3)
    clock.advance(3.0)
    assert not await store.replicas_behind(9)
    await store.renew_lease("pod-9", 1, 3)
    assert behind(store.path, "SELECT replica FROM replicas") == [("pod-9",)]


async def test_a_change_of_an_unknown_kind_cannot_be_read(store: SqliteStore) -> None:
    behind(store.path, "INSERT INTO changes (kind, id, origin, at) VALUES ('banana', 'x', 'two', 0)")
    error = await refused(InvalidRecord, store.changes_after(0))
    assert str(error) == "change 1: 'banana' is no ChangedKind"


async def test_without_a_name_a_store_makes_changes_of_nobodys(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.start()
    await tenant_in(store, LifecycleState.SUSPENDED)
    expected = [(ChangedKind.CREATED, ACME, ""), (ChangedKind.LIFECYCLE, ACME, "")]
    assert told(await store.changes_after(0)) == expected
    await store.close()


@in_virtual_time
async def test_waiting_takes_no_longer_than_asked_for_and_than_a_look_at_the_file() -> None:
    store = SqliteStore("never-opened.db")
    loop = asyncio.get_running_loop()
    for asked, taken in ((0.05, 0.05), (60.0, POLL_EVERY)):
        began = loop.time()
        await store.wait_for_change(asked)
        assert round(loop.time() - began, 3) == taken


async def test_a_lease_is_not_worth_a_sync_and_a_change_is(store: SqliteStore) -> None:
    modes: list[int] = []
    look = store._db.write

    async def synchronous(*, durable: bool) -> None:
        def mode(connection: sqlite3.Connection) -> None:
            modes.append(connection.execute("PRAGMA synchronous").fetchone()[0])

        await look(mode, durable=durable)

    for durable in (True, False, True):
        await synchronous(durable=durable)
    full, normal = 2, 1
    assert modes == [full, normal, full]


# Older files


async def test_what_stood_in_an_older_file_stands_in_the_upgraded_one(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    first = Migrations(directory=MIGRATIONS.directory, revisions=("0001",))
    sqlite_file.upgrade(path, Kind(application_id=STATE_APPLICATION_ID, migrations=first))
    behind(path, "INSERT INTO tenants VALUES ('acme', 'acme Inc.', 'ACTIVE', 'COMPLETE', 1800000000)")
    behind(path, "INSERT INTO billing VALUES ('acme', 'PAST_DUE', 'pro')")
    store = SqliteStore(path, replica="one")
    with pytest.raises(SchemaMismatch, match=r"at revision 0001, .* needs 0002; run `extauthz db upgrade`"):
        await store.start()
    sqlite.upgrade(path)
    await store.start()
    assert await store.get_tenant(ACME) == a_tenant()
    assert await store.find_billing(ACME) == BillingRecord(state=BillingState.PAST_DUE, plan_id="pro")
    assert await store.last_change() == 0
    await store.transition(ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=True)
    assert told(await store.changes_after(0)) == [(ChangedKind.LIFECYCLE, ACME, "one")]
    await store.close()
