"""What an operator can set for one provider. All times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """The circuit opens at `failures` failures within `window`, successes in between or not, and stays open for `reset`."""

    failures: int
    window: float
    reset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """How long an answer is good for, counted from when it was loaded.

    Up to `ttl` it is fresh. Up to `max_stale` (0: never) it stands in while the provider fails. `negative_ttl` is the ttl of
    the answer None ("no such tenant"); None means `ttl`. At most `max_entries` answers are kept, least recently used ones go
    first. Answers of None have a room of their own, `max_negatives`: asking for what is not there pushes out nothing that is.
    `jitter` is the largest share of a ttl that is taken off at random, so that what was loaded together is not asked for
    together again; 0 makes the ttl exact.

    In about the last `refresh` of its ttl, as a share of it, an answer that is asked for is loaded again ahead of its end; 0:
    never. Answers of None only with `refresh_negatives`, for a provider to which None is an answer like any other.
    """

    ttl: float
    max_stale: float = 0.0
    negative_ttl: float | None = None
    max_entries: int = 100_000
    max_negatives: int = 10_000
    jitter: float = 0.05
    refresh: float = 0.2
    refresh_negatives: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardPolicy:
    """How one provider is looked things up in.

    `timeout` is the provider's own deadline. `max_in_flight` bounds the loads under way at once, a quarter of it those of one
    tenant; None means no bound, for embedded providers.
    """

    timeout: float
    cache: CachePolicy
    max_in_flight: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePolicy:
    """How the protection provider is charged: `timeout` and `max_in_flight` as in `GuardPolicy`."""

    timeout: float
    max_in_flight: int | None = 64
