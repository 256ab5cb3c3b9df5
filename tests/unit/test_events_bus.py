"""Spec section 6.3: emitting, batching, dead letters, and that every event is accounted for."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from extauthz.model.event import Event, EventQuery, EventSource, EventType, Severity
from extauthz.model.event_json import (
    event_from_dict,
    event_to_dict,
    from_json,
    from_rfc3339,
    to_json,
    to_rfc3339,
)
from extauthz.model.identity import Actor, ActorType
from extauthz.ports import EventSink
from extauthz.telemetry.events import SIZE_EVERY, EventBus
from extauthz.telemetry.events_dead import DeadLetters
from extauthz.telemetry.events_delivery import MAX_ABANDONED
from extauthz.telemetry.events_queue import EventQueue
from extauthz.testing.clock import VirtualLoop, in_virtual_time

ACTOR = Actor(type=ActorType.MACHINE, id="key1")


def event(number: int = 1, severity: Severity = Severity.WARN, **changes: object) -> Event:
    made = Event(
        event_id=f"e{number:06d}",
        type=EventType.PROTECTION_DECISION,
        source=EventSource.PROTECTION,
        tenant_id="acme",
        timestamp=1_767_268_800.25,
        severity=severity,
        actor=ACTOR,
        payload={"reason": "rate"},
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields chosen by the test, wrong types among them


class Mood(Enum):
    WELL = "well"
    FAILING = "failing"
    HANGING = "hanging"
    DEAF = "deaf"
    """Hangs, and does not listen to cancellation."""


class FakeStore:
    """An event store with moods; `stored` are the events it took."""

    def __init__(self) -> None:
        self.mood = Mood.WELL
        self.stored: list[Event] = []
        self.batches: list[int] = []
        self.calls = 0
        self.size = 0
        self._thawed = asyncio.Event()

    async def append(self, events: Sequence[Event]) -> None:
        self.calls += 1
        called_off = False
        while self.mood in {Mood.HANGING, Mood.DEAF}:
            try:
                await self._thawed.wait()
            except asyncio.CancelledError:
                if self.mood is Mood.HANGING:
                    raise
                called_off = True
        if called_off:
            return  # too late to count
        if self.mood is Mood.FAILING:
            raise OSError("no space")
        self.batches.append(len(events))
        self.stored.extend(events)

    def set(self, mood: Mood) -> None:
        self.mood = mood
        if mood in {Mood.WELL, Mood.FAILING}:
            self._thawed.set()
            self._thawed = asyncio.Event()

    async def query(self, query: EventQuery) -> Sequence[Event]:
        return [one for one in self.stored if one.tenant_id == query.tenant_id]

    async def size_bytes(self) -> int:
        if self.mood is Mood.FAILING:
            raise OSError("no space")
        if self.mood is not Mood.WELL:
            await self._thawed.wait()
        return self.size


class Recorder:
    """A `BusObserver` that adds up what it is told."""

    def __init__(self) -> None:
        self.accepted_events = 0
        self.stored_events = 0
        self.refusals: list[str] = []
        self.failures: dict[str, int] = {}
        self.drops: dict[str, int] = {}
        self.slowest = 0.0

    def accepted(self, event: Event) -> None:
        self.accepted_events += bool(event.event_id)

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)

    def stored(self, count: int, seconds: float) -> None:
        self.stored_events += count
        self.slowest = max(self.slowest, seconds)

    def failed(self, count: int, reason: str, seconds: float) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + count
        self.slowest = max(self.slowest, seconds)

    def dropped(self, count: int, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + count


def lines(path: Path) -> list[Event]:
    return [from_json(line) for line in path.read_text().splitlines()] if path.exists() else []


def make_bus(
    store: FakeStore,
    observer: Recorder,
    path: Path | None = None,
    *,
    max_queue: int = 100,
    batch_size: int = 10,
    max_bytes: int = 1_000_000,
) -> EventBus:
    return EventBus(
        store=store,
        observer=observer,
        clock=asyncio.get_running_loop().time,
        dead_letters=None if path is None else DeadLetters(path, max_bytes=max_bytes),
        max_queue=max_queue,
        batch_size=batch_size,
    )


@in_virtual_time
async def test_events_are_stored_in_batches_and_flushed_on_close() -> None:
    store, observer = FakeStore(), Recorder()
    bus = make_bus(store, observer)
    await bus.start()
    for number in range(25):
        bus.emit(event(number))
    assert bus.queue_depth() == 25
    await asyncio.sleep(1)
    assert store.batches == [10, 10, 5]
    assert [one.event_id for one in store.stored] == [f"e{number:06d}" for number in range(25)]
    bus.emit(event(25))
    await bus.close()
    assert len(store.stored) == 26
    assert (observer.accepted_events, observer.stored_events) == (26, 26)


@in_virtual_time
async def test_observe_004_emitting_neither_waits_nor_raises_whatever_it_is_given() -> None:
    store, observer = FakeStore(), Recorder()
    store.set(Mood.HANGING)
    bus: EventSink = make_bus(store, observer, max_queue=10)
    for number in range(1_000):
        bus.emit(event(number))
    bus.emit(None)  # type: ignore[arg-type] # what a caller without a type checker may do
    bus.emit(event(payload=object(), actor=None))
    assert observer.accepted_events == 1_000
    assert observer.drops == {"queue_full": 990}
    assert observer.refusals == ["invalid", "invalid"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": ""},
        {"tenant_id": None},
        {"event_id": ""},
        {"type": None},
        {"type": "protection_decision_"},
        {"source": None},
        {"severity": "LOUD"},
        {"timestamp": float("nan")},
        {"timestamp": float("inf")},
        {"timestamp": 1e15},
        {"timestamp": None},
        {"actor": None},
        {"actor": Actor(type=ActorType.HUMAN, id="")},
    ],
)
@in_virtual_time
async def test_observe_003_an_event_without_a_required_field_is_refused_and_counted(changes: dict[str, object]) -> None:
    store, observer = FakeStore(), Recorder()
    bus = make_bus(store, observer)
    bus.emit(replace(event(), **changes))  # type: ignore[arg-type] # wrong types on purpose
    assert observer.refusals == ["invalid"]
    assert bus.counts().emitted == 0
    assert bus.queue_depth() == 0


@in_virtual_time
async def test_after_close_events_are_refused() -> None:
    store, observer = FakeStore(), Recorder()
    bus = make_bus(store, observer)
    await bus.start()
    await bus.close()
    bus.emit(event())
    assert observer.refusals == ["closed"]


@in_virtual_time
async def test_a_bus_that_never_started_can_be_closed() -> None:
    bus = make_bus(FakeStore(), Recorder())
    await bus.close()
    assert bus.counts().emitted == 0


def test_above_80_percent_info_is_sampled_and_the_rest_is_not() -> None:
    queue = EventQueue(100)
    lost = [queue.offer(event(number, Severity.INFO)) for number in range(81)]
    assert set(lost) == {None}
    lost = [queue.offer(event(number, Severity.INFO)) for number in range(40)]
    assert (lost.count("sampled"), lost.count(None)) == (36, 4)
    assert queue.offer(event(1, Severity.WARN)) is None
    assert len(queue) == 86


def test_full_the_oldest_info_goes_first_then_the_oldest_of_the_least_severe() -> None:
    queue = EventQueue(4)
    for number, severity in enumerate((Severity.WARN, Severity.INFO, Severity.INFO, Severity.ERROR)):
        assert queue.offer(event(number, severity)) is None
    for number in (4, 5, 6):
        assert queue.offer(event(number, Severity.WARN)) == "queue_full"
    assert [one.event_id[-1] for one in queue.take(9)] == [
        "3",
        "4",
        "5",
        "6",
    ]  # the infos, then the oldest warning went


def test_what_matters_more_never_goes_for_what_matters_less() -> None:
    queue = EventQueue(2)
    assert [queue.offer(event(number, Severity.ERROR)) for number in (1, 2)] == [None, None]
    assert queue.offer(event(3, Severity.WARN)) == "queue_full"
    assert [queue.offer(event(number, Severity.INFO)) for number in range(4, 14)].count("queue_full") == 1
    assert queue.offer(event(99, Severity.ERROR)) == "queue_full"
    assert [one.event_id for one in queue.take(9)] == ["e000002", "e000099"]


@in_virtual_time
async def test_a_batch_that_fails_goes_to_the_dead_letters_and_the_next_to_the_store(tmp_path: Path) -> None:
    store, observer, path = FakeStore(), Recorder(), tmp_path / "dead.jsonl"
    bus = make_bus(store, observer, path)
    await bus.start()
    store.set(Mood.FAILING)
    bus.emit(event(1))
    await asyncio.sleep(1)
    store.set(Mood.WELL)
    bus.emit(event(2))
    await asyncio.sleep(1)
    assert lines(path) == [event(1)]
    assert store.stored == [event(2)]
    assert observer.failures == {"error": 1}
    assert bus.dead_letter_size() == 1
    assert path.stat().st_mode & 0o777 == 0o600
    await bus.close()


@pytest.mark.parametrize("mood", [Mood.HANGING, Mood.DEAF])
@in_virtual_time
async def test_a_frozen_store_is_waited_for_only_until_the_deadline(mood: Mood, tmp_path: Path) -> None:
    store, observer, path = FakeStore(), Recorder(), tmp_path / "dead.jsonl"
    bus = make_bus(store, observer, path, max_queue=1_000, batch_size=1)
    await bus.start()
    store.set(mood)
    for number in range(20):
        bus.emit(event(number))
    await asyncio.sleep(2)
    assert [one.event_id for one in lines(path)] == [f"e{number:06d}" for number in range(20)]
    assert observer.failures == {"timeout": 20}
    assert observer.slowest == pytest.approx(0.05)
    assert store.calls == (20 if mood is Mood.HANGING else MAX_ABANDONED)
    store.set(Mood.WELL)
    await asyncio.sleep(0.001)
    bus.emit(event(99))
    await asyncio.sleep(1)
    assert store.stored == [event(99)]
    await bus.close()


@in_virtual_time
async def test_close_is_bounded_with_a_frozen_store_and_loses_nothing(tmp_path: Path) -> None:
    store, observer, path = FakeStore(), Recorder(), tmp_path / "dead.jsonl"
    bus = make_bus(store, observer, path, max_queue=1_000, batch_size=1)
    await bus.start()
    store.set(Mood.HANGING)
    for number in range(500):
        bus.emit(event(number))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bus.close(within=1.0)
    assert loop.time() - began <= 1.1
    assert len(lines(path)) == 500
    assert bus.counts().queued == 0
    store.set(Mood.WELL)


@in_virtual_time
async def test_without_a_dead_letter_file_what_fails_is_dropped_and_counted() -> None:
    store, observer = FakeStore(), Recorder()
    bus = make_bus(store, observer)
    await bus.start()
    store.set(Mood.FAILING)
    bus.emit(event())
    await asyncio.sleep(1)
    assert observer.drops == {"dead_letter": 1}
    assert bus.counts().dropped == 1
    assert bus.dead_letter_size() == 0
    await bus.close()


@in_virtual_time
async def test_the_store_size_is_asked_now_and_then_and_a_store_that_fails_keeps_the_last() -> None:
    store, observer = FakeStore(), Recorder()
    store.size = 4096
    bus = make_bus(store, observer)
    await bus.start()
    await asyncio.sleep(1)
    assert bus.store_size() == 4096
    store.size = 8192
    for mood in (Mood.FAILING, Mood.HANGING):
        store.set(mood)
        await asyncio.sleep(SIZE_EVERY + 6)
        assert bus.store_size() == 4096
    store.set(Mood.WELL)
    await asyncio.sleep(2 * SIZE_EVERY)
    assert bus.store_size() == 8192
    await bus.close()


@in_virtual_time
async def test_an_observer_that_raises_does_not_end_the_writing() -> None:
    class Broken(Recorder):
        def stored(self, count: int, seconds: float) -> None:
            super().stored(count, seconds)
            raise RuntimeError("broken")

    store, observer = FakeStore(), Broken()
    bus = make_bus(store, observer)
    await bus.start()
    for number in (1, 2):
        bus.emit(event(number))
        await asyncio.sleep(1)
    assert len(store.stored) == 2
    await bus.close()


# The dead-letter file


@in_virtual_time
async def test_dead_letters_stop_at_the_size_cap(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    line = len(to_json(event())) + 1
    letters = DeadLetters(path, max_bytes=3 * line + 1)
    assert await letters.write([event(number) for number in range(2)]) == 2
    assert await letters.write([event(number) for number in range(2, 5)]) == 1
    assert await letters.write([event(9)]) == 0
    assert path.stat().st_size == 3 * line
    assert letters.size == 3
    letters.close()


@in_virtual_time
async def test_dead_letters_of_earlier_runs_are_counted_and_a_torn_line_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    path.write_text(to_json(event(1)) + "\n" + to_json(event(2))[:20])
    letters = DeadLetters(path)
    await letters.start()
    assert letters.size == 1
    assert await letters.write([event(3)]) == 1
    whole = path.read_text().splitlines()
    assert [from_json(whole[0]), from_json(whole[2])] == [event(1), event(3)]
    letters.close()


@in_virtual_time
async def test_dead_letters_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "missing" / "dead.jsonl")
    await letters.start()
    assert await letters.write([event()]) == 0
    assert letters.size == 0
    letters.close()


def test_a_disk_that_fills_up_leaves_no_half_line(tmp_path: Path) -> None:
    assert tmp_path.exists()
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")

    async def write() -> int:
        letters = DeadLetters(full)
        written = await letters.write([event()])
        letters.close()
        return written

    assert asyncio.run(write()) == 0


@in_virtual_time
async def test_an_event_that_has_no_json_form_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    letters = DeadLetters(path)
    poison = event(1, payload={"x": float("nan")})
    assert await letters.write([poison, event(2)]) == 1
    assert lines(path) == [event(2)]
    letters.close()


# The form of an event


def test_an_event_as_json_is_the_one_of_the_specification() -> None:
    made = event(request_id="r1", trace_id="t1")
    assert json.loads(to_json(made)) == {
        "event_id": "e000001",
        "event_type": "protection_decision",
        "event_source": "protection",
        "tenant_id": "acme",
        "timestamp": "2026-01-01T12:00:00.250000Z",
        "severity": "WARN",
        "actor": {"type": "machine", "id": "key1"},
        "context": {"request_id": "r1", "trace_id": "t1"},
        "payload": {"reason": "rate"},
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
events = st.builds(
    Event,
    event_id=st.text(min_size=1),
    type=st.sampled_from(EventType),
    source=st.sampled_from(EventSource),
    tenant_id=st.text(min_size=1),
    timestamp=st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros / 1_000_000),
    severity=st.sampled_from(Severity),
    actor=st.builds(Actor, type=st.sampled_from(ActorType), id=st.text(min_size=1)),
    request_id=st.text(),
    trace_id=st.text(),
    payload=st.dictionaries(st.text(), json_values, max_size=3),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events)
def test_an_event_comes_back_from_one_line_of_json(made: Event) -> None:
    text = to_json(made)
    assert "\n" not in text
    back = from_json(text)
    assert back == replace(made, timestamp=back.timestamp)
    assert back.timestamp == pytest.approx(made.timestamp, abs=1e-6)
    assert event_from_dict(event_to_dict(back)) == back


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_id", ""),
        ("event_id", 7),
        ("event_type", "party"),
        ("event_source", None),
        ("tenant_id", ""),
        ("timestamp", "yesterday"),
        ("timestamp", "2026-01-01T12:00:00"),
        ("severity", "LOUD"),
        ("actor", "me"),
        ("actor", {"type": "machine"}),
        ("context", []),
        ("payload", "text"),
    ],
)
def test_what_is_no_event_is_a_value_error(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        event_from_dict(event_to_dict(event()) | {name: value})


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null"])
def test_what_is_no_json_object_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_json(text)


def test_context_and_payload_may_be_missing() -> None:
    data = event_to_dict(event())
    del data["context"], data["payload"]
    assert event_from_dict(data) == event(payload={})


def test_values_that_json_does_not_know_are_written_as_text() -> None:
    payload = {"gates": frozenset({"b", "a"}), "state": Mood.WELL, "path": Path("x")}
    assert json.loads(to_json(event(payload=payload)))["payload"] == {"gates": ["a", "b"], "state": "well", "path": "x"}


def test_times_are_utc_with_six_places() -> None:
    assert to_rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert from_rfc3339("1970-01-01T01:00:00+01:00") == 0
    for impossible in (float("nan"), float("inf"), 1e18, -1e18):
        with pytest.raises(ValueError, match="timestamp"):
            to_rfc3339(impossible)


# Everything together


class Accounting(RuleBasedStateMachine):
    """While the process lives: emitted = stored + queued + dead-lettered + dropped, whatever the store does."""

    def __init__(self) -> None:
        super().__init__()
        self.observer = Recorder()
        self.number = 0

    @initialize()
    def begin(self) -> None:
        # Not in __init__: Hypothesis also makes machines that it never runs, and so never tears down.
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "dead.jsonl"
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        self.store = FakeStore()
        self.bus = make_bus(self.store, self.observer, self.path, max_queue=20, batch_size=4, max_bytes=6_000)
        await self.bus.start()

    @rule(count=st.integers(1, 15), severity=st.sampled_from(Severity))
    def emit(self, count: int, severity: Severity) -> None:
        for _ in range(count):
            self.number += 1
            self.bus.emit(event(self.number, severity))

    @rule(mood=st.sampled_from(Mood))
    def change_mood(self, mood: Mood) -> None:
        self.store.set(mood)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.03, 0.06, 0.5]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @invariant()
    def every_event_is_somewhere(self) -> None:
        counts = self.bus.counts()
        assert counts.emitted == self.number == self.observer.accepted_events
        assert counts.emitted == counts.stored + counts.queued + counts.dead_lettered + counts.dropped
        assert counts.queued <= 20 + 4
        assert counts.stored == self.observer.stored_events
        assert counts.dropped == sum(self.observer.drops.values())

    def teardown(self) -> None:
        if hasattr(self, "bus"):
            self.runner.run(self.bus.close())
            self.every_event_is_somewhere()
            counts = self.bus.counts()
            assert counts.queued == 0
            assert counts.stored == len(self.store.stored)
            assert counts.dead_lettered == len(lines(self.path)) == self.bus.dead_letter_size()
            assert (
                len({one.event_id for one in self.store.stored + lines(self.path)})
                == counts.stored + counts.dead_lettered
            )
            self.store.set(Mood.WELL)
            self.runner.close()
            self.folder.cleanup()


Accounting.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_emitted_is_stored_and_queued_and_dead_lettered_and_dropped = Accounting.TestCase
