"""Providers that misbehave as a schedule says, and tell the facts of a world what became of every call."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from extauthz.errors import InvalidRecord, ProviderBusy, ProviderError
from extauthz.model.deadline import Clock
from extauthz.model.protection import Charge, ChargeResult, Usage
from extauthz.ports import WallClock
from extauthz.providers.local_costs import LocalCosts
from extauthz.providers.local_protection import LocalProtection
from extauthz.providers.memory_protection import MemoryProtection
from tests.world_facts import EPSILON
from tests.world_provider import Provider

DEAF: Final = 5.0
"""For so many times its deadline a deaf call goes on."""


@dataclass(frozen=True)
class Behaviour:
    """What a provider does with its calls, one after the other, and over again. `late`: it looks at the end of the latency."""

    kinds: tuple[str, ...] = ("answer",)
    latency: float = 0.001
    late: bool = False


class Backend:
    """A provider that does with each call what its behaviour says, and tells the facts."""

    def __init__(self, facts: Provider, log: deque[str]) -> None:
        self.facts = facts
        self.behaviour = Behaviour()
        self.calls = 0
        self._log = log

    async def call(self, key: str, tenant: str, look: Callable[[], Awaitable[Any]]) -> Any:
        """One call; `look` is what answers it."""
        loop, facts, behaviour = asyncio.get_running_loop(), self.facts, self.behaviour
        self.calls += 1
        kind = behaviour.kinds[self.calls % len(behaviour.kinds)]
        # So that nothing happens at the very moment of something else, and every order is known.
        latency = behaviour.latency and behaviour.latency + self.calls % 997 * 1e-7
        number = facts.begun(loop.time(), key, tenant)
        how, value, fact = "cancelled", None, None
        try:
            if not behaviour.late and kind == "answer":
                value, fact = await look()
            await self._pass(kind, latency)
            if behaviour.late and kind == "answer":
                value, fact = await look()
            how = kind
        finally:
            self._log.append(f"{loop.time():.6f} {facts.name} {key}: {how} {fact}")
            facts.ended(loop.time(), number, tenant, how, fact)
        if kind == "answer":
            return value
        raise {"error": ProviderError, "invalid": InvalidRecord, "busy": ProviderBusy}[kind]("as the schedule says")

    async def _pass(self, kind: str, latency: float) -> None:
        if kind == "hang":
            await asyncio.get_running_loop().create_future()
        if kind == "deaf":
            await _deaf(self.facts.numbers.timeout * DEAF)
            raise ProviderError("late")
        if latency:
            await asyncio.sleep(latency)


async def _deaf(seconds: float) -> None:
    """A driver that notices no cancellation."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while until - clock() > EPSILON:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(until - clock())


Note = Callable[[str, Charge, ChargeResult], None]
"""Told where a charge was counted, and what came of it."""


class Counter(Backend):
    """A protection provider somewhere else, whose counts are checked as they are made."""

    in_process: ClassVar[bool] = False

    def __init__(self, facts: Provider, log: deque[str], counts: MemoryProtection, note: Note) -> None:
        super().__init__(facts, log)
        self._note = note
        self.counts = counts

    async def charge(self, charge: Charge) -> ChargeResult:
        async def look() -> tuple[ChargeResult, str]:
            result = await self.counts.charge(charge)
            self._note("provider", charge, result)
            return result, f"{'' if result.charged else 'not '}charged"

        result: ChargeResult = await self.call(charge.tenant_id, charge.tenant_id, look)
        return result

    async def usage(self, tenant_id: str) -> Usage:
        return await self.counts.usage(tenant_id)

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        return await self.counts.record_usage(tenant_id, cost, idempotency_key)

    async def clear(self, tenant_id: str | None) -> None:
        self.counts.clear_now(tenant_id)


class Local(LocalProtection):
    """Counts in process; the same check."""

    def __init__(self, clock: Clock, wall: WallClock, note: Note) -> None:
        super().__init__(clock=clock, costs=LocalCosts(wall=wall))
        self._note = note

    def count(self, charge: Charge, *, asked: bool) -> ChargeResult:
        result = super().count(charge, asked=asked)
        self._note("local", charge, result)
        return result
