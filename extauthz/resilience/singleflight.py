"""Loads in the air, at most one per key.

To be in this table is what makes a load current. A change of the key takes its load out: the load runs on, but it fills no cache
and answers nobody, and whoever waited for it looks again. So generations need no memory beyond the loads themselves.

A load that was taken out keeps its slot of the bulkhead until it ends, or until the one that follows it needs that slot.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from extauthz.resilience.call import Call, Outcome

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Overtaken:
    """What those who wait get when the key was changed under the load."""


OVERTAKEN: Final = Overtaken()


class Flight(Generic[V]):
    """A load in the air. `outcome` is waited for by many, cancelled by none; `call` is what makes it, once it was begun."""

    __slots__ = ("_cleared", "call", "outcome")

    def __init__(self) -> None:
        self._cleared: list[Callable[[V], bool]] = []
        self.outcome: asyncio.Future[Outcome[V] | Overtaken] = asyncio.get_running_loop().create_future()
        self.call: Call[V] | None = None

    def clear(self, such: Callable[[V], bool]) -> None:
        """What is such was cleared meanwhile; whether this load brings that, it will show."""
        self._cleared.append(such)

    def cleared(self, value: V) -> bool:
        """Whether what the load brought was cleared meanwhile."""
        return any(such(value) for such in self._cleared)


class Flights(Generic[K, V]):
    """The loads in the air by key."""

    def __init__(self) -> None:
        self._flights: dict[K, Flight[V]] = {}
        self._overtaken: dict[K, Flight[V]] = {}  # the last one of a key, while it runs

    def get(self, key: K) -> Flight[V] | None:
        """The current load of `key`; None where there is none."""
        return self._flights.get(key)

    def before(self, key: K) -> Call[V] | None:
        """The load of `key` that was overtaken last, while it runs; None where there is none."""
        flight = self._overtaken.get(key)
        return None if flight is None else flight.call

    def begin(self, key: K) -> Flight[V]:
        """A new load of `key`, which has none."""
        flight: Flight[V] = Flight()
        self._flights[key] = flight
        return flight

    def land(self, key: K, flight: Flight[V]) -> bool:
        """Take the load out of the table; whether it is still current."""
        if self._overtaken.get(key) is flight:
            del self._overtaken[key]
        if self._flights.get(key) is not flight:
            return False
        del self._flights[key]
        return True

    def overtake(self, key: K) -> None:
        """The key was changed: a load begun before is not current any more."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            self._overtaken[key] = flight
            flight.outcome.set_result(OVERTAKEN)

    def clear_where(self, such: Callable[[V], bool]) -> None:
        """What is such was cleared: a load that brings it was overtaken, the others were not."""
        for flight in self._flights.values():
            flight.clear(such)

    def overtake_all(self) -> None:
        """Every key was changed."""
        for key in tuple(self._flights):
            self.overtake(key)
