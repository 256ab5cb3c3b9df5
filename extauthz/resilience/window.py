"""What a circuit breaker remembers: its state, and the failures of the last while, on the monotonic clock."""

from collections import deque
from datetime import UTC, datetime, timedelta

import pybreaker

from extauthz.model.deadline import Clock


class SlidingWindow(pybreaker.CircuitBreakerStorage):
    """pybreaker's memory. Every change of state starts a new epoch with an empty window."""

    def __init__(self, window: float, clock: Clock) -> None:
        super().__init__("sliding-window")
        self._window = window
        self._clock = clock
        self._state = pybreaker.STATE_CLOSED
        self._failed_at: deque[float] = deque()
        self._successes = 0
        self.epoch = 0
        self.tripped_by = 0
        self.opened = 0.0

    @property
    def state(self) -> str:
        """One of pybreaker's words."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if self._state == pybreaker.STATE_CLOSED:
            self.tripped_by = self.counter
        self._state = state
        self._failed_at.clear()
        self.epoch += 1

    def increment_counter(self) -> None:
        """A call failed; only while the circuit is closed does that count."""
        if self._state == pybreaker.STATE_CLOSED:
            self._failed_at.append(self._clock())

    def reset_counter(self) -> None:
        """Nothing: pybreaker calls this on every success, and successes do not empty the window."""

    @property
    def counter(self) -> int:
        """Failures within the window."""
        horizon = self._clock() - self._window
        while self._failed_at and self._failed_at[0] < horizon:
            self._failed_at.popleft()
        return len(self._failed_at)

    def increment_success_counter(self) -> None:
        """A call succeeded while the circuit was not closed."""
        self._successes += 1

    def reset_success_counter(self) -> None:
        """Count anew."""
        self._successes = 0

    @property
    def success_counter(self) -> int:
        """Successes while the circuit was not closed."""
        return self._successes

    @property
    def opened_at(self) -> datetime | None:
        """Now, less the monotonic time since: right for whoever compares it with now, however the wall clock was set."""
        if self._state == pybreaker.STATE_CLOSED:
            return None
        return datetime.now(UTC) - timedelta(seconds=self._clock() - self.opened)

    @opened_at.setter
    def opened_at(self, _now: datetime) -> None:
        self.opened = self._clock()
