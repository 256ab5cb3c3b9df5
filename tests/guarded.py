"""A guard in virtual time, with a provider that does what it is told to, and everything it tells: for tests."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from extauthz.errors import ProviderError
from extauthz.model.deadline import Deadline
from extauthz.ports import CacheResult, CircuitState, Fetched, LongMemory, Unavailable
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.guard import Guard
from extauthz.resilience.policy import BreakerPolicy, CachePolicy, GuardPolicy

Behaviour = Callable[[str], Awaitable[str | None]]

TIMEOUT = 0.5
RESET = 30.0
CACHE = CachePolicy(ttl=5.0, max_stale=3600.0, jitter=0.0)
A_MOMENT = 0.000_001


class Log:
    """A provider observer that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, bool]] = []
        self.refusals = 0
        self.cached: list[CacheResult] = []
        self.states: list[CircuitState] = []

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        assert operation == "find"
        self.calls.append((round(seconds, 6), answered))

    def refused(self, operation: str) -> None:
        assert operation == "find"
        self.refusals += 1

    def cache(self, result: CacheResult) -> None:
        self.cached.append(result)

    def circuit(self, state: CircuitState) -> None:
        self.states.append(state)


async def answers(key: str) -> str | None:
    await asyncio.sleep(0.01)
    return f"value of {key}"


async def denies(key: str) -> str | None:
    await asyncio.sleep(0.01)
    return f"TERMINATED {key}"


async def fails(key: str) -> str | None:
    await asyncio.sleep(0.01)
    raise ProviderError(f"no answer for {key}")


async def hangs(_key: str) -> str | None:
    await asyncio.Event().wait()
    raise AssertionError


async def deaf(_key: str) -> str | None:
    """A driver that notices no cancellation for 8 seconds, as asyncpg on a frozen server."""
    clock = asyncio.get_running_loop().time
    until = clock() + 8
    while clock() < until:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(until - clock())
    return "far too late"


class World:
    """A guard, its provider that does what `behaviour` says, and everything it tells."""

    def __init__(
        self,
        behaviour: Behaviour = answers,
        *,
        max_in_flight: int | None = 64,
        cache: CachePolicy = CACHE,
        reset: float = RESET,
        memory: LongMemory[str, str | None] | None = None,
    ) -> None:
        self.clock = asyncio.get_running_loop().time
        self.behaviour = behaviour
        self.log = Log()
        self.loads: list[str] = []
        self.running = self.most_running = 0
        self.breaker = Breaker(
            provider="lifecycle",
            policy=BreakerPolicy(failures=3, window=10.0, reset=reset),
            clock=self.clock,
            observer=self.log,
            spread=lambda: 1.0,
        )
        self.guard: Guard[str, str | None] = Guard(
            operation="find",
            load=self.load,
            policy=GuardPolicy(timeout=TIMEOUT, cache=cache, max_in_flight=max_in_flight),
            breaker=self.breaker,
            observer=self.log,
            clock=self.clock,
            tenant_of=lambda key: key.partition("/")[0],
            denies=lambda value: value is not None and value.startswith("TERMINATED"),
            memory=memory,
        )

    async def load(self, key: str) -> str | None:
        self.loads.append(key)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            return await self.behaviour(key)
        finally:
            self.running -= 1

    def deadline(self, seconds: float = 1.0) -> Deadline:
        return Deadline.after(seconds, self.clock)

    def state(self) -> CircuitState:
        return self.breaker.state

    async def get(self, key: str = "a", seconds: float = 1.0, max_age: float | None = None) -> Fetched[str | None]:
        return await self.guard.get(key, self.deadline(seconds), max_age)

    async def refused(self, key: str = "a", seconds: float = 1.0, max_age: float | None = None) -> Unavailable:
        with pytest.raises(Unavailable) as caught:
            await self.get(key, seconds, max_age)
        return caught.value

    async def trip(self) -> None:
        behaviour, self.behaviour = self.behaviour, fails
        for n in range(3):
            await self.refused(f"trip{n}")
        assert self.state() is CircuitState.OPEN
        self.behaviour = behaviour


def values(results: list[Fetched[str | None]]) -> set[str | None]:
    return {fetched.value for fetched in results}
