"""Idempotency keys of reported usage, kept in process."""

from typing import Final, NamedTuple

MOST_KEYS: Final = 250_000
"""How many are kept; about 250 bytes each."""


class UsageKey(NamedTuple):
    """A report of usage: for which cost (micro-units) the tenant used the key, and on which UTC day (days since 1970)."""

    tenant_id: str
    key: str
    cost: int
    day: int


class UsageKeys:
    """The keys of today and of the day before, at most `most`; then the oldest goes."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._kept: dict[tuple[str, str], UsageKey] = {}  # in the order in which they came

    def __len__(self) -> int:
        return len(self._kept)

    def cost_of(self, tenant_id: str, key: str, today: int) -> int | None:
        """The cost for which the tenant used the key, None where it did not or that is over."""
        used = self._kept.get((tenant_id, key))
        return None if used is None or abs(used.day - today) > 1 else used.cost

    def add(self, used: UsageKey) -> None:
        """Keep a key, and look at two of the oldest, so that those that are over go without a long pause."""
        name = (used.tenant_id, used.key)
        self._kept.pop(name, None)
        self._kept[name] = used
        for _ in range(2):
            oldest = next(iter(self._kept))
            if len(self._kept) > self._most or self._kept[oldest].day < used.day - 1:
                del self._kept[oldest]

    def all(self) -> list[UsageKey]:
        """Every key, oldest first."""
        return list(self._kept.values())
