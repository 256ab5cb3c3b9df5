"""This replica's lease in the shared store: that it lives, and how far it has followed the changes (OFFBOARD-006)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from extauthz.errors import NotSupported
from extauthz.ports import ReplicaLeases
from extauthz.resilience.bounded import within

RENEW_EVERY: Final = 1.0
LEASE_SECONDS: Final = 3.0
STORE_SECONDS: Final = 1.0
"""For one call of the store."""

_log = structlog.stdlib.get_logger(__name__)


class Lease:
    """Renews the lease of `replica` every second, and at once when it got further. `seen` tells the last change it applied."""

    def __init__(self, leases: ReplicaLeases, replica: str, seen: Callable[[], int]) -> None:
        self._leases = leases
        self._replica = replica
        self._seen = seen
        self._further = asyncio.Event()
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the lease, and renew it from then on. A store that can't be reached is tried again."""
        if await self._renew():
            self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Renew it no more, and end it: nobody has to wait for this replica."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        try:
            await within(STORE_SECONDS, self._leases.end_lease(self._replica))
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            _log.debug("lease_not_ended", error=str(error))

    def got_further(self) -> None:
        """Say at once how far this replica is now."""
        self._further.set()

    async def _keep(self) -> None:
        renewed = True
        while renewed:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_EVERY):
                    await self._further.wait()
            renewed = await self._renew()

    async def _renew(self) -> bool:
        """Whether there is a lease to renew again."""
        self._further.clear()
        try:
            await within(STORE_SECONDS, self._leases.renew_lease(self._replica, self._seen(), LEASE_SECONDS))
        except NotSupported:
            return False
        except Exception as error:  # noqa: BLE001 - whatever the store of a third party raises, it may work again
            if not self._failed:
                _log.warning("lease_not_renewed", error=str(error))
            self._failed = True
            return True
        self._failed = False
        return True
