"""Idempotency keys of reported usage, kept in process."""

import logging
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

MOST_KEYS: Final = 250_000
"""How many are kept, of all tenants together; about 350 bytes each."""


class UsageKey(NamedTuple):
    """A report of usage: for which cost (micro-units) the tenant used the key, and on which UTC day (days since 1970)."""

    tenant_id: str
    key: str
    cost: int
    day: int


class UsageKeys:
    """The keys of today and of the day before, at most `most`; then the oldest goes of the tenant that has most.

    So a tenant that floods loses its own: nobody loses a key while another tenant has more of them, whatever the others do.
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._kept: dict[tuple[str, str], UsageKey] = {}  # in the order in which they came
        self._of: dict[str, dict[str, None]] = {}  # the keys of each tenant, in the same order
        self._ranks = _Ranks()
        self._told_day = -1

    def __len__(self) -> int:
        return len(self._kept)

    def cost_of(self, tenant_id: str, key: str, today: int) -> int | None:
        """The cost for which the tenant used the key, None where it did not or that is over."""
        used = self._kept.get((tenant_id, key))
        return None if used is None or abs(used.day - today) > 1 else used.cost

    def add(self, used: UsageKey) -> None:
        """Keep a key, and look at two of the oldest, so that those that are over go without a long pause."""
        if (used.tenant_id, used.key) in self._kept:
            self._drop(used.tenant_id, used.key)
        self._kept[used.tenant_id, used.key] = used
        keys = self._of.setdefault(used.tenant_id, {})
        keys[used.key] = None
        self._ranks.move(used.tenant_id, len(keys) - 1, len(keys))
        for _ in range(2):
            tenant_id, key = next(iter(self._kept))
            if self._kept[tenant_id, key].day < used.day - 1:
                self._drop(tenant_id, key)
        if len(self._kept) > self._most:
            self._make_room(used.day)

    def all(self) -> list[UsageKey]:
        """Every key, oldest first."""
        return list(self._kept.values())

    def _make_room(self, day: int) -> None:
        tenant_id = self._ranks.first()
        self._drop(tenant_id, next(iter(self._of[tenant_id])))
        if self._told_day != day:
            self._told_day = day
            log.warning(
                "more than %d idempotency keys within two days: the oldest of tenant %s, which has most, are forgotten early,"
                " and a report that is sent again under one of them counts twice",
                self._most,
                tenant_id,
            )

    def _drop(self, tenant_id: str, key: str) -> None:
        del self._kept[tenant_id, key]
        keys = self._of[tenant_id]
        del keys[key]
        self._ranks.move(tenant_id, len(keys) + 1, len(keys))
        if not keys:
            del self._of[tenant_id]


class _Ranks:
    """Who has how many, and who has most, without looking through all: numbers move by one."""

    def __init__(self) -> None:
        self._by_count: dict[int, dict[str, None]] = {}
        self._most = 0

    def move(self, tenant_id: str, before: int, after: int) -> None:
        """A tenant that had `before` has `after`, one more or one less; who has none is not kept."""
        if before:
            peers = self._by_count[before]
            del peers[tenant_id]
            if not peers:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[tenant_id] = None
        if after > self._most or (before == self._most and before not in self._by_count):
            self._most = after

    def first(self) -> str:
        """One of those that have most."""
        return next(iter(self._by_count[self._most]))
