"""The schema in PostgreSQL: set up on first contact by one of many, upgraded when asked, refused when it is not ours."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from extauthz.errors import ConfigError, ProviderError, SchemaMismatch
from extauthz.providers import postgres_setup
from extauthz.providers.postgres import LINEAGE, PostgresStore, status, upgrade
from extauthz.providers.postgres_db import PostgresDatabase
from extauthz.providers.postgres_events import LINEAGE as EVENTS_LINEAGE
from extauthz.providers.postgres_events import PostgresEvents
from extauthz.providers.postgres_events import status as events_status
from extauthz.providers.postgres_events import upgrade as upgrade_events
from extauthz.providers.postgres_schema import Lineage
from extauthz.providers.schema_status import Migrations, SchemaState, SchemaStatus
from extauthz.testing.contracts_events import make_event
from extauthz.testing.contracts_values import ACME, a_change, a_tenant
from tests.postgres import database_of, shared

CURRENT = SchemaStatus(state=SchemaState.CURRENT, revision="0001", needed="0001")
STATE_TABLES = {"tenants", "billing", "api_keys", "audit", "planned_terminations", "changes", "replicas"}
FIRST = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "a", None
def upgrade():
    op.create_table("first", sa.Column("id", sa.Integer), schema="extauthz")
"""
SECOND = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "b", "a"
def upgrade():
    op.create_table("second", sa.Column("id", sa.Integer), schema="extauthz")
"""
BROKEN = SECOND + "    op.execute('INSERT INTO nowhere VALUES (1)')\n"
FAULTY = SECOND + "    raise RuntimeError('a fault of the migration')\n"

CURRENT_WITHOUT_ALEMBIC = """
import asyncio, sys
from extauthz.providers.postgres import PostgresStore, status

async def main() -> None:
    store = PostgresStore(sys.argv[1])
    await store.start()
    assert await store.find_key("x") is None
    await store.close()
    await status(sys.argv[1])

