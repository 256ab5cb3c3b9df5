"""Runs Alembic over an SQLite file: the one place that imports Alembic and SQLAlchemy, itself imported only when needed."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from extauthz.providers import sqlite_file, sqlite_schema
from extauthz.providers.sqlite_schema import Kind, Migrations, SchemaState, SchemaStatus

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_one_at_a_time: Final = Lock()
"""Alembic keeps the migration that runs in a global; the state's and the events' file may be set up at the same moment."""


def migrate(path: Path, kind: Kind, wait: float) -> SchemaStatus:
    """Bring the file to `kind`'s newest revision in one transaction; where it is there already nothing happens.

    One process does it; the others wait (`wait` seconds, then they are told "busy") and find it done.

    Raises:
        SchemaMismatch: the file belongs to something else.
        sqlite3.Error: it cannot be written, or another process has the lock.
    """
    raw = sqlite_file.connect(path, wait)
    try:
        sqlite_schema.read_status(raw, path, kind)  # nothing of another program's file is changed, its journal neither
        raw.execute("PRAGMA journal_mode = WAL")
        with _one_at_a_time, _borrowed(raw) as connection:
            return _migrate_locked(raw, connection, path, kind)
    finally:
        raw.close()


def _migrate_locked(raw: sqlite3.Connection, connection: Connection, path: Path, kind: Kind) -> SchemaStatus:
    # From here on other processes wait, and find it done when they look again.
    raw.execute("BEGIN EXCLUSIVE")
    try:
        status = sqlite_schema.read_status(raw, path, kind)
        if status.state in (SchemaState.EMPTY, SchemaState.OLDER):
            _upgrade(connection, kind.migrations)
            raw.execute(f"PRAGMA application_id = {kind.application_id}")
            status = sqlite_schema.read_status(raw, path, kind)
        raw.execute("COMMIT")
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
    return status


@contextmanager
def _borrowed(raw: sqlite3.Connection) -> Iterator[Connection]:
    """`raw` as a connection of SQLAlchemy's, which leaves beginning and committing to us.

    SQLAlchemy rolls back once on its first contact, so that is made here, before our transaction begins. Its own `begin` sends
    nothing, but tells Alembic that the transaction is somebody else's; else it would commit after each migration.
    """
    engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
    with engine.connect() as connection:
        connection.begin()
        yield connection


def _upgrade(connection: Connection, migrations: Migrations) -> None:
    config = Config()
    config.set_main_option("script_location", _escaped(_SCRIPTS))
    config.set_main_option("version_locations", _escaped(migrations.directory))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, migrations.head)
    except DBAPIError as error:
        raise error.orig or error from None  # SQLite's own error, for the one table


def _escaped(path: Path) -> str:
    """Alembic reads options with interpolation."""
    return str(path).replace("%", "%%")
