"""What a provider answered: fresh for a while, then last known for an outage.

What denies is kept apart: an outage must not let in whom we know to be out. An answer that denies does not age out as last
known. It makes room for others only where such answers fill more than half of the cache, and never while the provider fails;
meanwhile the cache may grow beyond its bound, to MOST_DENIALS times that.

What is not there is kept apart too, in a room of its own: whoever asks for a million unknown keys pushes out no known one.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import inf
from typing import Final, Generic, TypeVar

from extauthz.model.deadline import Clock
from extauthz.resilience.policy import CachePolicy
from extauthz.resilience.slices import used_up

MOST_DENIALS: Final = 4
"""However long a provider fails, denials take no more than this many times the room of the cache."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

TRIES: Final = 4
"""An answer is loaded ahead of its end at most about so many times, should that fail."""


def never(_value: object = None) -> bool:
    """No."""
    return False


class Entry(Generic[V]):
    """One answer.

    `at` is when it came; `share` is the part of a ttl that holds for it, 0 when it is no longer fresh. From `due` on it should
    be loaded again, where the ttl is the cache's own.
    """

    __slots__ = ("at", "due", "share", "value")

    def __init__(self, value: V, at: float, share: float, due: float) -> None:
        self.value = value
        self.at = at
        self.share = share
        self.due = due


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
        self._negative: OrderedDict[K, Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._permitting) + len(self._denying) + len(self._negative)

    def __contains__(self, key: K) -> bool:
        return key in self._permitting or key in self._denying or key in self._negative

    def fresh(self, key: K, now: float, max_age: float | None = None) -> Entry[V] | None:
        """The fresh answer; None where there is none. `max_age` (seconds) replaces `ttl`, but never lengthens `negative_ttl`."""
        ttl = self._ttl if max_age is None else max_age
        entry = self._permitting.get(key)
        if entry is not None:
            self._permitting.move_to_end(key)
        elif (entry := self._denying.get(key)) is not None:
            self._denying.move_to_end(key)
        elif (entry := self._negative.get(key)) is not None:
            self._negative.move_to_end(key)
            if self._negative_ttl is not None:
                ttl = self._negative_ttl if max_age is None else min(max_age, self._negative_ttl)
        else:
            return None
        return entry if now - entry.at < ttl * entry.share else None

    def ends_soon(self, entry: Entry[V], now: float, max_age: float | None) -> bool:
        """Whether a fresh answer that is `due` should be loaded again now; asked again, not before a little later.

        With `max_age`, its last part is meant, and not that of `ttl`.
        """
        passed = now - entry.at
        if max_age is not None:
            passed *= self._ttl / max_age
        if passed < entry.due - entry.at:
            return False
        entry.due = entry.at + passed + self._ttl * self._policy.refresh / TRIES
        return True

    def last_known(self, key: K, now: float) -> Entry[V] | None:
        """What may stand in for an answer; None where there is nothing, or it is older than `max_stale` and does not deny."""
        entry = self._denying.get(key)
        if entry is not None:
            return entry
        entry = self._permitting.get(key) or self._negative.get(key)
        return entry if entry is not None and now - entry.at < self._policy.max_stale else None

    def put(self, key: K, value: V) -> None:
        """Make `value` the fresh and the last-known answer, as of now."""
        into = self._room_of(value)
        for room in (self._permitting, self._denying, self._negative):
            if room is not into:
                room.pop(key, None)
        into[key] = self._entry(value)
        into.move_to_end(key)
        while len(self._negative) > self._policy.max_negatives:
            self._negative.popitem(last=False)
        while len(self._permitting) + len(self._denying) > self._policy.max_entries and self._evict():
            pass

    def _room_of(self, value: V) -> OrderedDict[K, Entry[V]]:
        if self._denies(value):
            return self._denying
        return self._negative if value is None else self._permitting

    def _entry(self, value: V) -> Entry[V]:
        policy, now = self._policy, self._clock()
        share = 1.0 - policy.jitter * random.random()  # noqa: S311 - spreads load, protects nothing
        ahead = policy.refresh * (1.0 - 0.5 * random.random())  # noqa: S311 - see above
        if policy.refresh <= 0 or (value is None and not policy.refresh_negatives):
            return Entry(value, now, share, inf)
        return Entry(value, now, share, now + self._ttl * share * (1.0 - ahead))

    def keys(self) -> list[K]:
        """The keys of all answers, fresh or last known, in no order: to keep theirs takes ten times as long."""
        return [*dict.__iter__(self._permitting), *dict.__iter__(self._denying), *dict.__iter__(self._negative)]

    async def forget_where(self, such: Callable[[V], bool]) -> int:
        """Forget what there is now and is such, a part in each turn of the loop; how much of it was fresh."""
        now, fresh = self._clock(), 0
        async for part in used_up(self.keys()):
            for key in part:
                entry = self._permitting.get(key) or self._denying.get(key) or self._negative.get(key)
                if entry is not None and entry.at <= now and such(entry.value):
                    fresh += self.fresh(key, now) is not None
                    self.forget(key)
        return fresh

    def rooms(self, max_age: float | None = None) -> list[tuple[OrderedDict[K, Entry[V]], float]]:
        """The answers there are, with the ttl that holds for them by `max_age`: those that deny, that permit, of what is not there.

        `forget_all` leaves the last two as they are to whoever has them.
        """
        ttl, negative_ttl = self._ttl, self._ttl if self._negative_ttl is None else self._negative_ttl
        if max_age is not None:
            ttl, negative_ttl = max_age, max_age if self._negative_ttl is None else min(max_age, self._negative_ttl)
        return [(self._denying, ttl), (self._permitting, ttl), (self._negative, negative_ttl)]

    def forget(self, key: K) -> None:
        """The fresh answer is gone. As last known it stays only where it denies."""
        self._permitting.pop(key, None)
        self._negative.pop(key, None)
        entry = self._denying.get(key)
        if entry is not None:
            entry.share = 0.0

    def forget_all(self) -> None:
        """Every fresh answer is gone. As last known those stay that deny."""
        self._permitting, self._negative = OrderedDict(), OrderedDict()
        for entry in self._denying.values():
            entry.share = 0.0

    def drop(self, key: K) -> None:
        """Nothing is known of it any more, a denial included."""
        for room in (self._permitting, self._denying, self._negative):
            room.pop(key, None)

    def doubt(self, key: K) -> None:
        """The fresh answer is gone, because it may be out of date. As last known it stays, unless it says "nothing there"."""
        self._negative.pop(key, None)
        entry = self._permitting.get(key) or self._denying.get(key)
        if entry is not None:
            entry.share = 0.0

    def doubt_all(self) -> None:
        """Every fresh answer is gone, because it may be out of date. As last known all stay but those that say "nothing there"."""
        self._negative.clear()
        for room in (self._permitting, self._denying):
            for entry in room.values():
                entry.share = 0.0

    def clear(self) -> None:
        """Drop everything."""
        self._permitting.clear()
        self._denying.clear()
        self._negative.clear()

    def _evict(self) -> bool:
        crowded = len(self._denying) > self._policy.max_entries // 2
        flooded = len(self._denying) >= self._policy.max_entries * MOST_DENIALS
        if flooded or ((crowded or not self._permitting) and not self._failing()):
            self._denying.popitem(last=False)
        elif self._permitting:
            self._permitting.popitem(last=False)
        else:
            return False
        return True
