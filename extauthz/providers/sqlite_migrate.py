"""Brings an SQLite file to the newest schema. It needs Alembic and SQLAlchemy, and so is imported only when it is needed."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from extauthz.providers import sqlite_file, sqlite_schema
from extauthz.providers.migrations.run import run_migrations
from extauthz.providers.sqlite_schema import Kind, Migrations, SchemaState, SchemaStatus


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
        with _borrowed(raw) as connection:
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
    try:
        run_migrations(connection, migrations)
    except DBAPIError as error:
        raise error.orig or error from None  # SQLite's own error, for the one table
