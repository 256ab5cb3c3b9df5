"""What guards tell of themselves, and of what was done to them."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What clearing a cache did: so many answers that were fresh are so no more, and so many denials stay as last known.

    Those that stay were fresh or not; some may have come from a memory beyond the cache.
    """

    cleared: int
    kept: int = 0
