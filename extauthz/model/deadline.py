"""When the answer is due: an absolute moment on the monotonic clock, handed down instead of a number of seconds."""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""A monotonic clock: seconds from an arbitrary start, never moved by anyone."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which an answer is wanted.

    `at` is on the scale of `clock`, our margin already taken off. `hard_at` is the caller's own moment, after which nobody
    listens any more.
    """

    at: float
    hard_at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock, *, margin: float = 0.0) -> "Deadline":
        """`seconds` from now, less `margin`."""
        hard_at = clock() + seconds
        return cls(hard_at - margin, hard_at, clock)

    def remaining(self) -> float:
        """Seconds left; negative when it has passed."""
        return self.at - self.clock()

    @property
    def gone(self) -> bool:
        """Whether the caller's own moment has passed."""
        return self.clock() >= self.hard_at

    def sooner(self, seconds: float) -> "Deadline":
        """The same deadline, `seconds` earlier (to keep time for what comes after)."""
        return Deadline(self.at - seconds, self.hard_at, self.clock)
