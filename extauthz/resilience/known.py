"""What is known of a key where the provider is not asked: by the cache, and by the memory beyond it."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from extauthz.model.deadline import Clock
from extauthz.model.decision import Source
from extauthz.ports import Fetched, LongMemory
from extauthz.resilience.cache import Cache, Entry
from extauthz.resilience.slices import emptied, used_up
from extauthz.resilience.stats import Cleared

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Known(Generic[K, V]):
    """A cache, and a memory of denials beyond it (None: there is none), which no clearing of the cache touches."""

    def __init__(self, cache: Cache[K, V], memory: LongMemory[K, V] | None, clock: Clock) -> None:
        self._cache = cache
        self._memory = memory
        self._clock = clock

    def learn(self, key: K, value: V) -> None:
        """The provider, or a change, says so now."""
        self._cache.put(key, value)
        if self._memory is not None:
            self._memory.learned(key, value)

    def holds(self, key: K) -> bool:
        """Whether there is an answer, fresh or last known."""
        return key in self._cache or self._recalled(key) is not None

    def last_known(self, key: K) -> Fetched[object] | None:
        """A denial that was learned outside of the cache is newer than what the cache has: all that comes to it is told."""
        recalled = self._recalled(key)
        if recalled is not None:
            return Fetched(value=recalled.value, source=recalled.source, age=recalled.age)
        now = self._clock()
        entry = self._cache.last_known(key, now)
        return None if entry is None else Fetched(value=entry.value, source=Source.STALE, age=now - entry.at)

    def forget_all(self) -> None:
        """Drop every fresh value; as last known those stay that deny."""
        self._cache.forget_all()
        self._doubt()

    def doubt_all(self) -> None:
        """Drop every fresh value; as last known they stay."""
        self._cache.doubt_all()
        self._doubt()

    def clear(self, key: K, max_age: float | None) -> Cleared:
        """Drop the fresh value of one key; as last known it stays where it denies."""
        fresh = self._cache.fresh(key, self._clock(), max_age)
        self._cache.forget(key)
        return Cleared(cleared=int(fresh is not None), kept=int(self.holds(key)))

    async def clear_all(self, max_age: float | None) -> Cleared:
        """Drop every fresh value, at once; counting them takes some turns of the loop."""
        now = self._clock()
        (denying, good_for), *others = self._cache.rooms(max_age)
        cleared = _fresh(denying.values(), good_for, now)
        self.forget_all()
        kept, left = 0 if self._memory is None else len(self._memory), self._cache.keys()
        for room, ttl in others:
            async for entries in emptied(room):
                cleared += _fresh(entries, ttl, now)
        async for keys in used_up(left):
            kept += sum(self._recalled(key) is None for key in keys)
        return Cleared(cleared=cleared, kept=kept)

    def _doubt(self) -> None:
        if self._memory is not None:
            self._memory.doubt()

    def _recalled(self, key: K) -> Fetched[V] | None:
        return None if self._memory is None else self._memory.recall(key)


def _fresh(entries: Iterable[Entry[V]], ttl: float, now: float) -> int:
    """How many of them are fresh."""
    return sum(now - entry.at < ttl * entry.share for entry in entries)
