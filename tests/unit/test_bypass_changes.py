"""Setting, lifting and the end of a bypass: at once, audited, told, and over by itself on the monotonic clock."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from extauthz.changes.audit import OperationTrail
from extauthz.changes.bypass import BypassChanges
from extauthz.errors import BypassRefused, NotFound
from extauthz.gates.base import GateControl, GateSettings
from extauthz.model.decision import FAIL_OPEN_GATES, Gate, Mode
from extauthz.model.event import EventSource, EventType, Severity
from extauthz.testing import in_virtual_time
from extauthz.testing.clock import FakeWallClock
from tests.back_office import CHANGE, Hung, Office, Raising

A_MOMENT = 0.000_001


class World:
    """Three gates and their bypasses; `metric` is what was told last of each gate."""

    def __init__(self, store: Any = None, by_environment: dict[Gate, str] | None = None) -> None:
        self.office = Office() if store is None else Office(store=store)
        self.controls = {gate: GateControl(gate) for gate in FAIL_OPEN_GATES}
        self.metric: dict[Gate, bool] = {}
        self.wall = FakeWallClock()
        self.desk = desk = self.office.desk()
        self.bypass = BypassChanges(
            desk,
            OperationTrail(desk),
            controls=self.controls,
            by_environment=by_environment or {},
            told=self.metric.__setitem__,
            wall=self.wall,
        )
        self.bypass.start()

    def active(self) -> set[Gate]:
        return {gate for gate, control in self.controls.items() if control.bypassed}

    async def records(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                f"{record.change.actor.type.value}:{record.change.actor.id}",
                record.before,
                record.after,
                record.change.reason,
            )
            for record in await self.office.store.history("_system")
            if record.what == "gate_bypass_changed"
        ]

    def events(self) -> list[tuple[str, object, object, Severity]]:
        return [
            (event.actor.type.value, event.payload["gate"], event.payload["active"], event.severity)
            for event in self.office.events.events
        ]


@pytest.mark.parametrize("gate", FAIL_OPEN_GATES)
def test_a_bypass_is_set_and_lifted_and_each_is_audited_and_told(gate: Gate) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World()
        made = await world.bypass.begin(gate.value, 900.0, CHANGE)
        assert (made.gate, made.active, made.remaining, made.permanent) == (gate, True, 900.0, False)
        assert (world.active(), world.metric) == ({gate}, {gate: True})
        lifted = await world.bypass.end(gate.value, CHANGE)
        assert (lifted.active, lifted.remaining, lifted.change) == (False, None, None)
        assert (world.active(), world.metric) == (set(), {gate: False})
        assert await world.records() == [
            ("human:admin", f"{gate.value}: inactive", f"{gate.value}: active for 900 s", "because"),
            ("human:admin", f"{gate.value}: active for 900 s", f"{gate.value}: inactive", "because"),
        ]
        assert world.events() == [
            ("human", gate.value, True, Severity.WARN),
            ("human", gate.value, False, Severity.INFO),
        ]
        first = world.office.events.events[0]
        assert (first.type, first.source, first.tenant_id) == (
            EventType.GATE_BYPASS_CHANGED, EventSource.SYSTEM, "_system",
        )  # fmt: skip
        assert (first.payload["ttl_ms"], first.payload["reason"]) == (900_000, "because")
        world.bypass.close()

    with capture_logs() as logged:
        main()
    lines = [(line["event"], line["log_level"], line["after"]) for line in logged]
    assert lines == [
        ("gate_bypass_changed", "warning", "active for 900 s"),
        ("gate_bypass_changed", "info", "inactive"),
    ]


@in_virtual_time
async def test_a_bypass_ends_by_itself_without_any_traffic_and_the_system_says_so() -> None:
    world = World()
    await world.bypass.begin("billing", 900.0, CHANGE)
    world.wall.advance(-3600.0)  # what the calendar says is no matter
    await asyncio.sleep(899.9)
    assert world.active() == {Gate.BILLING}
    assert world.bypass.all()[1].remaining == pytest.approx(0.1)
    await asyncio.sleep(0.2)
    assert (world.active(), world.metric) == (set(), {Gate.BILLING: False})
    assert (await world.records())[1:] == [
        ("system:extauthz", "billing: active", "billing: inactive", "its time is over")
    ]
    assert world.events()[1:] == [("system", "billing", False, Severity.INFO)]


@in_virtual_time
async def test_set_again_the_new_time_holds_be_it_longer_or_shorter() -> None:
    world = World()
    await world.bypass.begin("billing", 100.0, CHANGE)
    await asyncio.sleep(60)
    await world.bypass.begin("billing", 100.0, CHANGE)
    await asyncio.sleep(99)
    assert world.active() == {Gate.BILLING}
    await world.bypass.begin("billing", 1.0, CHANGE)
    await asyncio.sleep(1.1)
    assert world.active() == set()
    assert [record[1:3] for record in await world.records()] == [
        ("billing: inactive", "billing: active for 100 s"),
        ("billing: active for 40 s", "billing: active for 100 s"),
        ("billing: active for 1 s", "billing: active for 1 s"),
        ("billing: active", "billing: inactive"),
    ]
    await asyncio.sleep(200)  # what was left of the others ends nothing
    assert len(world.office.events.events) == 4


@in_virtual_time
async def test_what_was_lifted_does_not_end_again() -> None:
    world = World()
    await world.bypass.begin("lifecycle", 10.0, CHANGE)
    await world.bypass.end("lifecycle", CHANGE)
    await asyncio.sleep(20)
    assert len(world.office.events.events) == 2


@in_virtual_time
async def test_lifting_what_is_not_active_is_audited_and_no_event() -> None:
    world = World()
    assert not (await world.bypass.end("protection", CHANGE)).active
    assert [record[1:3] for record in await world.records()] == [("protection: inactive", "protection: inactive")]
    assert world.events() == []


@in_virtual_time
async def test_two_opposite_changes_at_once_are_one_after_the_other_and_both_audited() -> None:
    world = World()
    await asyncio.gather(world.bypass.begin("billing", 60.0, CHANGE), world.bypass.end("billing", CHANGE))
    assert [record[1:3] for record in await world.records()] == [
        ("billing: inactive", "billing: active for 60 s"),
        ("billing: active for 60 s", "billing: inactive"),
    ]
    assert world.active() == set()


@in_virtual_time
async def test_a_bypass_survives_new_settings_of_its_gate() -> None:
    world = World()
    await world.bypass.begin("billing", 60.0, CHANGE)
    world.controls[Gate.BILLING].change(GateSettings(mode=Mode.SHADOW))
    assert world.active() == {Gate.BILLING}
    await asyncio.sleep(61)
    assert (world.active(), world.controls[Gate.BILLING].mode) == (set(), "shadow")


@in_virtual_time
async def test_it_is_done_at_once_although_the_store_of_the_records_hangs() -> None:
    world = World(store=Hung())
    started = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as both:
        both.create_task(world.bypass.begin("lifecycle", 900.0, CHANGE))
        both.create_task(world.bypass.begin("billing", 900.0, CHANGE))
        await asyncio.sleep(A_MOMENT)
        assert world.active() == {Gate.LIFECYCLE, Gate.BILLING}
        assert len(world.office.events.events) == 2
    assert asyncio.get_running_loop().time() - started <= 1.0 + 2 * A_MOMENT
    world.bypass.close()


def test_however_many_operate_at_once_while_the_store_hangs_each_is_answered_in_a_second_and_in_the_log() -> None:
    answered: list[float] = []

    @in_virtual_time
    async def main() -> None:
        world = World(store=Hung())

        async def one(number: int) -> None:
            change = replace(CHANGE, reason=str(number))
            await world.bypass.begin("billing", 60.0, change)
            answered.append(asyncio.get_running_loop().time() - started)

        started = asyncio.get_running_loop().time()
        await asyncio.gather(*map(one, range(16)))

    with capture_logs() as logged:
        main()
    assert len(answered) == 16
    assert max(answered) < 1.0
    reasons = [line["reason"] for line in logged if line["event"] == "audit_record"]
    assert sorted(reasons, key=int) == [str(number) for number in range(16)]


@pytest.mark.parametrize("store", [Hung(), Raising(KeyError("a third party's"))])
def test_a_record_that_no_store_takes_is_in_the_log(store: Any) -> None:
    @in_virtual_time
    async def main() -> None:
        world = World(store=store)
        await world.bypass.begin("billing", 60.0, CHANGE)
        world.bypass.close()

    with capture_logs() as logged:
        main()
    (line,) = (line for line in logged if line["event"] == "audit_record")
    assert (line["what"], line["before"], line["after"]) == (
        "gate_bypass_changed", "billing: inactive", "billing: active for 60 s",
    )  # fmt: skip
    assert (line["actor"], line["reason"], line["tenant_id"]) == ("human:admin", "because", "_system")


@in_virtual_time
async def test_auth_and_what_is_no_gate_are_refused_and_nothing_is_done() -> None:
    world = World()
    with pytest.raises(BypassRefused, match="no bypass for auth"):
        await world.bypass.begin("auth", 60.0, CHANGE)
    with pytest.raises(BypassRefused, match="no bypass for auth"):
        await world.bypass.end("auth", CHANGE)
    for name in ("observability", "request", "none", ""):
        with pytest.raises(NotFound, match="lifecycle, billing, protection"):
            await world.bypass.begin(name, 60.0, CHANGE)
    assert (world.active(), world.office.events.events, await world.records()) == (set(), [], [])


@in_virtual_time
async def test_what_the_environment_bypasses_has_no_end_and_is_not_changed_from_here() -> None:
    world = World(by_environment={Gate.BILLING: "BILLING_BYPASS"})
    assert (world.active(), world.metric) == ({Gate.BILLING}, {Gate.BILLING: True})
    for change in (world.bypass.end("billing", CHANGE), world.bypass.begin("billing", 1.0, CHANGE)):
        with pytest.raises(BypassRefused, match=r"bypassed by BILLING_BYPASS in the environment.*restart"):
            await change
    await asyncio.sleep(100 * 24 * 3600)
    shown = world.bypass.all()[1]
    assert (shown.active, shown.remaining, shown.permanent) == (True, None, True)
    reason = "BILLING_BYPASS is set in the environment"
    assert await world.records() == [("system:extauthz", "billing: inactive", "billing: active", reason)]
    assert world.events() == [("system", "billing", True, Severity.WARN)]


@in_virtual_time
async def test_closed_no_time_is_watched_any_more() -> None:
    world = World()
    await world.bypass.begin("billing", 1.0, CHANGE)
    world.bypass.close()
    await asyncio.sleep(2)
    assert len(world.office.events.events) == 2


@in_virtual_time
async def test_a_bypass_that_ends_with_the_process_is_audited_and_told_like_any_other_end() -> None:
    world = World(by_environment={Gate.LIFECYCLE: "LIFECYCLE_BYPASS"})
    await world.bypass.begin("billing", 900.0, CHANGE)
    world.bypass.close()
    await world.desk.close()
    assert (await world.records())[2:] == [
        ("system:extauthz", "lifecycle: active", "lifecycle: inactive", "the process ended"),
        ("system:extauthz", "billing: active", "billing: inactive", "the process ended"),
    ]
    assert world.events()[2:] == [
        ("system", "lifecycle", False, Severity.INFO),
        ("system", "billing", False, Severity.INFO),
    ]
    assert (world.active(), world.metric) == (set(), {Gate.LIFECYCLE: False, Gate.BILLING: False})


@in_virtual_time
async def test_without_a_bypass_the_end_of_the_process_is_no_record() -> None:
    world = World()
    world.bypass.close()
    await world.desk.close()
    assert (await world.records(), world.events()) == ([], [])
