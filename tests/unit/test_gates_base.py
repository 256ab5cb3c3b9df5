"""The failure mode and the mode (spec 3.7, 4), apart from any gate."""

from itertools import product

import pytest

from extauthz.gates.base import GateControl, GateSettings, Stopwatch, ask, is_degraded, report, settle
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Denial, FallbackReason, Gate, Mode, OnFailure, Reason, Source
from extauthz.ports import Fetched, Unavailable
from extauthz.testing.clock import FakeClock
from extauthz.testing.fakes import FakeLookup

NO = Denial(gate=Gate.BILLING, reason=Reason.SUSPENDED)
LAST_KNOWN: Fetched[object] = Fetched(value="known", source=Source.STALE, age=12.5)


def control(mode: Mode = Mode.ENFORCE, on_failure: OnFailure = OnFailure.OPEN) -> GateControl:
    return GateControl(Gate.BILLING, GateSettings(mode=mode, on_failure=on_failure))


@pytest.mark.parametrize("on_failure", OnFailure)
def test_a_fresh_value_stands_whatever_the_failure_mode(on_failure: OnFailure) -> None:
    fresh = Fetched(value="fresh", source=Source.CACHE, age=1.0)
    assert settle(control(on_failure=on_failure), fresh, "default") == (fresh, None, None)


@pytest.mark.parametrize(("reason", "on_failure"), list(product(FallbackReason, OnFailure)))
def test_the_last_known_value_stands_in_before_the_failure_mode_is_asked(
    reason: FallbackReason, on_failure: OnFailure
) -> None:
    settled, fallback, closed = settle(control(on_failure=on_failure), Unavailable(reason, LAST_KNOWN), "default")
    assert (settled.value, settled.source, settled.age) == ("known", Source.STALE, 12.5)
    assert fallback is reason
    assert closed is None


@pytest.mark.parametrize(("reason", "on_failure"), list(product(FallbackReason, (OnFailure.OPEN, OnFailure.LOCAL))))
def test_without_a_last_known_value_open_answers_the_default(reason: FallbackReason, on_failure: OnFailure) -> None:
    settled, fallback, closed = settle(control(on_failure=on_failure), Unavailable(reason), "default")
    assert (settled.value, settled.source) == ("default", Source.DEFAULT)
    assert fallback is reason
    assert closed is None


@pytest.mark.parametrize("reason", FallbackReason)
@pytest.mark.parametrize(("said", "retry"), [(None, 1000), (0, 0), (30_000, 30_000)])
def test_without_a_last_known_value_closed_is_a_denial_until_the_provider_is_tried_again(
    reason: FallbackReason, said: int | None, retry: int
) -> None:
    unavailable = Unavailable(reason, retry_after_ms=said)
    settled, fallback, closed = settle(control(on_failure=OnFailure.CLOSED), unavailable, "default")
    assert settled.source is Source.DEFAULT
    assert fallback is reason
    assert closed == Denial(
        gate=Gate.BILLING, reason=Reason.PROVIDER_UNAVAILABLE, retry_after_ms=retry, note=reason.value
    )


def test_a_denial_stands_where_the_gate_enforces() -> None:
    stands, made = report(control(), NO, Source.CACHE, 0.25, None, 0.5)
    assert stands is NO
    assert (made.verdict, made.mode, made.source, made.age_ms, made.seconds) == (
        "deny", "enforce", Source.CACHE, 250, 0.5,
    )  # fmt: skip
    assert made.shadow is None


def test_in_shadow_a_denial_is_only_reported() -> None:
    stands, made = report(control(Mode.SHADOW), NO, Source.PROVIDER, 0.0, None, 0.0)
    assert stands is None
    assert (made.verdict, made.mode, made.shadow) == ("allow", "shadow", NO)


