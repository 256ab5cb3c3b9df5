"""The event bus: emitting never blocks and never raises (OBSERVE-004); one task writes batches behind it."""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.ports import Clock, EventStore
from extauthz.resilience.breaker import Breaker
from extauthz.telemetry.events_circuit import EventCircuit
from extauthz.telemetry.events_dead import WRITE_TIMEOUT, DeadLetters
from extauthz.telemetry.events_delivery import Delivery
from extauthz.telemetry.events_queue import EventQueue

SIZE_EVERY: Final = 30.0
"""Seconds between two questions for the store's size."""

END_OF_TIME: Final = 253_402_300_800.0
"""The first moment of the year 10000, which RFC 3339 cannot write."""

_SIZE_TIMEOUT: Final = 5.0
_log = structlog.get_logger(__name__)


class BusObserver(Protocol):
    """Told where every event goes. Reasons are metric labels."""

    def accepted(self, event: Event) -> None:
        """An event was emitted and is complete."""

    def refused(self, reason: str) -> None:
        """An event was not accepted: a required field is missing (`invalid`) or the bus is `closed`."""

    def stored(self, count: int, seconds: float) -> None:
        """A batch was stored."""

    def failed(self, count: int, reason: str, seconds: float) -> None:
        """A batch was not stored: `timeout` or `error`."""

    def dropped(self, count: int, reason: str) -> None:
        """Events were lost: `sampled`, `queue_full` or `dead_letter`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """Where the events of this process are. `emitted` is always the sum of the others."""

    emitted: int
    stored: int
    queued: int
    dead_lettered: int
    dropped: int


class EventBus:
    """An `EventSink` in front of an `EventStore`.

    `max_queue` events wait at most; `batch_size` go to the store at once, `linger` seconds after the first of them, in
    `emit_timeout` seconds. A batch that the store does not take goes to `dead_letters` (None: it is lost, counted), and while
    the circuit of `breaker` is open without being tried (None: there is no circuit). To be used on one event loop only.
    """

    def __init__(
        self,
        *,
        store: EventStore,
        observer: BusObserver,
        clock: Clock,
        dead_letters: DeadLetters | None = None,
        max_queue: int = 100_000,
        batch_size: int = 500,
        linger: float = 0.02,
        emit_timeout: float = 0.05,
        breaker: Breaker | None = None,
    ) -> None:
        self._store = store
        self._observer = observer
        self._clock = clock
        self._dead_letters = dead_letters
        self._queue = EventQueue(max_queue)
        self._batch_size = batch_size
        self._linger = linger
        self._circuit = None if breaker is None else EventCircuit(breaker, store.size_bytes, emit_timeout)
        self._delivery = Delivery(
            store=store,
            observer=observer,
            clock=clock,
            dead_letters=dead_letters,
            timeout=emit_timeout,
            circuit=self._circuit,
        )
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._emitted = 0
        self._dropped = 0
        self._give_up_at = math.inf
        self._closed = False
        self._store_size = 0

    async def start(self) -> None:
        """Begin to write."""
        if self._dead_letters is not None:
            await self._dead_letters.start()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch_size())]

    def emit(self, event: Event) -> None:
        """Queue an event. One without a required field is refused and counted (OBSERVE-003)."""
        try:
            self._emit(event)
        except Exception as error:  # noqa: BLE001 - OBSERVE-004: whatever goes wrong here, the caller goes on
            with suppress(Exception):
                self._observer.refused("invalid")
                _log.debug("event not accepted", error=type(error).__name__)

    async def close(self, within: float = 2.0) -> None:
        """Store what is queued within that many seconds; what is left then becomes dead letters. Nothing more is accepted."""
        self._closed = True
        self._give_up_at = self._clock() + within
        self._wake.set()
        if self._tasks:
            writer, watcher = self._tasks
            watcher.cancel()
            await asyncio.wait({writer}, timeout=within + 2 * WRITE_TIMEOUT)
            writer.cancel()
        if self._circuit is not None:
            self._circuit.close()
        if self._dead_letters is not None:
            self._dead_letters.close()

    def counts(self) -> EventCounts:
        """Where the events are now."""
        delivery = self._delivery
        return EventCounts(
            emitted=self._emitted,
            stored=delivery.stored,
            queued=self.queue_depth(),
            dead_lettered=delivery.dead_lettered,
            dropped=self._dropped + delivery.dropped,
        )

    def queue_depth(self) -> int:
        """Events that wait, those on their way to the store included."""
        return len(self._queue) + self._delivery.in_flight

    def dead_letter_size(self) -> int:
        """Events in the dead-letter file, those of earlier runs included."""
        return 0 if self._dead_letters is None else self._dead_letters.size

    def store_size(self) -> int:
        """What the store occupied when it was last asked, in bytes."""
        return self._store_size

    def _emit(self, event: Event) -> None:
        if self._closed or not _is_complete(event):
            self._observer.refused("closed" if self._closed else "invalid")
            return
        self._emitted += 1
        lost = self._queue.offer(event)
        self._dropped += lost is not None
        self._wake.set()
        self._observer.accepted(event)
        if lost is not None:
            self._observer.dropped(1, lost)

    async def _write(self) -> None:
        while not self._closed or len(self._queue):
            await self._wake.wait()
            self._wake.clear()
            if not self._closed:
                await asyncio.sleep(self._linger)
            while batch := self._queue.take(self._batch_size):
                await self._deliver(batch)

    async def _deliver(self, batch: list[Event]) -> None:
        try:
            await self._delivery.deliver(batch, give_up=self._clock() >= self._give_up_at)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the only task that writes
            _log.error("delivery of events went wrong", error=type(error).__name__, events=len(batch))

    async def _watch_size(self) -> None:
        while True:
            asked = asyncio.ensure_future(self._store.size_bytes())
            done, _ = await asyncio.wait({asked}, timeout=_SIZE_TIMEOUT)
            if not done:
                asked.cancel()  # not awaited: a driver may not listen
            elif asked.exception() is None:
                self._store_size = asked.result()
            await asyncio.sleep(SIZE_EVERY)


def _is_complete(event: Event) -> bool:
    """Whether every required field is there, whatever type checkers were told."""
    return all(
        (
            event.event_id and event.tenant_id and event.actor.id and event.actor.type,
            isinstance(event.type, EventType),
            isinstance(event.source, EventSource),
            isinstance(event.severity, Severity),
            0 <= event.timestamp < END_OF_TIME,
        )
    )
