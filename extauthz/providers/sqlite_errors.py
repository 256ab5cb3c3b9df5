"""SQLite's errors as ours: one table, beside the calls."""

import sqlite3
from pathlib import Path
from typing import Final

from extauthz.errors import InvalidRecord, ProviderError, ProviderTimeout

_MEANINGS: Final = {
    sqlite3.SQLITE_BUSY: "the database is locked by somebody else",
    sqlite3.SQLITE_LOCKED: "the database is locked by somebody else",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_PERM: "no permission for the database file",
    sqlite3.SQLITE_AUTH: "no permission for the database file",
    sqlite3.SQLITE_READONLY: "the database file cannot be written",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_FULL: "no space is left for the database",
    sqlite3.SQLITE_IOERR: "the database file cannot be read or written",
    sqlite3.SQLITE_CONSTRAINT: "the database refused the change",
}
_HARMLESS: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CONSTRAINT}
)


def primary_code(error: BaseException) -> int | None:
    """SQLite's primary result code (the low byte of the extended one); None where the error did not come from SQLite."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_busy(error: BaseException) -> bool:
    """Whether the same work may succeed a moment later because somebody else held a lock."""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def needs_new_connection(error: BaseException) -> bool:
    """Whether the connection may be useless from here on: the file moved, was damaged, ran full, is not ours."""
    return isinstance(error, sqlite3.Error) and primary_code(error) not in _HARMLESS


def translated(path: Path, error: Exception) -> Exception:
    """`error` as one of ours; what is not SQLite's is passed on as it is. The text holds no SQL and no value."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = primary_code(error)
    if code == sqlite3.SQLITE_INTERRUPT:
        return ProviderTimeout(f"{path}: interrupted")
    if code is None and "decode" in str(error):
        return InvalidRecord(f"{path}: a text in the database is not UTF-8")
    if code == sqlite3.SQLITE_CANTOPEN and path.is_dir():
        return ProviderError(f"{path}: is a directory, not a database file")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return ProviderError(f"{path}: {_MEANINGS.get(code or 0, 'SQLite refused')} ({name})")
