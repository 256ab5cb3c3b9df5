"""What every write to the state database shares: the connection, who writes, and what must be written along with it."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from extauthz.model.changed import ChangedKind
from extauthz.model.lifecycle import AuditRecord
from extauthz.providers import state_rows
from extauthz.providers.state_rows import AUDIT_COLUMNS, Row

_ADD_AUDIT: Final = f"INSERT INTO audit ({AUDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant of ours
_ADD_CHANGE: Final = "INSERT INTO changes (kind, id, origin, at) VALUES (?, ?, ?, ?)"
_PRUNE: Final = """
    DELETE FROM changes WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM changes ORDER BY seq LIMIT ?) WHERE at < ? OR at > ?)
"""
PRUNED_AT_ONCE: Final = 10_000
"""Changes that are pruned in one transaction at most: others wait for the lock meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """One transaction that writes. `origin` is the replica that makes the changes, `at` the machine's uptime (seconds)."""

    connection: sqlite3.Connection
    origin: str
    at: float

    def note(self, records: Iterable[AuditRecord]) -> None:
        """Add audit records."""
        self.connection.executemany(_ADD_AUDIT, map(state_rows.from_audit_record, records))

    def changed(self, kind: ChangedKind, ids: Iterable[str]) -> None:
        """Tell the other processes what was changed."""
        self.connection.executemany(_ADD_CHANGE, [(kind.value, each, self.origin, self.at) for each in ids])

    def prune(self, kept: float) -> None:
        """Drop the oldest changes that were made more than `kept` seconds ago, or so long before the machine was started again."""
        self.connection.execute(_PRUNE, (PRUNED_AT_ONCE, self.at - kept, self.at + kept))


def one(connection: sqlite3.Connection, query: str, *values: object) -> Row | None:
    """The first row, None where there is none."""
    row: Row | None = connection.execute(query, values).fetchone()
    return row
