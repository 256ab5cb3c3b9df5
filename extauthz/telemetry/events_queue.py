"""The bounded queue in front of the event store: what matters least goes first when there is no room."""

from collections import deque
from typing import Final

from extauthz.model.event import Event, Severity

SAMPLED: Final = "sampled"
QUEUE_FULL: Final = "queue_full"

_SAMPLE_ABOVE: Final = 0.8
_SAMPLE_ONE_IN: Final = 10
_LEAST_FIRST: Final = (Severity.INFO, Severity.WARN, Severity.ERROR)


class EventQueue:
    """At most `max_size` events. Above 80 % full one INFO in ten is let in; full, the oldest of the least severe goes."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._sample_from = max_size * _SAMPLE_ABOVE
        self._lanes = {severity: deque[Event]() for severity in _LEAST_FIRST}
        self._size = 0
        self._crowded_infos = 0

    def __len__(self) -> int:
        return self._size

    def offer(self, event: Event) -> str | None:
        """Add an event. Where one is lost for it, this one or an older one, the reason; else None."""
        severity = event.severity
        if severity is Severity.INFO and self._size > self._sample_from and not self._next_is_sample():
            return SAMPLED
        lost = None
        if self._size >= self._max_size:
            lost = QUEUE_FULL
            if not self._make_room(severity):
                return lost
        self._lanes[severity].append(event)
        self._size += 1
        return lost

    def take(self, limit: int) -> list[Event]:
        """Remove and return at most `limit` events, the most severe first, those of one severity oldest first."""
        taken: list[Event] = []
        for severity in reversed(_LEAST_FIRST):
            lane = self._lanes[severity]
            while lane and len(taken) < limit:
                taken.append(lane.popleft())
        self._size -= len(taken)
        return taken

    def _next_is_sample(self) -> bool:
        self._crowded_infos += 1
        return self._crowded_infos % _SAMPLE_ONE_IN == 0

    def _make_room(self, severity: Severity) -> bool:
        """Drop the oldest of the least severe, unless all that is there matters more than `severity`."""
        for lesser in _LEAST_FIRST[: _LEAST_FIRST.index(severity) + 1]:
            if self._lanes[lesser]:
                self._lanes[lesser].popleft()
                self._size -= 1
                return True
        return False
