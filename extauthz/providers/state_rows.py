"""Rows of the state database as values of the model, and back. A row that can't be read is an `InvalidRecord`."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypeVar

import orjson

from extauthz.errors import InvalidRecord
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.identity import Actor, ActorType, ApiKey
from extauthz.model.lifecycle import AuditRecord, Change, LifecycleRecord, LifecycleState, Onboarding, Tenant

E = TypeVar("E", bound=StrEnum)
Row = Sequence[object]
"""The columns of a row, as a driver gives them: in SQLite any type may stand in any column."""

_SHOWN: Final = 40
"""Characters of a wrong value that an error shows."""

TENANT_COLUMNS: Final = "tenant_id, name, state, onboarding, created_at"
_READABLE: Final = "state IN ('SUSPENDED', 'TERMINATED', 'ARCHIVED') AND onboarding IN ('PENDING', 'COMPLETE')"
BLOCKED_COLUMNS: Final = f"tenant_id, CASE WHEN {_READABLE} THEN state END, CASE WHEN {_READABLE} THEN onboarding END"
"""State and onboarding are null where they can't be read: what stands there then may not even be text that a driver takes."""
IS_BLOCKED: Final = "(state = 'ACTIVE' AND onboarding IN ('PENDING', 'COMPLETE')) IS NOT TRUE"
"""Which tenants are not known to be ACTIVE: those too whose row can't be read."""
KEY_COLUMNS: Final = (
    "key_id, tenant_id, secret_hash, mac_pepper, hash_pepper, scopes, created_at, expires_at, last_used_at, revoked_at"
)
AUDIT_COLUMNS: Final = "tenant_id, what, before_value, after_value, actor_type, actor_id, reason, at, request_id"
PLAN_COLUMNS: Final = "tenant_id, actor_type, actor_id, reason, at, request_id"


def lifecycle_record(whose: str, state: object, onboarding: object) -> LifecycleRecord:
    """The lifecycle part of a tenant's row.

    Raises:
        InvalidRecord: a word is not one of ours.
    """
    return LifecycleRecord(state=_word(LifecycleState, state, whose), onboarding=_word(Onboarding, onboarding, whose))


def blocked(row: Row) -> tuple[str, LifecycleRecord | None]:
    """A row of BLOCKED_COLUMNS of which IS_BLOCKED holds; None for a record that can't be read."""
    if row[1] is None:
        return str(row[0]), None
    return str(row[0]), lifecycle_record(f"tenant {row[0]!r}", row[1], row[2])


def lifecycle_state(whose: str, state: object) -> LifecycleState:
    """The state column of a tenant's row.

    Raises:
        InvalidRecord: it is not one of ours.
    """
    return _word(LifecycleState, state, whose)


def onboarding(whose: str, value: object) -> Onboarding:
    """The onboarding column of a tenant's row.

    Raises:
        InvalidRecord: it is not one of ours.
    """
    return _word(Onboarding, value, whose)


def tenant(row: Row) -> Tenant:
    """A row of TENANT_COLUMNS.

    Raises:
        InvalidRecord: it can't be read.
    """
    whose = f"tenant {row[0]!r}"
    return Tenant(
        tenant_id=_text(row[0], whose),
        name=_text(row[1], whose),
        record=lifecycle_record(whose, row[2], row[3]),
        created_at=_number(row[4], whose),
    )


def billing_record(whose: str, row: Row) -> BillingRecord:
    """A row of state and plan.

    Raises:
        InvalidRecord: it can't be read.
    """
    plan_id = None if row[1] is None else _text(row[1], whose)
    return BillingRecord(state=_word(BillingState, row[0], whose), plan_id=plan_id)


def api_key(row: Row) -> ApiKey:
    """A row of KEY_COLUMNS.

    Raises:
        InvalidRecord: it can't be read.
    """
    whose = f"key {row[0]!r}"
    if not isinstance(row[2], bytes):
        raise InvalidRecord(f"{whose}: the hash is not bytes")
    return ApiKey(
        key_id=_text(row[0], whose),
        tenant_id=_text(row[1], whose),
        secret_hash=row[2],
        mac_pepper=_text(row[3], whose),
        hash_pepper=_text(row[4], whose),
        scopes=_scopes(row[5], whose),
        created_at=_number(row[6], whose),
        expires_at=_optional(row[7], whose),
        last_used_at=_optional(row[8], whose),
        revoked_at=_optional(row[9], whose),
    )


def from_api_key(key: ApiKey) -> Row:
    """A key as a row of KEY_COLUMNS."""
    scopes = orjson.dumps(sorted(key.scopes)).decode()
    peppers = (key.mac_pepper, key.hash_pepper)
    times = (key.created_at, key.expires_at, key.last_used_at, key.revoked_at)
    return (key.key_id, key.tenant_id, key.secret_hash, *peppers, scopes, *times)


def audit_record(row: Row) -> AuditRecord:
    """A row of AUDIT_COLUMNS.

    Raises:
        InvalidRecord: it can't be read.
    """
    whose = f"audit of tenant {row[0]!r}"
    tenant_id, what, before, after = (_text(value, whose) for value in row[:4])
    return AuditRecord(tenant_id=tenant_id, what=what, before=before, after=after, change=_change(row[4:], whose))


def from_audit_record(record: AuditRecord) -> Row:
    """An audit record as a row of AUDIT_COLUMNS."""
    return (record.tenant_id, record.what, record.before, record.after, *_from_change(record.change))


def termination_plan(row: Row) -> tuple[str, Change]:
    """A row of PLAN_COLUMNS: whose termination was begun, and by which change.

    Raises:
        InvalidRecord: it can't be read.
    """
    whose = f"planned termination of tenant {row[0]!r}"
    return _text(row[0], whose), _change(row[1:], whose)


def from_termination_plan(tenant_id: str, change: Change) -> Row:
    """A planned termination as a row of PLAN_COLUMNS."""
    return (tenant_id, *_from_change(change))


def _change(row: Row, whose: str) -> Change:
    actor = Actor(type=_word(ActorType, row[0], whose), id=_text(row[1], whose))
    return Change(actor=actor, reason=_text(row[2], whose), at=_number(row[3], whose), request_id=_text(row[4], whose))


def _from_change(change: Change) -> Row:
    return (change.actor.type.value, change.actor.id, change.reason, change.at, change.request_id)


def _word(enum: type[E], value: object, whose: str) -> E:
    try:
        return enum(_text(value, whose))
    except ValueError:
        raise InvalidRecord(f"{whose}: {_shown(value)} is no {enum.__name__}") from None


def _text(value: object, whose: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidRecord(f"{whose}: {_shown(value)} where a text is due")


def _number(value: object, whose: str) -> float:
    if isinstance(value, float | int):
        return float(value)
    raise InvalidRecord(f"{whose}: {_shown(value)} where a number is due")


def _optional(value: object, whose: str) -> float | None:
    return None if value is None else _number(value, whose)


def _scopes(value: object, whose: str) -> frozenset[str]:
    try:
        scopes: object = orjson.loads(_text(value, whose))
    except orjson.JSONDecodeError:
        scopes = None
    if not isinstance(scopes, list):
        raise InvalidRecord(f"{whose}: the scopes are no list")
    return frozenset(_text(scope, whose) for scope in scopes)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
