"""An SQLite file of ours: made, opened, recognised, checked for its schema."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Final

from extauthz.errors import ProviderError
from extauthz.providers import sqlite_schema
from extauthz.providers.sqlite_errors import needs_new_connection, translated
from extauthz.providers.sqlite_schema import BUSY_TIMEOUT, Kind, SchemaStatus

_UPGRADE_WAIT: Final = 30.0
"""Seconds that an operator's upgrade waits for those who use the file."""

_STOP_CHECK_EVERY: Final = 10_000
"""Steps of SQLite's virtual machine (about a millisecond) between two looks at whether the caller is still there."""

# NORMAL never damages a WAL database; what it may lose when the machine loses power is the last commits. Where those are a
# revoked key or an audit record that is too much, and so rare that the sync costs nothing.
SYNC: Final = "PRAGMA synchronous = FULL"
NO_SYNC: Final = "PRAGMA synchronous = NORMAL"


class SqliteFile:
    """One database file, shared by all connections of a process."""

    def __init__(self, path: Path, kind: Kind, *, durable: bool) -> None:
        self.path = path.absolute()
        self._kind = kind
        self._durable = durable
        self._opening = Lock()
        self._seen = False

    def open(self, *, read_only: bool) -> sqlite3.Connection:
        """A connection to the file with our schema. An absent or empty file is set up first, by one thread of one process.

        Raises:
            ProviderError: it cannot be opened, or it was there before and has gone (a new, empty one would make every tenant
                unknown, which is an answer; "no answer" is the truth).
            SchemaMismatch: it is not ours, or of another version.
            sqlite3.Error: for the table of errors.
        """
        with self._opening:
            if self._seen and self.identity() is None:
                raise ProviderError(f"{self.path}: the database file has gone")
            create(self.path)
            connection = connect(self.path)
            try:
                sqlite_schema.require_current(connection, self.path, self._kind)
                self._configure(connection, read_only=read_only)
            except BaseException:
                connection.close()
                raise
            self._seen = True
            return connection

    def _configure(self, connection: sqlite3.Connection, *, read_only: bool) -> None:
        connection.execute(SYNC if self._durable else NO_SYNC)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON" if read_only else "PRAGMA journal_mode = WAL")

    def identity(self) -> tuple[int, int] | None:
        """Which file stands at the path now: device and inode; None where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class FileLink:
    """One thread's connection to an `SqliteFile`: opened at first need, again after it was lost or the file replaced."""

    def __init__(self, file: SqliteFile, *, read_only: bool) -> None:
        self._file = file
        self._read_only = read_only
        self._open: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def connection(self, stop: Callable[[], bool]) -> sqlite3.Connection:
        """The connection. Looking at the file costs a microsecond; writing into a deleted one would lose what is written.

        Raises:
            ProviderError: as `SqliteFile.open`.
            SchemaMismatch: as `SqliteFile.open`.
            sqlite3.Error: for the table of errors.
        """
        if self._open is not None and self._file.identity() == self._identity:
            return self._open
        self.close()
        self._open = self._file.open(read_only=self._read_only)
        self._identity = self._file.identity()
        # `interrupt` between two statements of a job is lost; this is what ends the second one.
        self._open.set_progress_handler(stop, _STOP_CHECK_EVERY)
        return self._open

    def failed(self, error: Exception) -> Exception:
        """Drop the connection where `error` says so; the error as one of ours, with the driver's as its cause."""
        if needs_new_connection(error):
            self.close()
        judged = translated(self._file.path, error)
        if judged is not error:
            judged.__cause__ = error
        return judged

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()


def create(path: Path) -> None:
    """Make an empty file, for its owner alone (0600), where there is none. SQLite gives its side files the same mode.

    An existing file is not opened here: closing it would drop the locks that this process holds on it.

    Raises:
        ProviderError: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise ProviderError(f"{path}: the database file cannot be made ({error.strerror})") from error


def connect(path: Path, wait: float = BUSY_TIMEOUT) -> sqlite3.Connection:
    """A plain connection to an existing file, without implicit transactions; it waits `wait` seconds for a lock."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=wait, isolation_level=None)


def upgrade(path: Path, kind: Kind) -> SchemaStatus:
    """Bring the file at `path` to the schema of `kind`; it is made where it is absent. Blocks.

    Raises:
        ProviderError: it can't be opened or written.
        SchemaMismatch: it is another program's, or newer than this version.
    """
    create(path)
    return _translating(path, lambda: sqlite_schema.require_upgraded(path, kind, wait=_UPGRADE_WAIT))


def status(path: Path, kind: Kind) -> SchemaStatus:
    """The schema of the file at `path`; changes nothing. Blocks.

    Raises:
        ProviderError: it can't be opened or read.
        SchemaMismatch: it is another program's.
    """

    def look() -> SchemaStatus:
        with closing(connect(path)) as connection:
            return sqlite_schema.read_status(connection, path, kind)

    return _translating(path, look)


def _translating(path: Path, work: Callable[[], SchemaStatus]) -> SchemaStatus:
    try:
        return work()
    except sqlite3.Error as error:
        raise translated(path, error) from error
