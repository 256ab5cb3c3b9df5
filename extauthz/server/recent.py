"""A bounded memory of what was used lately."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps the last `generation` different keys used, and never more than twice as many.

    Two dicts take turns, which costs a hit one look-up; an exact order of use would cost it a removal and an insertion.
    """

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def get(self, key: K) -> V | None:
        """The value kept under `key`, None where there is none any more."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep `value`."""
        if len(self._young) >= self._generation and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = value
