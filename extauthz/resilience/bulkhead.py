"""How many calls to one provider are under way at once, so that one tenant or one slow provider cannot take everything."""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Final

TENANT_SHARE: Final = 4
"""One tenant may hold one in this many slots."""


class Bulkhead:
    """`size` slots (None: no bound), at most a quarter of them, and at least one, for one tenant.

    Whoever enters must leave once.
    """

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._share = None if size is None else max(1, size // TENANT_SHARE)
        self._held: dict[Hashable, int] = {}
        self._total = 0
        self._queues: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @property
    def in_flight(self) -> int:
        """Slots that are taken."""
        return self._total

    @property
    def half_empty(self) -> bool:
        """Whether what nobody waits for may begin: it leaves half of the slots to those who do."""
        return self._size is None or self._total * 2 < self._size

    def enter(self, tenant: Hashable) -> bool:
        """Take a slot; False where all are taken or the tenant has its share."""
        held = self._held.get(tenant, 0)
        if self._size is not None and self._share is not None and (self._total >= self._size or held >= self._share):
            return False
        self._held[tenant] = held + 1
        self._total += 1
        return True

    async def enter_in_turn(self, tenant: Hashable, patience: float) -> bool:
        """As `enter`, but a tenant that has its share waits up to `patience` seconds, first come first served."""
        if self._share is None or self._held.get(tenant, 0) < self._share:
            return self.enter(tenant)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, deque()).append(turn)
        try:
            await asyncio.wait({turn}, timeout=patience)
        except asyncio.CancelledError:
            if turn.done():
                self.leave(tenant)  # the slot came together with the cancellation: it goes to the next
            raise
        finally:
            if not turn.done():
                self._step_out(tenant, turn)
        return turn.done()

    def leave(self, tenant: Hashable) -> None:
        """Give a slot back: to the tenant's next caller in the queue, if there is one."""
        queue = self._queues.get(tenant)
        if queue:
            turn = queue[0]
            self._step_out(tenant, turn)
            turn.set_result(None)
            return
        self._total -= 1
        held = self._held.pop(tenant) - 1
        if held:
            self._held[tenant] = held

    def _step_out(self, tenant: Hashable, turn: asyncio.Future[None]) -> None:
        queue = self._queues[tenant]
        queue.remove(turn)
        if not queue:
            del self._queues[tenant]