@pytest.mark.parametrize("mode", Mode)
def test_bypassed_while_a_check_waits_a_denial_is_no_shadow_denial_and_the_gate_is_skipped(mode: Mode) -> None:
    gate = control(mode)
    gate.bypass(active=True)
    stands, made = report(gate, NO, Source.STALE, 1.0, FallbackReason.TIMEOUT, 0.25, warned=True)
    assert stands is None
    assert (made.verdict, made.mode, made.source, made.age_ms) == ("skip", "bypass", Source.NONE, None)
    assert (made.shadow, made.fallback, made.seconds) == (None, None, 0.25)


def test_warned_without_a_denial_is_a_warning() -> None:
    assert report(control(), None, Source.PROVIDER, 0.0, None, 0.0, warned=True)[1].verdict == "warn"


@pytest.mark.parametrize(
    ("source", "age_ms"), [(Source.CACHE, 1500), (Source.STALE, 1500), (Source.PROVIDER, 1500), (Source.DEFAULT, None)]
)
def test_only_a_value_that_was_somebodys_has_an_age(source: Source, age_ms: int | None) -> None:
    assert report(control(), None, source, 1.5, None, 0.0)[1].age_ms == age_ms


def test_what_closed_denies_rests_on_nothing() -> None:
    closed = Denial(gate=Gate.BILLING, reason=Reason.PROVIDER_UNAVAILABLE)
    _, made = report(control(), closed, Source.DEFAULT, 0.0, FallbackReason.ERROR, 0.0)
    assert made.source is Source.NONE
    assert not is_degraded(made)


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
@pytest.mark.parametrize("source", [Source.STALE, Source.DEFAULT, Source.LOCAL])
def test_degraded_is_who_enforces_an_answer_that_is_not_the_providers(mode: Mode, source: Source) -> None:
    _, made = report(control(mode), None, source, 0.0, FallbackReason.TIMEOUT, 0.0)
    assert is_degraded(made) == (mode is Mode.ENFORCE)


def test_a_fresh_answer_is_not_degraded() -> None:
    assert not is_degraded(report(control(), None, Source.CACHE, 0.0, None, 0.0)[1])


@pytest.mark.parametrize(
    ("mode", "asked", "enforces"),
    [(Mode.ENFORCE, True, True), (Mode.SHADOW, True, False), (Mode.OFF, False, False)],
)
def test_the_mode_says_whether_a_gate_is_asked_and_whether_it_counts(mode: Mode, asked: bool, enforces: bool) -> None:  # noqa: FBT001 - a row of the table
    gate = control()
    gate.change(GateSettings(mode=mode))
    assert (gate.asked, gate.enforces) == (asked, enforces)
    assert (gate.skipped.verdict, gate.skipped.mode, gate.skipped.source) == ("skip", mode.value, Source.NONE)


def test_a_gate_enforces_and_fails_open_unless_told_otherwise() -> None:
    assert GateControl(Gate.LIFECYCLE).settings == GateSettings(mode=Mode.ENFORCE, on_failure=OnFailure.OPEN)


async def test_a_provider_without_an_answer_is_a_result() -> None:
    lookup: FakeLookup[str, str] = FakeLookup({"acme": "value"}, age=2.0)
    deadline = Deadline.after(1.0, FakeClock())
    assert await ask(lookup, "acme", deadline, 5.0) == Fetched(value="value", source=Source.PROVIDER, age=2.0)
    assert lookup.got == [("acme", 5.0)]
    lookup.outage = Unavailable(FallbackReason.TIMEOUT)
    assert await ask(lookup, "acme", deadline) is lookup.outage


def test_laps_add_up_to_the_time_that_passed() -> None:
    clock = FakeClock()
    watch = Stopwatch(clock)
    clock.advance(0.25)
    assert watch.lap() == pytest.approx(0.25)
    clock.advance(0.5)
    assert watch.lap() == pytest.approx(0.5)
    assert watch.lap() == 0.0
    assert clock() - watch.started == pytest.approx(0.75)
