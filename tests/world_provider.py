"""What really happened at one provider of a world, and what the service was told of it."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from tests.world_circuit import Circuit, Load
from tests.world_facts import EPSILON, UNTOLD, History, Numbers, Told, Wrong


@dataclass(slots=True)
class _Tenants:
    """How many calls and requests of one tenant are under way, how many charges these may make, and when calls last filled its share."""

    held: int = 0
    requests: int = 0
    charges: int = 0
    full_until: float = -1.0


class Provider:
    """What one provider has, what it was asked, and what this process was told of it.

    `denies` tells which values deny.
    """

    def __init__(self, name: str, numbers: Numbers, denies: Callable[[Any], bool]) -> None:
        self.name = name
        self.numbers = numbers
        self.denies = denies
        self.circuit = Circuit(name, numbers)
        self.store: dict[str, History[Any]] = {}
        self.known: dict[str, History[Told]] = {}
        self.notices: dict[str, History[float]] = {}
        self._noticed: dict[str, int] = {}
        self._loads: dict[int, Load] = {}
        self._unsettled: deque[Load] = deque()
        self._failed: dict[tuple[str, str], deque[float]] = {}
        self._tenants: dict[str, _Tenants] = {}
        self._full_until = -1.0
        self._share = None if numbers.size is None else max(1, numbers.size // 4)
        self._next = 0

    # What the provider has, and what is told of it

    def has(self, now: float, key: str, value: Any) -> None:
        """From now on the provider has `value` for `key`."""
        if key in self.store:
            self.store[key].set(now, value)
        else:
            self.store[key] = History(value, now)

    def _notice(self, now: float, key: str) -> None:
        self.notices.setdefault(key, History(-1.0)).set(now, now)
        self._next += 1
        self._noticed[key] = self._next

    def told(self, now: float, key: str, value: Any) -> None:
        """The process is told that it is `value`."""
        self._notice(now, key)
        self._learn(now, key, value)

    def _learn(self, now: float, key: str, value: Any) -> None:
        self.known.setdefault(key, History(UNTOLD)).set(now, Told(value, now))

    def forgotten(self, now: float, keys: Iterable[str], *, everything: bool = False) -> None:
        """The process is told to ask again. What denies stays known, but for `everything`."""
        for key in keys:
            self._notice(now, key)
            known = self.known.get(key)
            if known is not None and (everything or known.now is UNTOLD or not self.denies(known.now.value)):
                known.set(now, UNTOLD)

    def knew(self, key: str, begin: float, end: float) -> list[Told]:
        """What the process knew of the key, at some moment of the interval."""
        known = self.known.get(key)
        return [UNTOLD] if known is None else known.during(begin, end)

    def last_notice(self, key: str, at: float) -> float:
        """When the process was last told of the key, by `at`."""
        history = self.notices.get(key)
        return -1.0 if history is None else history.during(at, at)[-1]

    # What it was asked

    def asked_for(self, tenant: str) -> None:
        """A request of the tenant begins, which may be charged once."""
        held = self._tenants.setdefault(tenant, _Tenants())
        held.requests += 1
        held.charges += 1

    def answered(self, tenant: str) -> None:
        """A request of the tenant has its answer, or nobody waits for it any more."""
        held = self._tenants[tenant]
        held.requests -= 1
        if not held.requests and not held.held:
            held.charges = 0

    def charged(self, tenant: str) -> None:
        """A charge is made, for one request and no other."""
        held = self._tenants[tenant]
        held.charges -= 1
        if held.charges < 0:
            raise Wrong(f"{tenant} is charged more often than it asked")

    def begun(self, now: float, key: str, tenant: str) -> int:
        """A call begins; its number."""
        self.settle(now)
        self._next += 1
        load = Load(self._next, key, now, self.circuit.epoch, self.circuit.state.now == "half_open")
        self._loads[self._next] = load
        self._unsettled.append(load)
        held = self._tenants.setdefault(tenant, _Tenants())
        held.held += 1
        self.circuit.begun(load)
        return self._next

    def ended(self, now: float, number: int, tenant: str, how: str, value: Any = None) -> None:
        """A call ends by itself (`answer`, `invalid`, `busy`, `error`) or because it was called off (`cancelled`)."""
        self.settle(now)
        load = self._loads.pop(number)
        held = self._tenants[tenant]
        if self._share is not None and held.held >= self._share:
            held.full_until = now
        if self.numbers.size is not None and len(self._loads) + 1 >= self.numbers.size:
            self._full_until = now
        held.held -= 1
        if load.timed_out:
            return
        self._unsettled.remove(load)
        self.circuit.verdict(load, now, _VERDICTS[how])
        if how == "answer":
            if load.number > self._noticed.get(load.key, 0):
                self._learn(now, load.key, value)
        else:
            self._note(now, load.key, how)

    def settle(self, now: float) -> None:
        """Calls whose deadline has come have failed at that moment, whatever comes of them."""
        timeout = self.numbers.timeout
        while self._unsettled and self._unsettled[0].begun + timeout <= now + EPSILON:
            load = self._unsettled.popleft()
            load.timed_out = True
            at = load.begun + timeout
            self.circuit.verdict(load, at, "failed")
            self._note(at, load.key, "timeout")

    def _note(self, at: float, key: str, how: str) -> None:
        self._failed.setdefault((key, how), deque(maxlen=64)).append(at)

    def misbehaved(self, key: str, how: str, begin: float, end: float) -> bool:
        """Whether a call for `key` ended that way within the interval."""
        times = self._failed.get((key, how), ())
        return any(begin - EPSILON <= at <= end + EPSILON for at in reversed(times))

    def was_open(self, begin: float, end: float) -> bool:
        """Whether the circuit was not closed at some moment."""
        return any(state != "closed" for state in self.circuit.state.during(begin, end))

    def was_full(self, tenant: str, begin: float) -> bool:
        """Whether all slots, or all of the tenant, were taken at some moment since."""
        if self.numbers.size is None or self._share is None:
            return False
        held = self._tenants.get(tenant, _Tenants())
        is_full = len(self._loads) >= self.numbers.size or held.held >= self._share
        return is_full or max(self._full_until, held.full_until) >= begin - EPSILON


_VERDICTS: Final = {"answer": "good", "invalid": "good", "busy": "none", "cancelled": "none", "error": "failed"}
