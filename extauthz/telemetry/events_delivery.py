"""Brings one batch of events to the store, or else to the dead letters; either way in bounded time."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from extauthz.errors import ProviderTimeout
from extauthz.model.event import Event
from extauthz.ports import Clock, EventStore
from extauthz.telemetry.events_circuit import EventCircuit
from extauthz.telemetry.events_dead import DeadLetters

MAX_ABANDONED: Final = 8
"""Calls that may hang in a frozen store at once; while they do, batches go to the dead letters without another try."""

_log = structlog.get_logger(__name__)


class DeliveryObserver(Protocol):
    """Told how deliveries end."""

    def stored(self, count: int, seconds: float) -> None:
        """A batch was stored."""

    def failed(self, count: int, reason: str, seconds: float) -> None:
        """A batch was not stored: `timeout`, `error`, or `circuit_open` where it was not tried."""

    def dropped(self, count: int, reason: str) -> None:
        """Events were lost: `dead_letter`."""


class Delivery:
    """Counts what became of each event: `stored`, `dead_lettered`, `dropped`, or still `in_flight`.

    `circuit` None: there is none, each batch is tried.
    """

    def __init__(
        self,
        *,
        store: EventStore,
        observer: DeliveryObserver,
        clock: Clock,
        dead_letters: DeadLetters | None,
        timeout: float,
        circuit: EventCircuit | None = None,
    ) -> None:
        self._store = store
        self._observer = observer
        self._clock = clock
        self._dead_letters = dead_letters
        self._timeout = timeout
        self._circuit = circuit
        self._abandoned: set[asyncio.Task[None]] = set()
        self._failing = False
        self.stored = 0
        self.dead_lettered = 0
        self.dropped = 0
        self.in_flight = 0

    async def deliver(self, batch: Sequence[Event], *, give_up: bool = False) -> None:
        """Deliver one batch; with `give_up` straight to the dead letters. Never raises."""
        self.in_flight = len(batch)
        started = self._clock()
        reason = "timeout" if give_up else await self._try(batch)
        seconds = self._clock() - started
        buried = 0 if reason is None else await self._bury(batch)
        # No await from here on, so that the sums agree whenever anybody looks.
        self.in_flight = 0
        if reason is None:
            self.stored += len(batch)
            self._observer.stored(len(batch), seconds)
        else:
            self._failed(len(batch), buried, reason, seconds)
        self._tell_change(reason)

    async def _try(self, batch: Sequence[Event]) -> str | None:
        """None when it was stored, else why not."""
        if self._circuit is None:
            return _reason(await self._call(batch))
        permit = self._circuit.permit()
        if permit is None:
            return "circuit_open"
        try:
            error = await self._call(batch)
            permit.succeeded() if error is None else permit.failed(error)
        finally:
            permit.released()
        return _reason(error)

    async def _call(self, batch: Sequence[Event]) -> BaseException | None:
        """What went wrong, None when it was stored.

        The call is a task of its own and is abandoned at the deadline, not awaited: a driver need not listen to cancellation.
        """
        if len(self._abandoned) >= MAX_ABANDONED:
            return ProviderTimeout()
        call = asyncio.create_task(self._append(batch))
        done, _ = await asyncio.wait({call}, timeout=self._timeout)
        if not done:
            self._abandon(call)
            return ProviderTimeout()
        return asyncio.CancelledError() if call.cancelled() else call.exception()

    async def _append(self, batch: Sequence[Event]) -> None:
        await self._store.append(batch)

    def _abandon(self, call: asyncio.Task[None]) -> None:
        self._abandoned.add(call)
        call.add_done_callback(self._ended_late)
        call.cancel()

    def _ended_late(self, call: asyncio.Task[None]) -> None:
        """What came of it does not matter any more, but asyncio wants an exception to be seen."""
        self._abandoned.discard(call)
        if not call.cancelled():
            call.exception()

    async def _bury(self, batch: Sequence[Event]) -> int:
        return 0 if self._dead_letters is None else await self._dead_letters.write(batch)

    def _failed(self, count: int, buried: int, reason: str, seconds: float) -> None:
        self.dead_lettered += buried
        self.dropped += count - buried
        self._observer.failed(count, reason, seconds)
        if buried < count:
            self._observer.dropped(count - buried, "dead_letter")

    def _tell_change(self, reason: str | None) -> None:
        """One line when the store begins to fail and one when it is back, however many batches there are between."""
        if self._failing == (reason is not None):
            return
        self._failing = reason is not None
        if reason is not None:
            _log.warning("event store does not take events", reason=reason)
        else:
            _log.info("event store takes events again", dead_lettered=self.dead_lettered, dropped=self.dropped)


def _reason(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return "timeout" if isinstance(error, ProviderTimeout) else "error"
