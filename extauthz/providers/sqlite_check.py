"""Whether a state database on disk is sound: the file itself, and every row in it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from extauthz.providers import sqlite_file, sqlite_schema, state_check
from extauthz.providers.sqlite import KIND
from extauthz.providers.sqlite_errors import primary_code, translated
from extauthz.providers.sqlite_schema import SchemaState


def check(path: str | Path, *, tenants_here: bool = True) -> Sequence[str]:
    """What is wrong with the state database at `path`, a sentence each; empty where all is well. Changes nothing. Blocks.

    `tenants_here` False where the lifecycle provider is another store. The service may run meanwhile.

    Raises:
        ProviderError: it can't be opened or read.
        SchemaMismatch: it is another program's, or of another version.
    """
    file = Path(path).absolute()
    try:
        with closing(sqlite_file.connect(file)) as connection:
            connection.execute("PRAGMA query_only = ON")
            status = sqlite_schema.read_status(connection, file, KIND)
            if status.state is SchemaState.EMPTY:
                return ()
            sqlite_schema.require_up_to_date(file, status)
            # A damaged page makes nonsense of rows: those are not looked at then.
            return tuple(_damage(connection, file)) or tuple(_faults(connection, tenants_here=tenants_here))
    except sqlite3.Error as error:
        raise translated(file, error) from error


def _damage(connection: sqlite3.Connection, file: Path) -> Iterator[str]:
    try:
        found = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        if primary_code(error) != sqlite3.SQLITE_CORRUPT:
            raise
        found = [str(translated(file, error))]
    return (text for text in found if text != "ok")


def _faults(connection: sqlite3.Connection, *, tenants_here: bool) -> Iterator[str]:
    connection.text_factory = _text_or_bytes
    connection.execute("BEGIN")  # one moment, whatever the service writes meanwhile
    return state_check.faults(connection.execute, tenants_here=tenants_here)


def _text_or_bytes(raw: bytes) -> str | bytes:
    """What is not UTF-8 becomes a fault of its row instead of the end of the query."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
