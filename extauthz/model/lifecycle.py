"""Tenant lifecycle and onboarding (spec section 2): the states, the moves between them, and what each permits."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from extauthz.model.identity import Actor

MAX_REASON: Final = 1000
"""Characters of the reason of a change."""


class LifecycleState(StrEnum):
    """May this tenant run at all?"""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    TERMINATED = "TERMINATED"
    ARCHIVED = "ARCHIVED"


class Onboarding(StrEnum):
    """Has the tenant finished signing up? `PENDING`, then `COMPLETE`, never back."""

    PENDING = "PENDING"
    COMPLETE = "COMPLETE"


class Activity(StrEnum):
    """What a request wants to do, as far as the lifecycle table tells them apart."""

    SDK_EXECUTION = "sdk_execution"
    WRITE = "write"
    NEW_KEY = "new_key"
    READ = "read"
    TOKEN_REFRESH = "token_refresh"  # noqa: S105 - the name of an activity, not a secret
    ONBOARDING = "onboarding"


_ACTIVE_ONLY: Final = frozenset({LifecycleState.ACTIVE})
_NOT_ENDED: Final = frozenset({LifecycleState.ACTIVE, LifecycleState.SUSPENDED})

TRANSITIONS: Final[dict[LifecycleState, frozenset[LifecycleState]]] = {
    LifecycleState.ACTIVE: frozenset({LifecycleState.SUSPENDED, LifecycleState.TERMINATED}),
    LifecycleState.SUSPENDED: frozenset({LifecycleState.ACTIVE, LifecycleState.TERMINATED}),
    LifecycleState.TERMINATED: frozenset({LifecycleState.ARCHIVED}),
    LifecycleState.ARCHIVED: frozenset(),
}
"""Where each state may go (OFFBOARD-001, -002, -003)."""

PERMITTED_STATES: Final[dict[Activity, frozenset[LifecycleState]]] = {
    Activity.SDK_EXECUTION: _ACTIVE_ONLY,
    Activity.WRITE: _ACTIVE_ONLY,
    Activity.NEW_KEY: _ACTIVE_ONLY,
    Activity.READ: _NOT_ENDED,
    Activity.TOKEN_REFRESH: _NOT_ENDED,
    Activity.ONBOARDING: _ACTIVE_ONLY,
}
"""The states in which each activity is permitted."""


def permitted_states(activity: Activity, onboarding: Onboarding | None) -> frozenset[LifecycleState]:
    """The states in which `activity` passes. Before onboarding is COMPLETE only ACTIVE does, whatever the activity.

    `onboarding` None means it is not known: the table alone decides.
    """
    return _ACTIVE_ONLY if onboarding is Onboarding.PENDING else PERMITTED_STATES[activity]


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleRecord:
    """What the lifecycle provider knows of a tenant."""

    state: LifecycleState
    onboarding: Onboarding


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant as the lifecycle provider keeps it. `created_at` is Unix seconds."""

    tenant_id: str
    name: str
    record: LifecycleRecord
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changes something, why and when (Unix seconds): the part every audit record has (OFFBOARD-010, BILLING-004)."""

    actor: Actor
    reason: str
    at: float
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A lifecycle move that was made. Where `from_state` is `to_state` nothing was changed.

    `pending_replicas` names those that have not confirmed that they block a TERMINATED tenant (OFFBOARD-006).
    """

    tenant_id: str
    from_state: LifecycleState
    to_state: LifecycleState
    revoked_keys: int = 0
    pending_replicas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of a tenant's history. `what` is an event type; `before` and `after` are the words of the states."""

    tenant_id: str
    what: str
    before: str
    after: str
    change: Change
