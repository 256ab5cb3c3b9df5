"""The tenants that are not ACTIVE: what an outage must not let in, whatever was evicted, and after a restart too."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import structlog

from extauthz.model.deadline import Clock
from extauthz.model.decision import Source
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState
from extauthz.ports import Fetched

SLICE: Final = 1000
"""Tenants looked at in one turn of the event loop."""

_log = structlog.stdlib.get_logger(__name__)


class Blocked(NamedTuple):
    """A tenant that is not ACTIVE; `at` is when that was last heard of it, on the set's clock."""

    record: LifecycleRecord
    at: float


def nobody_told(_tenant_id: str) -> None:
    """For a set beside which nothing is kept of its tenants."""


class BlockedTenants:
    """Who is not ACTIVE as far as it was learned, by whatever way; implements `ports.LongMemory`.

    A tenant leaves the set when it is said to be ACTIVE, not when it is said not to exist: that would be no better. Above
    `most` those go first of which only a list told, then those of which nothing was heard for the longest time; a list never
    pushes anybody out. The log says once that there are too many. `clock` is monotonic.

    `left` is called with every tenant that leaves because of a list. Nobody else hears of those: what leads to a list is that
    changes did not reach this process, or were made by hand.
    """

    def __init__(self, *, clock: Clock, most: int, left: Callable[[str], None] = nobody_told) -> None:
        self.changes = 0
        """Moves on when somebody enters the set, leaves it or changes state, and not when a state is merely heard again."""
        self.doubted = asyncio.Event()
        """Changes may have been missed, so that the set may not be right."""
        self._clock = clock
        self._most = most
        self._left = left
        self._known: OrderedDict[str, Blocked] = OrderedDict()
        self._listeners: list[Callable[[], None]] = []
        self._sweep: Sweep | None = None
        self._overflown = False

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, tenant_id: str) -> bool:
        return tenant_id in self._known

    def learned(self, key: str, value: LifecycleRecord | None) -> None:
        """The provider, or a change, says so now."""
        if self._sweep is not None:
            self._sweep.newer.add(key)
        if value is not None:
            self._set(key, value, self._clock())

    def recall(self, key: str) -> Fetched[LifecycleRecord | None] | None:
        """What was learned last of a tenant that is not ACTIVE; None of everybody else."""
        known = self._known.get(key)
        if known is None:
            return None
        return Fetched(value=known.record, source=Source.STALE, age=max(0.0, self._clock() - known.at))

    def doubt(self) -> None:
        """Changes may have been missed."""
        self.doubted.set()

    def when_one_leaves(self, left: Callable[[str], None]) -> None:
        """From now on call `left` with every tenant that leaves because of a list."""
        self._left = left

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change."""
        self._listeners.append(listener)

    def restore(self, kept: Iterable[tuple[str, LifecycleRecord, float]]) -> None:
        """Take over what an earlier process knew: tenant, record, age in seconds. What was learned here is newer."""
        now = self._clock()
        for tenant_id, record, age in kept:
            if tenant_id not in self._known:
                self._set(tenant_id, record, now - age)

    def kept(self) -> Sequence[tuple[str, Blocked]]:
        """Everybody in the set, those first who go first where there are too many."""
        return list(self._known.items())

    @contextmanager
    def sweeping(self) -> Iterator["Sweep"]:
        """Compare the set with all that a store has; one sweep at a time."""
        self._sweep = Sweep(self, self._clock())
        try:
            yield self._sweep
        finally:
            self._sweep = None

    def _set(self, tenant_id: str, record: LifecycleRecord, at: float) -> None:
        before = self._known.pop(tenant_id, None)
        if record.state is not LifecycleState.ACTIVE:
            self._known[tenant_id] = Blocked(record, at)
            self._make_room()
        after = self._known.get(tenant_id)
        if (before and before.record) != (after and after.record):
            self._changed()

    def _list(self, tenant_id: str, record: LifecycleRecord, at: float) -> None:
        """A list has it: no sign of use, so that it changes nobody's place."""
        before = self._known.get(tenant_id)
        if before is None:
            if len(self._known) >= self._most:
                self._warn()
                return
            self._known[tenant_id] = Blocked(record, at)
            self._known.move_to_end(tenant_id, last=False)
        else:
            self._known[tenant_id] = Blocked(record, at)
        if before is None or before.record != record:
            self._changed()

    def _drop(self, tenant_id: str) -> None:
        if self._known.pop(tenant_id, None) is not None:
            self._changed()
            self._left(tenant_id)

    def _make_room(self) -> None:
        while len(self._known) > self._most:
            self._known.popitem(last=False)
            self._warn()

    def _warn(self) -> None:
        if not self._overflown:
            self._overflown = True
            _log.warning(
                "blocked_tenants_too_many",
                most=self._most,
                detail="not all of them are kept out in an outage; raise providers.lifecycle.cache.max_entries",
            )

    def _changed(self) -> None:
        self.changes += 1
        for listener in self._listeners:
            listener()


class Sweep:
    """One comparison of the set with all that a store has, page by page. What is learned meanwhile is newer and stands."""

    def __init__(self, known: BlockedTenants, at: float) -> None:
        self.newer: set[str] = set()
        self._known = known
        self._at = at
        self._found: set[str] = set()

    def found(self, page: Iterable[tuple[str, LifecycleRecord | None]]) -> None:
        """These are not ACTIVE; of those with None it can't be read what they are, so that what was known of them stays."""
        for tenant_id, record in page:
            self._found.add(tenant_id)
            if record is None or tenant_id in self.newer:
                continue
            if record.state is LifecycleState.ACTIVE:
                self._known._drop(tenant_id)
            else:
                self._known._list(tenant_id, record, self._at)

    async def finish(self, last: str | None) -> None:
        """Nobody else is, of those whose id is up to `last` (None: of all); nor is anybody learned to be meanwhile."""
        tenants = [tenant_id for tenant_id, _ in self._known.kept()]
        for start in range(0, len(tenants), SLICE):
            for tenant_id in tenants[start : start + SLICE]:
                gone = tenant_id not in self._found and tenant_id not in self.newer
                if gone and (last is None or tenant_id <= last):
                    self._known._drop(tenant_id)
            await asyncio.sleep(0)
