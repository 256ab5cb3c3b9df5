"""What a replica does because others share its stores: it follows their changes, and they wait for it."""

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, TypeGuard

from extauthz.changes import Desk, Follower, Replicas, Stores, TenantChanges, UnfinishedTerminations
from extauthz.ports import ChangeLog, ProtectionProvider, ReplicaLeases
from extauthz.providers.memory import MemoryStore
from extauthz.resilience.bounded import within


class Shared(ChangeLog, ReplicaLeases, Protocol):
    """A store that others may share."""


_ALONE: Final = (
    "{count} other replica(s) share this lifecycle store, and with providers.protection.url `memory:` each counts requests"
    " alone: tenants get their limits once per replica; use Redis"
)
_ASK_SECONDS: Final = 1.0
_NEWER_THAN_ANY: Final = 2**62


def replica_name() -> str:
    """What this process is called in stores that others share: readable in an answer, and never the same twice."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"


def replicas_of(stores: Stores, replica: str) -> Replicas | None:
    """Those that share the lifecycle store with `replica`; None where nobody can."""
    store: object = stores.lifecycle
    return Replicas(log=store, leases=store, replica=replica) if is_shared(store) else None


async def follow_changes(desk: Desk, tenants: TenantChanges, replica: str, running: AsyncExitStack) -> None:
    """Begin to follow every store that others may share, and finish what a termination left half-done (OFFBOARD-005)."""
    stores = desk.stores
    all_stores: tuple[object, ...] = (stores.lifecycle, stores.billing, stores.credentials)
    distinct = {id(store): store for store in all_stores}
    starts: list[Coroutine[Any, Any, None]] = []
    for store in distinct.values():
        if is_shared(store):
            leases = store if id(store) == id(stores.lifecycle) else None
            follower = Follower(log=store, desk=desk, replica=replica, leases=leases)
            running.push_async_callback(follower.close)
            starts.append(follower.start())
    await asyncio.gather(*starts)  # at once: those that cannot be reached are not waited for in turn
    # Also where keys live with the tenants now: an earlier configuration may have left a plan.
    unfinished = UnfinishedTerminations(tenants)
    running.push_async_callback(unfinished.close)
    unfinished.start()


async def count_alone(stores: Stores, protection: ProtectionProvider, replica: str) -> Sequence[str]:
    """A warning where other replicas share the lifecycle store and each counts requests in its own process."""
    store: object = stores.lifecycle
    if not protection.in_process or not is_shared(store):
        return ()
    try:
        others = {*await within(_ASK_SECONDS, _alive(store))} - {replica}
    except Exception:  # noqa: BLE001 - whatever the store of a third party raises, it is only about a warning
        return ()
    if not others:
        return ()
    return (_ALONE.format(count=len(others)),)


async def _alive(leases: ReplicaLeases) -> Sequence[str]:
    return await leases.replicas_behind(_NEWER_THAN_ANY)


def is_shared(store: object) -> TypeGuard[Shared]:
    """Whether the store tells of changes and keeps leases; a `MemoryStore` is this process's alone."""
    names = ("last_change", "changes_after", "wait_for_change", "renew_lease", "end_lease", "replicas_behind")
    return not isinstance(store, MemoryStore) and all(callable(getattr(store, name, None)) for name in names)
