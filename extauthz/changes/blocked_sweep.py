"""Makes the set of tenants that are not ACTIVE complete: those too that nobody has asked for since this process began."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from extauthz.changes.blocked import BlockedTenants
from extauthz.errors import NotSupported
from extauthz.ports import BlockedList
from extauthz.resilience.bounded import within

EVERY: Final = 300.0
"""Seconds between two sweeps: for what reaches the store without a word in its log of changes, by an import or by hand."""

SPREAD: Final = 1.0
"""Seconds by which a sweep that is due may be late, so that replicas which start together don't come together."""

PAGE: Final = 1000
ASK_SECONDS: Final = 10.0
"""For one page."""

LONGEST_PAUSE: Final = 30.0
"""Seconds before a store that failed is asked again, doubled each time up to this."""

_log = structlog.stdlib.get_logger(__name__)


class BlockedSweep:
    """Compares `known` with all that `store` has: at the start, whenever changes may have been missed, and `every` so often.

    It stops at `most` tenants. A store that can't tell is left alone. `spread` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        store: BlockedList,
        known: BlockedTenants,
        most: int,
        every: float = EVERY,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._known = known
        self._most = most
        self._every = every
        self._spread = spread
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._known.doubt()
        self._task = asyncio.get_running_loop().create_task(self._keep_sweeping())

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _keep_sweeping(self) -> None:
        """Until it turns out that the store can't tell."""
        with suppress(NotSupported):
            while True:
                await self._due()
                await self._try()

    async def _due(self) -> None:
        if self._failures:
            longest = min(LONGEST_PAUSE, 2.0 ** min(self._failures - 1, 10))
            await asyncio.sleep(longest * (1 + self._spread()) / 2)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every):
                await self._known.doubted.wait()
        await asyncio.sleep(SPREAD * self._spread())

    async def _try(self) -> None:
        try:
            await self._sweep()
        except NotSupported:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the store of a third party raises, it may work again
            if not self._failures:
                _log.warning("blocked_tenants_not_listed", error=str(error))
            self._failures += 1
        else:
            self._failures = 0

    async def _sweep(self) -> None:
        self._known.doubted.clear()
        with self._known.sweeping() as sweep:
            last, count = "", 0
            while count < self._most:
                page = await within(ASK_SECONDS, self._store.blocked_tenants(last, PAGE))
                sweep.found(page)
                count += len(page)
                if len(page) < PAGE:
                    await sweep.finish(None)
                    return
                last = page[-1][0]
            await sweep.finish(last)
