"""Terminations that were begun and not ended: keys live in another store than tenants, and something failed in between."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from extauthz.changes.tenants import TenantChanges
from extauthz.errors import NotSupported

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until a store that failed is asked again: doubled each time."""

_log = structlog.stdlib.get_logger(__name__)


class UnfinishedTerminations:
    """Finishes at start what was left half-done (OFFBOARD-005), in the background, however long a store is not reachable.

    Several replicas may do it at once. `spread` gives numbers from 0 to 1.
    """

    def __init__(self, tenants: TenantChanges, *, spread: Callable[[], float] = random.random) -> None:
        self._tenants = tenants
        self._spread = spread
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; nothing is waited for."""
        self._task = asyncio.create_task(self._finish())

    async def close(self) -> None:
        """Leave the rest to the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _finish(self) -> None:
        pause = FIRST_PAUSE
        while not await self._finished():
            await asyncio.sleep(pause * (1 + self._spread()) / 2)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _finished(self) -> bool:
        try:
            await self._tenants.finish_terminations()
        except NotSupported:
            return True
        except Exception as error:  # noqa: BLE001 - whatever the store of a third party raises, it may work again
            _log.warning("terminations_not_finished", error=str(error))
            return False
        return True
