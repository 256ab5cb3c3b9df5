"""The circuit around the event store: 10 failures in 60 s open it, batches are then dead letters at once (spec section 4)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from extauthz.errors import ProviderError
from extauthz.model.event import Event, EventQuery, EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_ACTOR
from extauthz.ports import CircuitState
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.policy import BreakerPolicy
from extauthz.telemetry.events import EventBus
from extauthz.telemetry.events_dead import DeadLetters
from extauthz.telemetry.metrics import Metrics
from extauthz.testing import in_virtual_time

POLICY = BreakerPolicy(failures=10, window=60.0, reset=120.0)
DEADLINE = 0.05


class Store:
    """An event store that hangs, fails, or keeps; and counts how often it was asked to."""

    def __init__(self) -> None:
        self.hangs = self.fails = False
        self.stored: list[Event] = []
        self.calls = 0
        self.asked = 0

    async def append(self, events: Sequence[Event]) -> None:
        self.calls += 1
        await self._answer()
        self.stored.extend(events)

    async def query(self, query: EventQuery) -> Sequence[Event]:
        raise AssertionError(f"nobody asks: {query}")

    async def size_bytes(self) -> int:
        self.asked += 1
        await self._answer()
        return 0

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise ProviderError("no space")


class World:
    def __init__(self, folder: Path) -> None:
        self.store = Store()
        self.metrics = Metrics({"events": DEADLINE})
        clock = asyncio.get_running_loop().time
        self.breaker = Breaker(
            provider="events",
            policy=POLICY,
            clock=clock,
            observer=self.metrics.provider("events"),
            spread=lambda: 1.0,
        )
        self.bus = EventBus(
            store=self.store,
            observer=self.metrics.events,
            clock=clock,
            dead_letters=DeadLetters(folder / "dead.jsonl"),
            emit_timeout=DEADLINE,
            breaker=self.breaker,
        )
        self.emitted = 0

    async def emit(self, times: int, seconds: float = 0.2) -> None:
        """That many batches of one event, one after the other."""
        for _ in range(times):
            self.emitted += 1
            self.bus.emit(event(self.emitted))
            await asyncio.sleep(seconds)

    def circuit_is(self, state: CircuitState) -> bool:
        return self.breaker.state is state

    def shown(self, sample: str) -> float:
        text = self.metrics.render("")[1].decode()
        return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(sample)))

    def sum_holds(self) -> bool:
        counts = self.bus.counts()
        return counts.emitted == counts.stored + counts.queued + counts.dead_lettered + counts.dropped == self.emitted


def event(number: int) -> Event:
    return Event(
        event_id=f"e{number}",
        type=EventType.PROTECTION_DECISION,
        source=EventSource.PROTECTION,
        tenant_id="acme",
        timestamp=0.0,
        severity=Severity.INFO,
        actor=SYSTEM_ACTOR,
    )


@in_virtual_time
async def test_ten_failures_open_it_and_what_comes_then_is_a_dead_letter_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.bus.start()
    await asyncio.sleep(1)
    world.store.hangs = True
    await world.emit(9)
    assert world.circuit_is(CircuitState.CLOSED)
    await world.emit(1)
    assert world.circuit_is(CircuitState.OPEN)
    calls = world.store.calls
    await world.emit(20)
    assert world.store.calls == calls
    counts = world.bus.counts()
    assert (counts.stored, counts.dead_lettered) == (0, 30)
    assert world.sum_holds()
    assert world.shown('observability_emit_failures_total{reason="circuit_open"}') == 20
    assert world.shown('provider_errors_total{operation="append",provider="events"}') == 30  # the alert holds as long
    assert world.shown('provider_circuit_state{provider="events"}') == 2
    assert world.shown("observability_emit_latency_seconds_count") == 10
    await world.bus.close()


@in_virtual_time
async def test_when_its_time_is_up_one_batch_tries_and_success_closes_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.bus.start()
    await asyncio.sleep(1)
    world.store.fails = True
    await world.emit(10)
    assert world.circuit_is(CircuitState.OPEN)
    await asyncio.sleep(POLICY.reset - 1)
    world.store.fails = False
    await world.emit(10, 0.5)
    assert world.circuit_is(CircuitState.CLOSED)
    assert len(world.store.stored) >= 5
    assert world.sum_holds()
    await world.bus.close()


@in_virtual_time
async def test_without_any_event_the_store_is_asked_by_the_service_itself_each_time_its_time_is_up(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    await world.bus.start()
    await asyncio.sleep(1)
    world.store.fails = True
    await world.emit(10)
    calls = world.store.calls
    for failing, state in (("fails", CircuitState.OPEN), ("hangs", CircuitState.OPEN), ("", CircuitState.CLOSED)):
        world.store.fails, world.store.hangs = failing == "fails", failing == "hangs"
        await asyncio.sleep(POLICY.reset + 1)
        assert world.circuit_is(state)
    assert world.store.calls == calls
    await world.bus.close()


@in_virtual_time
async def test_a_try_under_way_at_the_end_is_called_off(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.bus.start()
    await asyncio.sleep(1)
    world.store.hangs = True
    await world.emit(10)
    await asyncio.sleep((world.breaker.retry_in or 0.0) + DEADLINE / 2)
    assert world.circuit_is(CircuitState.HALF_OPEN)
    await world.bus.close(within=0.0)
    await asyncio.sleep(1)
    assert world.circuit_is(CircuitState.HALF_OPEN)  # no verdict
    assert not world.breaker.refuses
