"""Values and helpers that the contract suites of the stores share."""

from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from extauthz.model.identity import Actor, ActorType, ApiKey
from extauthz.model.lifecycle import AuditRecord, Change, LifecycleRecord, LifecycleState, Onboarding, Tenant
from extauthz.ports import LifecycleStore

E = TypeVar("E", bound=Exception)

ACME: Final = "acme"
NOW: Final = 1_800_000_000.0
OPERATOR: Final = Actor(type=ActorType.HUMAN, id="ada")
HOSTILE_IDS: Final = (
    "",
    "ACME",
    "acme ",
    "%",
    "acm_",
    "acme' OR '1'='1",
    "acme'; DROP TABLE tenants; --",
    'a"b',
    "acme\x00",
    "é",
)
"""Ids near `acme`, or made to break a query: none of them is a tenant or a key."""

WAY_TO: Final[dict[LifecycleState, tuple[LifecycleState, ...]]] = {
    LifecycleState.ACTIVE: (),
    LifecycleState.SUSPENDED: (LifecycleState.SUSPENDED,),
    LifecycleState.TERMINATED: (LifecycleState.TERMINATED,),
    LifecycleState.ARCHIVED: (LifecycleState.TERMINATED, LifecycleState.ARCHIVED),
}
"""The moves that bring a new tenant into each state."""


def a_change(reason: str = "because", *, later: float = 0.0, request_id: str = "") -> Change:
    """A change by an operator, `later` seconds after NOW."""
    return Change(actor=OPERATOR, reason=reason, at=NOW + later, request_id=request_id)


def a_tenant(tenant_id: str = ACME, onboarding: Onboarding = Onboarding.COMPLETE) -> Tenant:
    """A new tenant."""
    record = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=onboarding)
    return Tenant(tenant_id=tenant_id, name=f"{tenant_id} Inc.", record=record, created_at=NOW)


def a_key(
    key_id: str = "key1", tenant_id: str = ACME, *, later: float = 0.0, scopes: frozenset[str] = frozenset()
) -> ApiKey:
    """A key issued `later` seconds after NOW."""
    return ApiKey(
        key_id=key_id,
        tenant_id=tenant_id,
        secret_hash=f"hash of {key_id}".encode(),
        mac_pepper="pepper-1",
        hash_pepper="pepper-1",
        scopes=scopes,
        created_at=NOW + later,
    )


async def tenant_in(store: LifecycleStore, state: LifecycleState, tenant_id: str = ACME) -> None:
    """Create a tenant and bring it into `state`."""
    await store.create_tenant(a_tenant(tenant_id), a_change("new"))
    for step in WAY_TO[state]:
        await store.transition(tenant_id, step, a_change("on the way"), revoke_keys=False)


async def refused(kind: type[E], attempt: Awaitable[object]) -> E:
    """The error of that kind with which `attempt` ends; anything else fails the test."""
    try:
        value = await attempt
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got {value!r}")


def moves_in(history: Sequence[AuditRecord], what: str) -> list[tuple[str, str]]:
    """(before, after) of the records of one kind."""
    return [(record.before, record.after) for record in history if record.what == what]
