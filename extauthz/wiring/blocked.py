"""The tenants that are not ACTIVE are kept in mind: complete where their store can list them, and over a restart in a file."""

import time
from contextlib import AsyncExitStack
from typing import TypeGuard

from extauthz.changes.blocked import BlockedTenants
from extauthz.changes.blocked_sweep import BlockedSweep
from extauthz.config.providers import LifecycleConfig
from extauthz.ports import BlockedList
from extauthz.providers.blocked_snapshot import BlockedSnapshot


async def keep_blocked(config: LifecycleConfig, store: object, running: AsyncExitStack) -> BlockedTenants | None:
    """Those that are known from the snapshot, and from now on all that is learned; `running` writes it down a last time.

    None for `memory:`, which cannot fail, and has nothing to keep over a restart.
    """
    if config.url.scheme == "memory":
        return None
    most = config.cache.max_entries
    known = BlockedTenants(clock=time.monotonic, most=most)
    if config.snapshot is not None:
        snapshot = BlockedSnapshot(config.snapshot, known)
        running.push_async_callback(snapshot.close)
        await snapshot.start()
    if _lists_blocked(store):
        sweep = BlockedSweep(store=store, known=known, most=most)
        running.push_async_callback(sweep.close)
        sweep.start()
    return known


def _lists_blocked(store: object) -> TypeGuard[BlockedList]:
    return callable(getattr(store, "blocked_tenants", None))
