"""The statements of the API keys: functions of a connection, or of a transaction where they change something."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from extauthz.errors import AlreadyExists
from extauthz.model.changed import ChangedKind
from extauthz.model.identity import ApiKey, KeyUse
from extauthz.model.lifecycle import Change
from extauthz.providers import rules, sqlite_state, state_rows
from extauthz.providers.sqlite_writing import Writing, one
from extauthz.providers.state_rows import KEY_COLUMNS, Row

FIND_KEY: Final = f"SELECT {KEY_COLUMNS} FROM api_keys WHERE key_id = ?"  # noqa: S608 - a constant of ours
_LIST_KEYS: Final = f"SELECT {KEY_COLUMNS} FROM api_keys WHERE tenant_id = ? ORDER BY created_at, key_id"  # noqa: S608 - a constant
_ADD_KEY: Final = f"INSERT INTO api_keys ({KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant of ours
_RECORD_USE: Final = """
    UPDATE api_keys SET last_used_at = ?2, secret_hash = coalesce(?3, secret_hash), hash_pepper = coalesce(?4, hash_pepper)
    WHERE key_id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2)
"""


def find_key(connection: sqlite3.Connection, key_id: str) -> ApiKey | None:
    """The key of that id; None where there is none."""
    row = one(connection, FIND_KEY, key_id)
    return None if row is None else state_rows.api_key(row)


def list_keys(connection: sqlite3.Connection, tenant_id: str) -> Sequence[ApiKey]:
    """All keys of a tenant, oldest first."""
    return tuple(map(state_rows.api_key, connection.execute(_LIST_KEYS, (tenant_id,))))


def record_uses(writing: Writing, uses: Sequence[KeyUse]) -> None:
    """Note last-used times and renewed hashes, as `rules.used` has it, without reading the keys first."""
    writing.connection.executemany(_RECORD_USE, map(_use_row, uses))


def _use_row(use: KeyUse) -> Row:
    if use.secret_hash is None or use.hash_pepper is None:
        return (use.key_id, use.used_at, None, None)
    return (use.key_id, use.used_at, use.secret_hash, use.hash_pepper)


def issue_key(writing: Writing, key: ApiKey, change: Change, *, require_active: bool) -> None:
    """Add a key; with `require_active` only for a tenant that is ACTIVE at this moment."""
    connection = writing.connection
    if require_active:
        record = sqlite_state.find_lifecycle(connection, key.tenant_id)
        rules.require_active(key.tenant_id, None if record is None else record.state)
    if one(connection, FIND_KEY, key.key_id) is not None:
        raise AlreadyExists(f"key {key.key_id!r} exists already")
    connection.execute(_ADD_KEY, tuple(state_rows.from_api_key(key)))
    writing.note([rules.audit_key_issued(key.tenant_id, key.key_id, change)])
    writing.changed(ChangedKind.KEY, [key.key_id])


def revoke_key(writing: Writing, tenant_id: str, key_id: str, change: Change) -> ApiKey:
    """Revoke one key; the key as it is now."""
    key = find_key(writing.connection, key_id)
    if key is None or key.tenant_id != tenant_id:
        raise rules.no_key(tenant_id, key_id)
    if key.revoked_at is not None:
        return key
    sqlite_state.revoke(writing, tenant_id, [key_id], change)
    return find_key(writing.connection, key_id) or key
