"""What is counted of the event log: where every event that was emitted has gone."""

from collections.abc import Callable
from typing import Final

from extauthz.model.event import Event, EventSource, EventType
from extauthz.ports import ProviderObserver
from extauthz.telemetry.metrics_family import Counters, Gauges, Histograms

FAILURES: Final = ("invalid", "closed", "timeout", "error", "circuit_open")
_APPEND: Final = "append"
DROPS: Final = ("sampled", "queue_full", "retention", "dead_letter")


class EventMetrics:
    """Told by the event bus. `provider` is told of the event store's calls, which count beside those of the other providers."""

    def __init__(self, provider: ProviderObserver) -> None:
        self.provider = provider
        self.attempts = Counters(
            "observability_emit_attempts_total",
            "Events whose way to the store ended: true stored, false not.",
            ("success",),
            [("true",), ("false",)],
        )
        self.events = Counters(
            "observability_events_total",
            "Events emitted.",
            ("type", "source"),
            [(event_type, source) for event_type in EventType for source in EventSource],
        )
        self.failures = Counters(
            "observability_emit_failures_total",
            "Events that did not reach the store; invalid and closed: not accepted at all, others went to the dead letters.",
            ("reason",),
            [(reason,) for reason in FAILURES],
        )
        self.dropped_events = Counters(
            "observability_events_dropped_total",
            "Events lost on purpose; dead_letter: its file was full or could not be written.",
            ("reason",),
            [(reason,) for reason in DROPS],
        )
        self._declare_sizes()
        self.families = tuple(
            family for family in vars(self).values() if isinstance(family, Counters | Histograms | Gauges)
        )

    def _declare_sizes(self) -> None:
        self.latency = Histograms("observability_emit_latency_seconds", "Time the event store took for a batch.")
        self.store_size = Gauges("observability_store_size_bytes", "What the event store occupies.")
        self.queue_depth = Gauges("observability_queue_depth", "Events waiting to be stored.")
        self.dead_letters = Gauges("observability_dead_letter_size", "Events in the dead-letter file.")

    def follow(
        self, *, queue_depth: Callable[[], float], dead_letters: Callable[[], float], store_size: Callable[[], float]
    ) -> None:
        """Where the three sizes are read at scrape time: events, events, bytes."""
        self.queue_depth.follow(queue_depth)
        self.dead_letters.follow(dead_letters)
        self.store_size.follow(store_size)

    def accepted(self, event: Event) -> None:
        """An event was emitted and is complete."""
        self.events.children[event.type, event.source].value += 1

    def refused(self, reason: str) -> None:
        """An event was not accepted: a required field is missing (`invalid`) or the bus is `closed`."""
        self.attempts.of("false").value += 1
        self.failures.of(reason).value += 1

    def stored(self, count: int, seconds: float) -> None:
        """A batch of `count` events was stored."""
        self.attempts.of("true").value += count
        self._batch(seconds, answered=True)

    def failed(self, count: int, reason: str, seconds: float) -> None:
        """A batch of `count` events was not stored: `timeout`, `error`, or `circuit_open` where it was not tried."""
        self.attempts.of("false").value += count
        self.failures.of(reason).value += count
        if reason == "circuit_open":
            self.provider.refused(_APPEND)
        else:
            self._batch(seconds, answered=False)

    def dropped(self, count: int, reason: str) -> None:
        """Events were lost: `sampled`, `queue_full`, `retention` or `dead_letter`."""
        self.dropped_events.of(reason).value += count

    def _batch(self, seconds: float, *, answered: bool) -> None:
        self.latency.of().observe(seconds)
        self.provider.called(_APPEND, seconds, answered=answered)
