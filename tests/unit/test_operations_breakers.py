"""Circuits set by hand (spec section 7): at once, audited, told with who did it, and by the rule from there on."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.changes.audit import OperationTrail
from extauthz.changes.breakers import BreakerChanges
from extauthz.errors import NotFound, ProviderError
from extauthz.model.event import EventSource, EventType, Severity
from extauthz.ports import CircuitState
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.policy import BreakerPolicy
from extauthz.testing import in_virtual_time
from extauthz.testing.clock import FakeWallClock
from tests.back_office import CHANGE, Hung, Office, Unheard

RESET = 30.0


class World:
    """Two circuits."""

    def __init__(self, store: Any = None) -> None:
        self.office = Office() if store is None else Office(store=store)
        clock = asyncio.get_running_loop().time
        policy = BreakerPolicy(failures=3, window=10.0, reset=RESET)
        self.breakers = {
            name: Breaker(provider=name, policy=policy, clock=clock, observer=Unheard(), spread=lambda: 1.0)
            for name in ("lifecycle", "billing")
        }
        desk = self.office.desk()
        self.changes = BreakerChanges(desk, OperationTrail(desk), breakers=self.breakers, wall=FakeWallClock())

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breakers["lifecycle"].permit().failed(ProviderError("gone"))

    async def records(self) -> list[tuple[str, str, str, str]]:
        return [
            (record.what, record.before, record.after, record.change.reason)
            for record in await self.office.store.history("_system")
        ]

    def events(self) -> list[tuple[str, object, object, object, Severity]]:
        return [
            (event.actor.id, event.payload["provider"], event.payload["from"], event.payload["to"], event.severity)
            for event in self.office.events.events
        ]


@in_virtual_time
async def test_an_open_circuit_is_closed_by_hand_and_opens_again_by_the_rule() -> None:
    world = World()
    world.fail(3)
    circuit = await world.changes.close("lifecycle", CHANGE)
    assert (circuit.provider, circuit.state, circuit.failures) == ("lifecycle", CircuitState.CLOSED, 0)
    states = []
    for _ in range(3):
        world.fail()
        states.append(world.breakers["lifecycle"].state)
    assert states == [CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN]
    assert world.events() == [
        ("extauthz", "lifecycle", "closed", "open", Severity.WARN),
        ("admin", "lifecycle", "open", "closed", Severity.INFO),
        ("extauthz", "lifecycle", "closed", "open", Severity.WARN),
    ]
    assert await world.records() == [("circuit_state_changed", "lifecycle: open", "lifecycle: closed", "because")]
    event = world.office.events.events[1]
    assert (event.type, event.source, event.tenant_id) == (
        EventType.CIRCUIT_STATE_CHANGED, EventSource.SYSTEM, "_system",
    )  # fmt: skip
    assert (event.payload["reason"], event.payload["last_error"]) == ("because", "ProviderError")


@in_virtual_time
async def test_opened_by_hand_is_shown_until_it_is_tried_or_closed() -> None:
    world = World()
    circuit = await world.changes.open("lifecycle", CHANGE)
    assert (circuit.state, circuit.retry_in) == (CircuitState.OPEN, RESET)
    assert world.changes.opened_by_hand == {"lifecycle"}
    await asyncio.sleep(RESET)
    world.breakers["lifecycle"].permit().succeeded()
    assert world.changes.opened_by_hand == frozenset()
    await world.changes.open("lifecycle", CHANGE)
    await world.changes.close("lifecycle", CHANGE)
    assert world.changes.opened_by_hand == frozenset()
    assert {circuit.provider: circuit.state for circuit in world.changes.all()} == {
        "lifecycle": CircuitState.CLOSED,
        "billing": CircuitState.CLOSED,
    }


@in_virtual_time
async def test_what_is_so_already_is_audited_and_no_event() -> None:
    world = World()
    await world.changes.close("billing", CHANGE)
    assert [record[1:3] for record in await world.records()] == [("billing: closed", "billing: closed")]
    assert world.events() == []


@in_virtual_time
async def test_two_opposite_changes_at_once_are_judged_one_by_what_the_other_left() -> None:
    world = World()
    await asyncio.gather(world.changes.open("billing", CHANGE), world.changes.close("billing", CHANGE))
    assert [record[1:3] for record in await world.records()] == [
        ("billing: closed", "billing: open"),
        ("billing: open", "billing: closed"),
    ]


@in_virtual_time
async def test_it_is_done_at_once_and_answered_within_a_second_although_the_store_of_the_records_hangs() -> None:
    world = World(store=Hung())
    world.fail(3)
    started = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as both:
        both.create_task(world.changes.close("lifecycle", CHANGE))
        both.create_task(world.changes.open("billing", CHANGE))
        await asyncio.sleep(0.000_001)
        assert [circuit.state for circuit in world.changes.all()] == [CircuitState.CLOSED, CircuitState.OPEN]
    assert asyncio.get_running_loop().time() - started == pytest.approx(0.5, abs=0.001)


def test_the_log_says_who_and_why() -> None:
    with capture_logs() as logged:
        run: Callable[[], None] = in_virtual_time(_open_by_hand)
        run()
    (line,) = logged
    assert (line["event"], line["before"], line["after"]) == ("circuit_set_by_hand", "closed", "open")
    assert (line["provider"], line["actor"], line["reason"]) == ("lifecycle", "human:admin", "because")


async def _open_by_hand() -> None:
    await World().changes.open("lifecycle", CHANGE)


@in_virtual_time
async def test_a_provider_that_is_none_is_not_found() -> None:
    world = World()
    with pytest.raises(NotFound, match="lifecycle, billing"):
        await world.changes.open("banana", CHANGE)
    assert (await world.records(), world.events()) == ([], [])
