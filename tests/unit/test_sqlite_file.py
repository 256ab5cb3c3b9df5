"""The file under an SQLite database: made for its owner alone, recognised, lost, back again, somebody else's, damaged."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from extauthz.errors import InvalidRecord, ProviderError, ProviderTimeout, SchemaMismatch
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers import sqlite
from extauthz.providers.sqlite import SqliteStore
from extauthz.providers.sqlite_db import SqliteDatabase
from extauthz.providers.sqlite_errors import is_busy, needs_new_connection, translated
from extauthz.providers.sqlite_schema import EVENTS_APPLICATION_ID, STATE_APPLICATION_ID, SchemaState
from extauthz.testing.contracts_values import ACME, a_change, a_tenant, refused

START = """
import asyncio, sys
from extauthz.providers.sqlite import SqliteStore

async def main() -> None:
    store = SqliteStore(sys.argv[1])
    await store.start()
    assert await store.find_lifecycle("acme") is None
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def filled(path: Path, tenant_id: str = ACME) -> None:
    store = SqliteStore(path)
    await store.start()
    await store.create_tenant(a_tenant(tenant_id), a_change())
    await store.close()


async def known(store: SqliteStore) -> list[str]:
    return [tenant.tenant_id for tenant in await store.list_tenants()]


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def write(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)


def move(path: Path, to: Path) -> None:
    path.replace(to)


def change_file(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


# Made


async def test_the_file_and_its_side_files_are_for_their_owner_alone(path: Path) -> None:
    store = SqliteStore(path)
    await store.start()
    await store.create_tenant(a_tenant(), a_change())
    modes = {name: (path.parent / name).stat().st_mode & 0o777 for name in ("state.db", "state.db-wal", "state.db-shm")}
    assert set(modes.values()) == {0o600}, modes
    await store.close()


async def test_what_was_written_is_there_after_a_restart(path: Path) -> None:
    await filled(path)
    store = SqliteStore(str(path))
    assert store.path == path
    assert await known(store) == [ACME]
    await store.close()


async def test_a_path_with_signs_that_mean_something_in_a_url_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20d é" / "state.db"
    path.parent.mkdir()
    await filled(path)
    assert sorted(each.name for each in path.parent.iterdir()) == ["state.db"]


async def test_the_journal_is_a_write_ahead_log_and_changes_are_synced(path: Path) -> None:
    settings = ("journal_mode", "synchronous", "foreign_keys", "application_id")
    database = SqliteDatabase(path, application_id=STATE_APPLICATION_ID, migrations=sqlite.MIGRATIONS)
    values = await database.write(lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in settings])
    assert values == ["wal", 2, 1, STATE_APPLICATION_ID]
    await database.close()


async def test_an_empty_file_is_set_up_by_one_of_several_processes_and_the_others_wait(path: Path) -> None:
    started = [await asyncio.create_subprocess_exec(sys.executable, "-c", START, str(path)) for _ in range(3)]
    assert [await process.wait() for process in started] == [0, 0, 0]
    assert sqlite.status(path).state is SchemaState.CURRENT


async def test_two_stores_of_one_process_may_set_up_one_file(path: Path) -> None:
    stores = [SqliteStore(path) for _ in range(3)]
    await asyncio.gather(*(store.start() for store in stores))
    await stores[0].create_tenant(a_tenant(), a_change())
    assert [await known(store) for store in stores] == [[ACME]] * 3
    await asyncio.gather(*(store.close() for store in stores))


# Not there, damaged, lost


async def test_a_directory_that_does_not_exist_is_no_answer_until_it_does(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "missing" / "state.db")
    await store.start()
    error = await refused(ProviderError, store.find_lifecycle(ACME))
    assert "cannot be made (No such file or directory)" in str(error)
    (tmp_path / "missing").mkdir()
    assert await store.find_lifecycle(ACME) is None
    await store.close()


