"""What is known of a key where the provider is not asked: by the cache, and by the memory beyond it."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from extauthz.model.deadline import Clock
from extauthz.model.decision import Source
from extauthz.ports import Fetched, LongMemory
from extauthz.resilience.cache import Cache

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

    def _doubt(self) -> None:
        if self._memory is not None:
            self._memory.doubt()

    def _recalled(self, key: K) -> Fetched[V] | None:
        return None if self._memory is None else self._memory.recall(key)