asyncio.run(main())
print(sorted(name for name in sys.modules if name in ("alembic", "sqlalchemy")))
"""


@pytest.fixture
def empty() -> Iterator[str]:
    url = shared().empty_database()
    yield url
    shared().drop(url)


def lineage(directory: Path, *texts: str) -> Lineage:
    directory.mkdir()
    for number, text in enumerate(texts):
        (directory / f"r{number}.py").write_text(text)
    return Lineage(name="state", migrations=Migrations(directory=directory, revisions=("a", "b")[: len(texts)]))


def tables(url: str) -> set[str]:
    names = shared().sql("SELECT tablename FROM pg_tables WHERE schemaname = 'extauthz'", url)
    return {name for name in names if not name.startswith("alembic_")}


@pytest.mark.parametrize("kind", [LINEAGE, EVENTS_LINEAGE])
def test_the_revisions_that_the_code_knows_are_those_that_exist(kind: Lineage) -> None:
    config = Config()
    config.set_main_option("script_location", str(kind.migrations.directory.parent))
    config.set_main_option("version_locations", str(kind.migrations.directory))
    config.set_main_option("path_separator", "newline")
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == kind.migrations.revisions


async def test_an_empty_database_is_upgraded_and_upgrading_again_is_nothing(empty: str) -> None:
    assert (await status(empty)).state is SchemaState.EMPTY
    assert tables(empty) == set()
    assert await upgrade(empty) == await upgrade(empty) == await status(empty) == CURRENT
    assert tables(empty) == STATE_TABLES
    assert (await events_status(empty)).state is SchemaState.EMPTY
    assert await upgrade_events(empty) == await events_status(empty) == CURRENT
    assert tables(empty) == STATE_TABLES | {"events", "retention"}
    assert shared().sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", empty) == ["0"]


async def test_an_empty_database_is_set_up_on_first_contact_by_one_of_many(empty: str) -> None:
    stores = [PostgresStore(empty, replica=str(number)) for number in range(4)]
    events = PostgresEvents(empty)
    await asyncio.gather(events.start(), *(store.start() for store in stores))
    created = (store.create_tenant(a_tenant(f"t{number}"), a_change()) for number, store in enumerate(stores))
    await asyncio.gather(*created, events.append([make_event(1)]))
    assert len(await stores[0].list_tenants()) == 4
    await asyncio.gather(events.close(), *(store.close() for store in stores))


async def test_a_call_waits_for_the_set_up_that_another_began(empty: str) -> None:
    store = PostgresStore(empty)
    results = await asyncio.gather(
        *(store.create_tenant(a_tenant(f"t{number}"), a_change()) for number in range(3)), return_exceptions=True
    )
    assert results == [None] * 3
    await store.close()


async def test_an_older_schema_is_refused_until_it_was_upgraded_and_a_newer_one_always(
    empty: str, tmp_path: Path
) -> None:
    old, new = lineage(tmp_path / "old", FIRST), lineage(tmp_path / "new %", FIRST, SECOND)
    assert (await postgres_setup.upgrade(empty, old)).revision == "a"
    database = PostgresDatabase(empty, new)
    lane = database.lane(size=1, timeout=5.0)
    with pytest.raises(SchemaMismatch, match=r"at revision a, .* needs b; run `extauthz db upgrade`") as caught:
        await database.start()
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(SchemaMismatch):
        await lane.read(lambda db: db.fetchval("SELECT 1"))
    assert (await postgres_setup.status(empty, new)).state is SchemaState.OLDER
    assert tables(empty) == {"first"}
    assert (await postgres_setup.upgrade(empty, new)).state is SchemaState.CURRENT
    assert tables(empty) == {"first", "second"}
    assert await lane.read(lambda db: db.fetchval("SELECT 1")) == 1
    await database.close()
    assert (await postgres_setup.status(empty, old)).state is SchemaState.NEWER
    with pytest.raises(SchemaMismatch, match="newer version"):
        await postgres_setup.upgrade(empty, old)


@pytest.mark.parametrize(("text", "error"), [(BROKEN, ProviderError), (FAULTY, RuntimeError)])
async def test_a_migration_that_fails_changes_nothing(
    empty: str, tmp_path: Path, text: str, error: type[Exception]
) -> None:
    broken = lineage(tmp_path / "broken", FIRST, text)
    with pytest.raises(error):
        await postgres_setup.upgrade(empty, broken)
    assert tables(empty) == set()
    assert (await postgres_setup.status(empty, broken)).state is SchemaState.EMPTY
    await postgres_setup.upgrade(empty, lineage(tmp_path / "old", FIRST))
    with pytest.raises(error):
        await postgres_setup.upgrade(empty, broken)
    assert tables(empty) == {"first"}
    assert (await postgres_setup.status(empty, broken)).revision == "a"


async def test_a_schema_of_another_program_is_left_alone(empty: str) -> None:
    shared().sql("CREATE SCHEMA extauthz; CREATE TABLE extauthz.customers (id int)", empty)
    store = PostgresStore(empty)
    with pytest.raises(SchemaMismatch, match="another program's"):
        await store.start()
    with pytest.raises(SchemaMismatch):
        await store.find_lifecycle(ACME)
    await store.close()
    for attempt in (upgrade(empty), status(empty), upgrade_events(empty)):
        with pytest.raises(SchemaMismatch):
            await attempt
    assert tables(empty) == {"customers"}


async def test_a_schema_that_lost_its_revision_is_refused(empty: str) -> None:
    await upgrade(empty)
    shared().sql("DELETE FROM extauthz.alembic_version_state", empty)
    with pytest.raises(SchemaMismatch, match="no revision"):
        await status(empty)


async def test_tables_that_vanish_are_no_answer_and_are_not_made_anew(empty: str) -> None:
    store = PostgresStore(empty)
    await store.start()
    await store.create_tenant(a_tenant(), a_change())
    shared().sql("DROP SCHEMA extauthz CASCADE", empty)
    for _ in range(2):
        with pytest.raises(ProviderError, match="tables are missing"):
            await store.find_lifecycle(ACME)
    await store.close()
    assert tables(empty) == set()


async def test_a_user_that_may_not_make_a_schema_is_told(empty: str) -> None:
    name = f"reader_{database_of(empty)}"
    shared().sql(f"CREATE ROLE {name} LOGIN PASSWORD 'reader-secret'")
    url = shared().url(database_of(empty), user=name, password="reader-secret")
    with pytest.raises(ProviderError, match="no permission") as caught:
        await upgrade(url)
    assert "reader-secret" not in str(caught.value)


async def test_the_owner_of_a_schema_that_was_made_for_it_needs_no_right_to_make_one(
    empty: str, tmp_path: Path
) -> None:
    name = f"owner_{database_of(empty)}"
    shared().sql(f"CREATE ROLE {name} LOGIN PASSWORD 'owner-secret'")
    shared().sql(f"CREATE SCHEMA extauthz AUTHORIZATION {name}", empty)
    url = shared().url(database_of(empty), user=name, password="owner-secret")
    await postgres_setup.upgrade(url, lineage(tmp_path / "old", FIRST))
    assert (await postgres_setup.upgrade(url, lineage(tmp_path / "new", FIRST, SECOND))).state is SchemaState.CURRENT
    assert await upgrade_events(url) == CURRENT


async def test_a_server_that_is_not_there_is_told() -> None:
    url = "postgresql://ada:s3cr3t@127.0.0.1:1/x"
    for attempt in (upgrade(url), status(url)):
        with pytest.raises(ProviderError, match="cannot be reached") as caught:
            await attempt
        assert "s3cr3t" not in str(caught.value)


async def test_a_url_that_cannot_be_read_is_told_at_once() -> None:
    with pytest.raises(ConfigError):
        PostgresStore("mysql://h/x")
    for attempt in (upgrade("mysql://h/x"), status("mysql://h/x")):
        with pytest.raises(ConfigError):
            await attempt


async def test_a_database_with_the_current_schema_is_opened_without_alembic(empty: str) -> None:
    await upgrade(empty)
    command = [sys.executable, "-c", CURRENT_WITHOUT_ALEMBIC, empty]
    done = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
