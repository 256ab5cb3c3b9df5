"""What lets several processes share one SQLite file: they read each other's changes, and know who is alive."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from extauthz.errors import InvalidRecord
from extauthz.model.changed import ChangedKind, StoredChange
from extauthz.model.deadline import Clock
from extauthz.ports import CHANGES_KEPT
from extauthz.providers.sqlite_db import SqliteDatabase
from extauthz.providers.sqlite_writing import Writing, one

T = TypeVar("T")

POLL_EVERY: Final = 0.2
"""Seconds between two looks at the changes: nothing tells a process what another one wrote to a file."""

PRUNE_EVERY: Final = 10.0
"""Seconds between two turns of dropping old changes, at least."""

_LAST_CHANGE: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'changes'"
_CHANGES_AFTER: Final = "SELECT seq, kind, id, origin FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
_RENEW: Final = "INSERT OR REPLACE INTO replicas (replica, seen, boot, expires_at) VALUES (?, ?, ?, ?)"
_DROP: Final = "DELETE FROM replicas WHERE boot <> ? OR expires_at <= ?"
_BEHIND: Final = "SELECT replica FROM replicas WHERE boot = ? AND expires_at > ? AND seen < ? ORDER BY replica"


class SqliteShared:
    """The change log and the leases of a state database, and the way of every write to it.

    `replica` is the origin of the changes made through this object. `clock` is the one that all who share a file see, since
    they run on one machine; `boot` is which start of that machine it counts from. Leases of another start are over.
    """

    def __init__(self, db: SqliteDatabase, replica: str, clock: Clock, boot: str) -> None:
        self._db = db
        self._replica = replica
        self._clock = clock
        self._boot = boot
        self._pruned_at = -PRUNE_EVERY

    # The change log

    async def last_change(self) -> int:
        """The `seq` of the newest change; 0 where there was none yet."""
        return await self._db.read(_last_change)

    async def changes_after(self, seq: int, limit: int = 1000) -> Sequence[StoredChange]:
        """The changes above `seq` in their order, at most `limit`.

        SQLite has one writer at a time, so numbers become visible in their order.
        """
        return await self._db.read(lambda db: tuple(map(_stored_change, db.execute(_CHANGES_AFTER, (seq, limit)))))

    async def wait_for_change(self, seconds: float) -> None:
        """Return when it is time to look again: after `POLL_EVERY`, or `seconds` where that is less."""
        await asyncio.sleep(min(seconds, POLL_EVERY))

    async def renew_lease(self, replica: str, seen: int, seconds: float) -> None:
        """Say that `replica` lives for `seconds` more, and has brought its caches up to the change `seen`."""
        await self._passing(lambda writing: self._renew(writing, replica, seen, seconds))

    async def end_lease(self, replica: str) -> None:
        """Say that `replica` ends."""
        await self._passing(
            lambda writing: writing.connection.execute("DELETE FROM replicas WHERE replica = ?", (replica,))
        )

    async def replicas_behind(self, seq: int) -> Sequence[str]:
        """The replicas with a live lease that have not seen the change `seq`."""
        sought = (self._boot, self._clock(), seq)
        return await self._db.read(lambda db: tuple(str(name) for (name,) in db.execute(_BEHIND, sought)))

    def _renew(self, writing: Writing, replica: str, seen: int, seconds: float) -> None:
        writing.connection.execute(_DROP, (self._boot, writing.at))
        writing.connection.execute(_RENEW, (replica, seen, self._boot, writing.at + seconds))

    async def _write(self, fn: Callable[[Writing], T]) -> T:
        """What `fn` returns, run as one transaction."""
        return await self._db.write(partial(self._in_transaction, fn))

    async def _passing(self, fn: Callable[[Writing], object]) -> None:
        """The same for what need not outlive a power cut: once a second, it does not have to reach the disk each time."""
        await self._db.write(partial(self._in_transaction, fn), durable=False)

    def _in_transaction(self, fn: Callable[[Writing], T], connection: sqlite3.Connection) -> T:
        writing = Writing(connection=connection, origin=self._replica, at=self._clock())
        value = fn(writing)
        if writing.at - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = writing.at  # read and set by the one thread that writes
            writing.prune(CHANGES_KEPT)
        return value


def _last_change(connection: sqlite3.Connection) -> int:
    row = one(connection, _LAST_CHANGE)
    return row[0] if row is not None and isinstance(row[0], int) else 0


def _stored_change(row: tuple[int, str, str, str]) -> StoredChange:
    seq, kind, changed_id, origin = row
    try:
        return StoredChange(seq=seq, kind=ChangedKind(kind), id=changed_id, origin=origin)
    except ValueError:
        raise InvalidRecord(f"change {seq}: {kind!r} is no ChangedKind") from None
