"""A look-up for tests: it has what it is given, knows how often it was asked, and can be cold, slow or down."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

from extauthz.model.deadline import Deadline
from extauthz.model.decision import FallbackReason, Source
from extauthz.ports import Fetched, Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FakeLookup(Generic[K, V]):
    """Implements `ports.Lookup`. A key without a record answers `missing`.

    Args:
        missing: the answer for a key that has no record.

    Attributes:
        records: what the provider has; change it at will. A cached key shows a change only after `forget`.
        queries: the keys that the provider was asked for, in order.
        down: when set, the provider gives no answer.
        hold: when set, a query reads `records`, then waits for this event before it answers.
    """

    def __init__(self, missing: V) -> None:
        self.records: dict[K, V] = {}
        self.queries: list[K] = []
        self.down: FallbackReason | None = None
        self.hold: asyncio.Event | None = None
        self._missing = missing
        self._cache: dict[K, V] = {}

    def peek(self, key: K, max_age: float | None = None) -> Fetched[V] | None:  # noqa: ARG002 - part of the seam
        """What the cache has; ages are all 0 here."""
        return Fetched(value=self._cache[key], source=Source.CACHE) if key in self._cache else None

    async def get(self, key: K, deadline: Deadline, max_age: float | None = None) -> Fetched[V]:  # noqa: ARG002 - part of the seam
        """From the cache, else from `records`.

        Raises:
            Unavailable: `down` is set.
        """
        cached = self.peek(key)
        if cached is not None:
            return cached
        self.queries.append(key)
        value = self.records.get(key, self._missing)
        if self.hold is not None:
            await self.hold.wait()
        if self.down is not None:
            raise Unavailable(self.down)
        self._cache[key] = value
        return Fetched(value=value, source=Source.PROVIDER)

    def put(self, key: K, value: V) -> None:
        """As an administrator's change does: provider and cache have it at once."""
        self.records[key] = self._cache[key] = value

    def forget(self, key: K) -> None:
        """The next look-up asks the provider."""
        self._cache.pop(key, None)

    def clear(self) -> None:
        """Forget every key."""
        self._cache.clear()
