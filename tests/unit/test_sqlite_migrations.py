"""Migrations: found beside the package, in step with what the code expects, all or nothing, and only when they are needed."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from extauthz.errors import ProviderError, SchemaMismatch
from extauthz.providers import sqlite, sqlite_file
from extauthz.providers.sqlite import MIGRATIONS
from extauthz.providers.sqlite_db import SqliteDatabase
from extauthz.providers.sqlite_schema import Kind, Migrations, SchemaState, SchemaStatus

APPLICATION_ID = 0x7E57
STATE_TABLES = {"tenants", "billing", "api_keys", "audit", "changes", "replicas", "planned_terminations"}
FIRST = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "a", None
def upgrade():
    op.create_table("first", sa.Column("id", sa.Integer))
"""
SECOND = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "b", "a"
def upgrade():
    op.create_table("second", sa.Column("id", sa.Integer))
"""
BROKEN = SECOND + "    op.execute('INSERT INTO nowhere VALUES (1)')\n"
FAULTY = SECOND + "    raise RuntimeError('a fault of the migration')\n"

CURRENT_WITHOUT_ALEMBIC = """
import asyncio, sys
from extauthz.providers.sqlite import SqliteStore, status

async def main() -> None:
    store = SqliteStore(sys.argv[1])
    await store.start()
    assert await store.find_key("x") is None
    await store.close()

asyncio.run(main())
status(sys.argv[1])
print(sorted(name for name in sys.modules if name in ("alembic", "sqlalchemy")))
"""


def schema(directory: Path, *texts: str) -> Kind:
    directory.mkdir()
    for number, text in enumerate(texts):
        (directory / f"r{number}.py").write_text(text)
    revisions = ("a", "b")[: len(texts)]
    return Kind(application_id=APPLICATION_ID, migrations=Migrations(directory=directory, revisions=revisions))


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    names = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return names - {"alembic_version"}


def test_the_revisions_that_the_code_knows_are_those_that_exist() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS.directory.parent))
    config.set_main_option("version_locations", str(MIGRATIONS.directory))
    config.set_main_option("path_separator", "newline")
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == MIGRATIONS.revisions


def test_an_absent_file_is_made_and_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    expected = SchemaStatus(state=SchemaState.CURRENT, revision=MIGRATIONS.head, needed=MIGRATIONS.head)
    assert sqlite.upgrade(str(path)) == expected
    assert sqlite.upgrade(path) == sqlite.status(str(path)) == expected
    assert path.stat().st_mode & 0o777 == 0o600
    assert tables(path) == STATE_TABLES | {"sqlite_sequence"}


def test_status_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with pytest.raises(ProviderError, match="cannot be opened"):
        sqlite.status(path)
    assert not path.exists()
    path.touch()
    assert sqlite.status(path).state is SchemaState.EMPTY
    assert path.stat().st_size == 0


async def test_an_older_schema_is_refused_until_it_was_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "x%(y)s.db"
    old, new = schema(tmp_path / "old", FIRST), schema(tmp_path / "new %", FIRST, SECOND)
    assert sqlite_file.upgrade(path, old).revision == "a"
    database = SqliteDatabase(path, application_id=APPLICATION_ID, migrations=new.migrations)
    with pytest.raises(SchemaMismatch, match=r"at revision a, .* needs b; run `extauthz db upgrade`"):
        await database.start()
    assert sqlite_file.status(path, new).state is SchemaState.OLDER
    assert tables(path) == {"first"}
    assert sqlite_file.upgrade(path, new).state is SchemaState.CURRENT
    assert tables(path) == {"first", "second"}
    await database.start()
    await database.close()
    assert sqlite_file.status(path, old).state is SchemaState.NEWER


@pytest.mark.parametrize(("text", "error"), [(BROKEN, ProviderError), (FAULTY, RuntimeError)])
def test_a_migration_that_fails_changes_nothing(tmp_path: Path, text: str, error: type[Exception]) -> None:
    path = tmp_path / "x.db"
    sqlite_file.upgrade(path, schema(tmp_path / "old", FIRST))
    broken = schema(tmp_path / "broken", FIRST, text)
    with pytest.raises(error):
        sqlite_file.upgrade(path, broken)
    assert tables(path) == {"first"}
    assert sqlite_file.status(path, broken).revision == "a"
    empty = tmp_path / "empty.db"
    with pytest.raises(error):
        sqlite_file.upgrade(empty, broken)
    assert tables(empty) == set()
    assert sqlite_file.status(empty, broken).state is SchemaState.EMPTY


def test_a_file_with_the_current_schema_is_opened_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    sqlite.upgrade(path)
    command = [sys.executable, "-c", CURRENT_WITHOUT_ALEMBIC, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
