"""Loads in the air, at most one per key.

To be in this table is what makes a load current. A change of the key takes its load out: the load runs on, but it fills no cache
and answers nobody, and whoever waited for it looks again. So generations need no memory beyond the loads themselves.
"""

import asyncio
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from extauthz.resilience.call import Outcome

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Overtaken:
    """What those who wait get when the key was changed under the load."""


OVERTAKEN: Final = Overtaken()

Flight = asyncio.Future[Outcome[V] | Overtaken]
"""Waited for by many, cancelled by none."""


class Flights(Generic[K, V]):
    """The loads in the air by key."""

    def __init__(self) -> None:
        self._flights: dict[K, Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, key: K) -> Flight[V] | None:
        """The current load of `key`; None where there is none."""
        return self._flights.get(key)

    def begin(self, key: K) -> Flight[V]:
        """A new load of `key`, which has none."""
        flight: Flight[V] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        return flight

    def land(self, key: K, flight: Flight[V]) -> bool:
        """Take the load out of the table; whether it is still current."""
        if self._flights.get(key) is not flight:
            return False
        del self._flights[key]
        return True

    def overtake(self, key: K) -> None:
        """The key was changed: a load begun before is not current any more."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.set_result(OVERTAKEN)

    def overtake_all(self) -> None:
        """Every key was changed."""
        for key in tuple(self._flights):
            self.overtake(key)