async def test_a_directory_is_no_database(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.start()
    error = await refused(ProviderError, store.find_lifecycle(ACME))
    assert "is a directory" in str(error)
    await store.close()


async def test_a_file_that_is_no_database_is_no_answer_until_it_is_put_right(path: Path) -> None:
    write(path, b"this is not a database, and longer than the header of one\n" * 20)
    store = SqliteStore(path)
    await store.start()
    error = await refused(ProviderError, store.find_lifecycle(ACME))
    assert "is not an SQLite database" in str(error)
    move(path, path.with_suffix(".bad"))
    assert await store.find_lifecycle(ACME) is None
    await store.close()


async def test_a_damaged_file_is_no_answer(path: Path) -> None:
    await filled(path)
    whole = content(path) or b""
    write(path, whole[:4096] + b"\xff" * (len(whole) - 4096))
    store = SqliteStore(path)
    await store.start()
    for attempt in (store.find_lifecycle(ACME), store.find_billing(ACME), store.create_tenant(a_tenant(), a_change())):
        error = await refused(ProviderError, attempt)
        assert "damaged" in str(error)
    await store.close()


async def test_a_file_that_has_gone_is_no_answer_and_never_replaced_by_an_empty_one(path: Path, tmp_path: Path) -> None:
    await filled(path)
    store = SqliteStore(path)
    assert await known(store) == [ACME]
    move(path, tmp_path / "elsewhere.db")
    error = await refused(ProviderError, store.find_lifecycle(ACME))
    assert "has gone" in str(error)
    await refused(ProviderError, store.create_tenant(a_tenant("new"), a_change()))
    assert content(path) is None
    move(tmp_path / "elsewhere.db", path)
    assert await known(store) == [ACME]
    await store.close()


async def test_a_file_that_was_replaced_is_read_anew(path: Path, tmp_path: Path) -> None:
    await filled(path, "before")
    await filled(tmp_path / "restored.db", "after")
    store = SqliteStore(path)
    assert await known(store) == ["before"]
    move(tmp_path / "restored.db", path)
    assert await known(store) == ["after"]
    await store.set_billing("after", a_change(), plan_id="pro")
    assert await store.find_billing("after") is not None
    await store.close()


# Somebody else's, or of another version


async def test_the_database_of_events_is_refused(path: Path) -> None:
    events = SqliteDatabase(path, application_id=EVENTS_APPLICATION_ID, migrations=sqlite.MIGRATIONS)
    await events.start()
    await events.close()
    store = SqliteStore(path)
    for attempt in (store.start(), store.find_lifecycle(ACME)):
        error = await refused(SchemaMismatch, attempt)
        assert "this is the database of events; it needs a file of its own for tenants, plans and keys" in str(error)
    await store.close()


async def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path) -> None:
    change_file(path, "CREATE TABLE notes (text)")
    before = content(path)
    store = SqliteStore(path)
    error = await refused(SchemaMismatch, store.start())
    assert "another program" in str(error)
    await store.close()
    for work in (sqlite.upgrade, sqlite.status):
        with pytest.raises(SchemaMismatch):
            work(path)
    assert content(path) == before is not None
    unknown = SqliteDatabase(path, application_id=1, migrations=sqlite.MIGRATIONS)
    with pytest.raises(SchemaMismatch, match="application 0x1"):
        await unknown.start()
    await unknown.close()


async def test_a_newer_schema_is_refused_with_the_way_out(path: Path) -> None:
    await filled(path)
    change_file(path, "UPDATE alembic_version SET version_num = '9999'")
    store = SqliteStore(path)
    for attempt in (store.start(), store.find_lifecycle(ACME)):
        error = await refused(SchemaMismatch, attempt)
        assert "9999" in str(error)
        assert "extauthz db upgrade" in str(error)
    await store.close()
    assert sqlite.status(path).state is SchemaState.NEWER
    with pytest.raises(SchemaMismatch):
        sqlite.upgrade(path)
    assert sqlite.status(path).revision == "9999"


@pytest.mark.parametrize("damage", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
async def test_a_schema_without_a_revision_is_refused(path: Path, damage: str) -> None:
    await filled(path)
    change_file(path, damage)
    store = SqliteStore(path)
    error = await refused(SchemaMismatch, store.start())
    assert "extauthz db upgrade" in str(error)
    await store.close()


# The table of errors


def sqlite_error(code: int, name: str = "SQLITE_X") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("near 'secret': syntax error")
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked by somebody else"),
        (sqlite3.SQLITE_LOCKED, "locked by somebody else"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened"),
        (sqlite3.SQLITE_PERM, "no permission"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "cannot be written"),
        (sqlite3.SQLITE_FULL, "no space"),
        (sqlite3.SQLITE_IOERR_READ, "cannot be read or written"),
        (sqlite3.SQLITE_CORRUPT_VTAB, "damaged"),
        (sqlite3.SQLITE_CONSTRAINT_TRIGGER, "refused the change"),
        (sqlite3.SQLITE_ERROR, "SQLite refused"),
    ],
)
def test_every_error_of_sqlite_is_a_provider_error_without_its_sql(path: Path, code: int, text: str) -> None:
    judged = translated(path, sqlite_error(code, "SQLITE_NAME"))
    assert type(judged) is ProviderError
    assert text in str(judged)
    assert "(SQLITE_NAME)" in str(judged)
    assert str(path) in str(judged)
    assert "secret" not in str(judged)


def test_an_interrupt_is_a_timeout_and_a_foreign_error_stays_as_it_is(path: Path) -> None:
    assert type(translated(path, sqlite_error(sqlite3.SQLITE_INTERRUPT))) is ProviderTimeout
    error = KeyError("x")
    assert translated(path, error) is error
    assert type(translated(path, sqlite3.ProgrammingError("closed"))) is ProviderError
    assert not needs_new_connection(error)
    assert not is_busy(error)


def test_a_connection_is_kept_where_it_is_not_to_blame() -> None:
    kept = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
    dropped = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL)
    assert not any(needs_new_connection(sqlite_error(code)) for code in kept)
    assert all(needs_new_connection(sqlite_error(code)) for code in dropped)


async def test_a_text_that_is_no_utf8_is_that_tenants_record(path: Path) -> None:
    await filled(path)
    change_file(path, "UPDATE tenants SET name = CAST(x'ff41' AS TEXT)")
    store = SqliteStore(path)
    error = await refused(InvalidRecord, store.get_tenant(ACME))
    assert "UTF-8" in str(error)
    record = await store.find_lifecycle(ACME)
    assert record is not None
    assert record.state is LifecycleState.ACTIVE
    await store.close()
