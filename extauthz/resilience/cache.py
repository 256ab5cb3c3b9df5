"""What a provider answered: fresh for a while, then last known for an outage.

What denies is kept apart: an outage must not let in whom we know to be out. An answer that denies does not age out as last
known. It makes room for others only where such answers fill more than half of the cache, and never while the provider fails;
meanwhile the cache may grow beyond its bound, by what administrators put into it.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from extauthz.model.deadline import Clock
from extauthz.resilience.policy import CachePolicy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def never(_value: object = None) -> bool:
    """No."""
    return False


class Entry(Generic[V]):
    """One answer. `at` is when it came; `share` is the part of a ttl that holds for it, 0 when it is no longer fresh."""

    __slots__ = ("at", "share", "value")

    def __init__(self, value: V, at: float, share: float) -> None:
        self.value = value
        self.at = at
        self.share = share


class Cache(Generic[K, V]):
    """Answers by key, None being one too. It never waits and never asks anybody.

    `denies` tells which answers deny; `failing` tells whether the provider fails now.
    """

    def __init__(
        self,
        policy: CachePolicy,
        clock: Clock,
        *,
        denies: Callable[[V], bool] = never,
        failing: Callable[[], bool] = never,
    ) -> None:
        self._policy = policy
        self._ttl = policy.ttl
        self._negative_ttl = policy.negative_ttl
        self._clock = clock
        self._denies = denies
        self._failing = failing
        self._permitting: OrderedDict[K, Entry[V]] = OrderedDict()
        self._denying: OrderedDict[K, Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._permitting) + len(self._denying)

    def __contains__(self, key: K) -> bool:
        return key in self._permitting or key in self._denying

    def fresh(self, key: K, now: float, max_age: float | None = None) -> Entry[V] | None:
        """The fresh answer; None where there is none. `max_age` (seconds) replaces `ttl`, but never lengthens `negative_ttl`."""
        entry = self._permitting.get(key)
        if entry is not None:
            self._permitting.move_to_end(key)
        else:
            entry = self._denying.get(key)
            if entry is None:
                return None
            self._denying.move_to_end(key)
        ttl = self._ttl if max_age is None else max_age
        if entry.value is None and self._negative_ttl is not None:
            ttl = self._negative_ttl if max_age is None else min(max_age, self._negative_ttl)
        return entry if now - entry.at < ttl * entry.share else None

    def last_known(self, key: K, now: float) -> Entry[V] | None:
        """What may stand in for an answer; None where there is nothing, or it is older than `max_stale` and permits."""
        entry = self._denying.get(key)
        if entry is not None:
            return entry
        entry = self._permitting.get(key)
        return entry if entry is not None and now - entry.at < self._policy.max_stale else None

    def put(self, key: K, value: V) -> None:
        """Make `value` the fresh and the last-known answer, as of now."""
        share = 1.0 - self._policy.jitter * random.random()  # noqa: S311 - spreads load, protects nothing
        into, other = self._permitting, self._denying
        if self._denies(value):
            into, other = other, into
        other.pop(key, None)
        into[key] = Entry(value, self._clock(), share)
        into.move_to_end(key)
        while len(self) > self._policy.max_entries and self._evict():
            pass

    def forget(self, key: K) -> None:
        """The fresh answer is gone. As last known it stays only where it denies."""
        self._permitting.pop(key, None)
        entry = self._denying.get(key)
        if entry is not None:
            entry.share = 0.0

    def forget_all(self) -> None:
        """Every fresh answer is gone. As last known those stay that deny."""
        self._permitting.clear()
        for entry in self._denying.values():
            entry.share = 0.0

    def clear(self) -> None:
        """Drop everything."""
        self._permitting.clear()
        self._denying.clear()

    def _evict(self) -> bool:
        crowded = len(self._denying) > self._policy.max_entries // 2
        if (crowded or not self._permitting) and not self._failing():
            self._denying.popitem(last=False)
        elif self._permitting:
            self._permitting.popitem(last=False)
        else:
            return False
        return True
