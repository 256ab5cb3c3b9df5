"""What really happened in a world of tenants and providers, kept beside the service by whoever made it happen.

Nothing here knows how the service works. Times are seconds of the world's own clock; everything is told in the order in which
it happens, and asked about intervals whose ends belong to them.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

V = TypeVar("V")

EPSILON: Final = 1e-6
"""Seconds within which two moments may be one, however floats are rounded."""


class Wrong(AssertionError):
    """Something happened that the rules do not permit."""


class Nothing:
    """No value was ever told, or it was told to be forgotten."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = Nothing()


class History(Generic[V]):
    """A value that changes at known moments."""

    def __init__(self, value: V, at: float = 0.0) -> None:
        self._times = [at]
        self._values = [value]

    @property
    def now(self) -> V:
        """The value of now."""
        return self._values[-1]

    @property
    def since(self) -> float:
        """When it became that."""
        return self._times[-1]

    def set(self, now: float, value: V) -> None:
        """From now on it is `value`."""
        self._times.append(now)
        self._values.append(value)

    def during(self, begin: float, end: float) -> list[V]:
        """Every value that held at some moment of the interval, oldest first."""
        first = max(0, bisect_right(self._times, begin - EPSILON) - 1)
        last = bisect_right(self._times, end + EPSILON)
        return self._values[first:last]


@dataclass(frozen=True, slots=True)
class Told:
    """What this process knows of a key, and since when. `value` NOTHING: nothing."""

    value: Any
    at: float


UNTOLD: Final = Told(NOTHING, 0.0)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is configured of one provider: the column of spec section 4. `size` None: no bulkhead."""

    timeout: float
    failures: int
    window: float
    reset: float
    ttl: float = 0.0
    max_stale: float = 0.0
    size: int | None = 64
