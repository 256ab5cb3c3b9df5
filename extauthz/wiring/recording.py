"""The event log: a bus in front of the store, or nothing for `none:`."""

import time
from contextlib import AsyncExitStack
from pathlib import Path

from extauthz.config import EventsConfig
from extauthz.model.event import Event
from extauthz.ports import EventSink, EventStore
from extauthz.telemetry.events import EventBus
from extauthz.telemetry.events_dead import DeadLetters
from extauthz.telemetry.metrics import Metrics
from extauthz.wiring.circuits import Circuits


class NoEvents:
    """The sink of `none:`."""

    def emit(self, event: Event) -> None:
        """Forget it."""


async def start_events(
    config: EventsConfig, store: EventStore | None, circuits: Circuits, metrics: Metrics, running: AsyncExitStack
) -> EventSink:
    """Begin to record; `running` flushes and ends it."""
    if store is None:
        return NoEvents()
    metrics.events.provider = circuits.watches["events"]
    bus = EventBus(
        store=store,
        observer=metrics.events,
        clock=time.monotonic,
        dead_letters=DeadLetters(Path(config.dead_letter)),
        max_queue=config.max_queue,
        emit_timeout=config.emit_timeout,
        breaker=circuits.breakers["events"],
    )
    metrics.events.follow(queue_depth=bus.queue_depth, dead_letters=bus.dead_letter_size, store_size=bus.store_size)
    await bus.start()
    running.push_async_callback(bus.close)
    return bus
