"""Which schema an SQLite file has, and bringing it to ours.

The version table is read with plain SQL: a service whose schema is current, which is nearly every start, never imports
Alembic (half a second).
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.errors import SchemaMismatch
from extauthz.providers.schema_status import Migrations, SchemaState, SchemaStatus, mismatch, schema_status

__all__ = ["Kind", "Migrations", "SchemaState", "SchemaStatus"]

BUSY_TIMEOUT: Final = 0.025
"""Seconds that SQLite itself waits for a lock, uninterruptibly. Short: the worker tries again as long as it is wanted."""

STATE_APPLICATION_ID: Final = 0x45585401
EVENTS_APPLICATION_ID: Final = 0x45585402
_USES: Final = {STATE_APPLICATION_ID: "tenants, plans and keys", EVENTS_APPLICATION_ID: "events"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a file is for. `application_id` stands in the file's own header, so that one is never taken for another."""

    application_id: int
    migrations: Migrations


def require_current(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """See to it that the file has our schema: set up an empty one, refuse any other.

    Raises:
        SchemaMismatch: the file is not ours, or older or newer than this version.
        sqlite3.Error: it cannot be read, or another process is just setting it up (busy).
    """
    status = read_status(connection, path, kind)
    if status.state is SchemaState.EMPTY:
        status = _bring_up(path, kind, BUSY_TIMEOUT)
    require_up_to_date(path, status)


def require_upgraded(path: Path, kind: Kind, *, wait: float) -> SchemaStatus:
    """Bring an existing file to our schema, whether it is empty, older or there already; its schema now.

    `wait` is how long (seconds) to wait for a lock that somebody else holds.

    Raises:
        SchemaMismatch: the file is not ours, or newer than this version.
        sqlite3.Error: it cannot be written, or another process is at it (busy).
    """
    status = _bring_up(path, kind, wait)
    require_up_to_date(path, status)
    return status


def require_up_to_date(path: Path, status: SchemaStatus) -> None:
    """Refuse any schema but this version's.

    Raises:
        SchemaMismatch: it is older or newer.
    """
    if status.state is not SchemaState.CURRENT:
        raise SchemaMismatch(mismatch(str(path), status))


def read_status(connection: sqlite3.Connection, path: Path, kind: Kind) -> SchemaStatus:
    """The schema of an open file; changes nothing.

    Raises:
        SchemaMismatch: the file belongs to something else.
        sqlite3.Error: it cannot be read.
    """
    return schema_status(_revision(connection, path, kind), kind.migrations)


def _revision(connection: sqlite3.Connection, path: Path, kind: Kind) -> str | None:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if found == 0 and not tables:
        return None
    if found != kind.application_id:
        raise SchemaMismatch(f"{path}: {_other_use(found)}; it needs a file of its own for {_use(kind.application_id)}")
    row = (
        connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if "alembic_version" in tables
        else None
    )
    if row is None:
        raise SchemaMismatch(f"{path}: the schema has no revision; restore it, then run `extauthz db upgrade`")
    return str(row[0])


def _use(application_id: int) -> str:
    return _USES.get(application_id, f"application {application_id:#x}")


def _other_use(application_id: int) -> str:
    if application_id in _USES:
        return f"this is the database of {_use(application_id)}"
    return "this is a database of another program"


def _bring_up(path: Path, kind: Kind, wait: float) -> SchemaStatus:
    # Alembic takes half a second to import and is needed once in the life of a file.
    from extauthz.providers.sqlite_migrate import migrate  # noqa: PLC0415 - see the line above

    return migrate(path, kind, wait)
