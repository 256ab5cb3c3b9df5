"""The statements of the change log and of the replicas' leases: functions of a connection."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from extauthz.errors import InvalidRecord
from extauthz.model.changed import ChangedKind, StoredChange
from extauthz.ports import CHANGES_KEPT
from extauthz.providers.postgres_text import storable

CHANNEL: Final = "extauthz_changes"
"""Where a NOTIFY says that there are changes."""

PRUNE_EVERY: Final = 256
"""Changes after which old ones are removed."""

_PRUNED_AT_ONCE: Final = 1000
"""So many of the lowest are looked at; more than came in, so that it never lags behind."""

_NOW: Final = "extract(epoch FROM clock_timestamp())::float8"
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('extauthz changes', 0))"
_TELL: Final = f"""
    WITH told AS (
        INSERT INTO extauthz.changes (kind, id, origin, at)
        SELECT kind, id, $3, {_NOW} FROM unnest($1::text[], $2::text[]) AS new (kind, id)
        RETURNING seq
    )
    SELECT max(seq), pg_notify('{CHANNEL}', '') FROM told
"""  # noqa: S608 - constants of ours
_PRUNE: Final = f"""
    DELETE FROM extauthz.changes
    WHERE seq IN (SELECT seq FROM extauthz.changes ORDER BY seq LIMIT {_PRUNED_AT_ONCE}) AND at < {_NOW} - $1 AND seq < $2
"""  # noqa: S608 - constants of ours
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM extauthz.changes"
_AFTER: Final = "SELECT seq, kind, id, origin FROM extauthz.changes WHERE seq > $1 ORDER BY seq LIMIT $2"
_UNHURRIED: Final = "set_config('synchronous_commit', 'off', true)"
"""Only for this transaction. A lease is worth nothing after a few seconds, and a standby that stalls must not end them all."""

_RENEW: Final = f"""
    INSERT INTO extauthz.replicas (replica, seen, expires_at) SELECT $1, $2, {_NOW} + $3 FROM {_UNHURRIED}
    ON CONFLICT (replica) DO UPDATE SET seen = excluded.seen, expires_at = excluded.expires_at
"""  # noqa: S608 - constants of ours
_FORGET: Final = f"""
    DELETE FROM extauthz.replicas USING {_UNHURRIED} WHERE replica = $1 OR expires_at < {_NOW} - $2
"""  # noqa: S608 - constants of ours
_BEHIND: Final = f"""
    SELECT replica FROM extauthz.replicas WHERE expires_at > {_NOW} AND seen < $1 ORDER BY replica
"""  # noqa: S608 - constants of ours


async def tell(connection: asyncpg.Connection, origin: str, changes: Sequence[tuple[ChangedKind, str]]) -> None:
    """Log changes, the last thing in the transaction that makes them.

    Numbers are given under a lock that ends with the transaction, so a change that is visible is never overtaken by a lower one.
    Every writer waits for this lock, which is why it is taken so late.
    """
    if not changes:
        return
    await connection.execute(_LOCK)
    kinds, ids = [kind.value for kind, _ in changes], [each for _, each in changes]
    last: int = await connection.fetchval(_TELL, kinds, ids, storable(origin))
    if last // PRUNE_EVERY != (last - len(changes)) // PRUNE_EVERY:
        # The newest stays however old it is: its number says how far the log has come.
        await connection.execute(_PRUNE, CHANGES_KEPT, last)


async def last_change(connection: asyncpg.Connection) -> int:
    """The number of the newest change; 0 where there was none yet."""
    last: int = await connection.fetchval(_LAST)
    return last


async def changes_after(connection: asyncpg.Connection, seq: int, limit: int) -> Sequence[StoredChange]:
    """The changes above `seq`, at most `limit`."""
    return tuple(_change(*row) for row in await connection.fetch(_AFTER, seq, max(0, limit)))


def _change(seq: int, kind: str, changed: str, origin: str) -> StoredChange:
    try:
        return StoredChange(seq=seq, kind=ChangedKind(kind), id=changed, origin=origin)
    except ValueError:
        raise InvalidRecord(f"change {seq}: {kind!r} is no kind of change known here") from None


async def renew_lease(connection: asyncpg.Connection, replica: str, seen: int, seconds: float) -> None:
    """Set a replica's lease."""
    await connection.execute(_RENEW, storable(replica), seen, float(seconds))


async def end_lease(connection: asyncpg.Connection, replica: str) -> None:
    """Remove a replica's lease, and those that ran out long ago."""
    await connection.execute(_FORGET, storable(replica), CHANGES_KEPT)


async def replicas_behind(connection: asyncpg.Connection, seq: int) -> Sequence[str]:
    """The replicas that live and have not seen `seq`."""
    return tuple(str(row[0]) for row in await connection.fetch(_BEHIND, seq))
