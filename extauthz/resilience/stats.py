"""What guards tell of themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardStats:
    """A guard as an operator sees it: entries cached, loads in flight, and look-ups by what the cache said since the start."""

    operation: str
    entries: int
    in_flight: int
    hits: int
    misses: int
    stale: int
