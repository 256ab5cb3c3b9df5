"""Who changed what, as messages of the provider contracts, and back; and the checks that all such messages share.

`write_...` makes a message of a value, `read_...` a value of a message. What has been sent by others is checked here.
"""

import math
import re
from typing import Final

from extauthz._gen.provider.v1 import common_pb2
from extauthz.errors import InvalidRecord
from extauthz.model.identity import SYSTEM_TENANT, Actor, is_valid_id
from extauthz.model.lifecycle import AuditRecord, Change
from extauthz.providers.remote_words import ACTOR_TYPES

LONGEST_PAGE: Final = 1000
"""What a `limit` asks for at most."""

_IDEMPOTENCY_KEY: Final = re.compile(r"[\x20-\x7e]{1,128}")


def read_time(seconds: float) -> float:
    """Unix seconds.

    Raises:
        InvalidRecord: no finite number; a key that expires at NaN would never expire.
    """
    if not math.isfinite(seconds):
        raise InvalidRecord("a time is not a finite number")
    return seconds


def read_id(text: str) -> str:
    """The id of a tenant or key.

    Raises:
        InvalidRecord: it is empty, which is what a field that was left out looks like.
    """
    if not text:
        raise InvalidRecord("an id is missing")
    return text


def read_new_id(text: str) -> str:
    """The id of a tenant, plan or key that is to be created or changed.

    Raises:
        InvalidRecord: it is no id, and nobody could manage what had it.
    """
    if not is_valid_id(text):
        raise InvalidRecord("an id must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
    return text


def read_owner_id(text: str) -> str:
    """Whose key or audit record it is: a tenant's id, or `_system`.

    Raises:
        InvalidRecord: it is neither.
    """
    return text if text == SYSTEM_TENANT else read_new_id(text)


def read_idempotency_key(text: str) -> str:
    """The key of a report of usage.

    Raises:
        InvalidRecord: it is none.
    """
    if _IDEMPOTENCY_KEY.fullmatch(text) is None:
        raise InvalidRecord("an idempotency key must be 1 to 128 printable ASCII characters")
    return text


def page_limit(limit: int) -> int:
    """How many at most, within 1 and 1000: a field that was left out is no wish for none, or for everything."""
    return max(1, min(limit, LONGEST_PAGE))


def write_actor(actor: Actor) -> common_pb2.Actor:
    """An actor."""
    return common_pb2.Actor(type=ACTOR_TYPES.number(actor.type), id=actor.id)


def read_actor(message: common_pb2.Actor) -> Actor:
    """An actor.

    Raises:
        InvalidRecord: its type is not known.
    """
    return Actor(type=ACTOR_TYPES.member(message.type), id=message.id)


def write_change(change: Change) -> common_pb2.Change:
    """A change."""
    return common_pb2.Change(
        actor=write_actor(change.actor), reason=change.reason, at=change.at, request_id=change.request_id
    )


def read_change(message: common_pb2.Change) -> Change:
    """A change.

    Raises:
        InvalidRecord: it says neither who nor when.
    """
    return Change(
        actor=read_actor(message.actor),
        reason=message.reason,
        at=read_time(message.at),
        request_id=message.request_id,
    )


def write_audit(record: AuditRecord) -> common_pb2.AuditRecord:
    """An audit record."""
    return common_pb2.AuditRecord(
        tenant_id=record.tenant_id,
        what=record.what,
        before=record.before,
        after=record.after,
        change=write_change(record.change),
    )


def read_audit(message: common_pb2.AuditRecord) -> AuditRecord:
    """An audit record.

    Raises:
        InvalidRecord: it cannot be read.
    """
    return AuditRecord(
        tenant_id=read_id(message.tenant_id),
        what=message.what,
        before=message.before,
        after=message.after,
        change=read_change(message.change),
    )
