"""The circuit breaker of spec section 4: failures in a window, one try in half-open, and nothing late or foreign counts.

`tests/faults/test_breaker_machine.py` compares it with a plain model.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from extauthz.errors import ProviderError, ProviderTimeout
from extauthz.ports import CacheResult, CircuitState, CircuitView
from extauthz.resilience.breaker import Breaker, CircuitOpen, Permit
from extauthz.resilience.policy import BreakerPolicy
from extauthz.resilience.window import SlidingWindow
from extauthz.testing import FakeClock

POLICY = BreakerPolicy(failures=3, window=10.0, reset=30.0)


class CircuitLog:
    """A provider observer that keeps what it is told of the circuit."""

    def __init__(self) -> None:
        self.states: list[CircuitState] = []

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        raise AssertionError(f"a breaker calls nobody: {operation} {seconds} {answered}")

    def refused(self, operation: str) -> None:
        raise AssertionError(f"a breaker refuses by raising: {operation}")

    def cache(self, result: CacheResult) -> None:
        raise AssertionError(f"a breaker has no cache: {result}")

    def circuit(self, state: CircuitState) -> None:
        self.states.append(state)


class AngryObserver(CircuitLog):
    def circuit(self, state: CircuitState) -> None:
        raise ValueError(f"do not like {state}")


def make(
    clock: FakeClock, policy: BreakerPolicy = POLICY, observer: CircuitLog | None = None, spread: float = 1.0
) -> Breaker:
    return Breaker(
        provider="lifecycle", policy=policy, clock=clock, observer=observer or CircuitLog(), spread=lambda: spread
    )


def state_of(breaker: Breaker) -> CircuitState:
    return breaker.state


def is_failing(breaker: Breaker) -> bool:
    return breaker.failing


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.permit().failed(ProviderError("no answer"))


def opened(clock: FakeClock, observer: CircuitLog | None = None) -> Breaker:
    breaker = make(clock, observer=observer)
    fail(breaker, POLICY.failures)
    assert state_of(breaker) is CircuitState.OPEN
    return breaker


def half_opened(clock: FakeClock) -> tuple[Breaker, Permit]:
    breaker = opened(clock)
    clock.advance(POLICY.reset)
    return breaker, breaker.permit()


def refused(breaker: Breaker) -> float:
    with pytest.raises(CircuitOpen) as caught:
        breaker.permit()
    return caught.value.retry_in


def test_it_opens_at_the_third_failure_within_the_window() -> None:
    breaker = make(FakeClock())
    fail(breaker, 2)
    assert state_of(breaker) is CircuitState.CLOSED
    fail(breaker)
    assert state_of(breaker) is CircuitState.OPEN
    assert refused(breaker) == POLICY.reset


def test_successes_in_between_do_not_matter() -> None:
    clock = FakeClock()
    breaker = make(clock)
    for _ in range(3):
        clock.advance(3)
        breaker.permit().succeeded()
        fail(breaker)
        if state_of(breaker) is CircuitState.CLOSED:
            breaker.permit().succeeded()
    assert state_of(breaker) is CircuitState.OPEN


def test_failures_further_apart_than_the_window_never_open_it() -> None:
    clock = FakeClock()
    breaker = make(clock)
    for _ in range(50):
        fail(breaker)
        clock.advance(5.1)
    assert state_of(breaker) is CircuitState.CLOSED
    assert breaker.view().failures == 1


def test_it_stays_open_for_the_reset_time_and_not_longer() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(29.5)
    assert refused(breaker) == 0.5
    assert breaker.retry_in == 0.5
    clock.advance(0.5)
    assert not breaker.refuses
    breaker.permit()
    assert state_of(breaker) is CircuitState.HALF_OPEN


def test_whoever_comes_when_the_time_is_up_does_not_come_too_early_by_a_rounding() -> None:
    clock = FakeClock(1002.904079)
    breaker = opened(clock)
    clock.advance(POLICY.reset)
    assert not breaker.refuses


@pytest.mark.parametrize("spread", [0.9, 1.1])
def test_the_reset_time_is_spread(spread: float) -> None:
    breaker = make(FakeClock(), spread=spread)
    fail(breaker, 3)
    assert breaker.retry_in == pytest.approx(30 * spread)


def test_without_being_told_the_spread_is_ten_percent() -> None:
    def reset() -> float:
        clock = FakeClock()
        breaker = Breaker(provider="x", policy=POLICY, clock=clock, observer=CircuitLog())
        breaker.open()
        assert breaker.retry_in is not None
        return breaker.retry_in

    drawn = [reset() for _ in range(200)]
    assert all(27.0 <= seconds <= 33.0 for seconds in drawn)
    assert len(set(drawn)) > 1


def test_half_open_lets_exactly_one_call_try() -> None:
    breaker, _permit = half_opened(FakeClock())
    refusals = [refused(breaker) for _ in range(1_000)]
    assert refusals == [0.0] * 1_000
    assert breaker.refuses


def test_a_successful_try_closes() -> None:
    breaker, permit = half_opened(FakeClock())
    permit.succeeded()
    assert state_of(breaker) is CircuitState.CLOSED
    assert breaker.retry_in is None
    assert breaker.view().failures == 0


def test_a_failed_try_opens_again_for_the_whole_reset_time() -> None:
    breaker, permit = half_opened(FakeClock())
    permit.failed(ProviderError("still"))
    assert state_of(breaker) is CircuitState.OPEN
    assert refused(breaker) == POLICY.reset


def test_a_try_that_was_called_off_gives_its_permit_back_and_no_verdict() -> None:
    breaker, permit = half_opened(FakeClock())
    permit.released()
    assert state_of(breaker) is CircuitState.HALF_OPEN
    breaker.permit().succeeded()
    assert state_of(breaker) is CircuitState.CLOSED


def test_a_call_that_was_called_off_is_neither_success_nor_failure() -> None:
    breaker = make(FakeClock())
    fail(breaker, 2)
    breaker.permit().released()
    assert breaker.view().failures == 2
    assert state_of(breaker) is CircuitState.CLOSED


def test_only_the_first_report_of_a_permit_counts() -> None:
    breaker = make(FakeClock())
    permit = breaker.permit()
    permit.failed(ProviderError("once"))
    for _ in range(5):
        permit.failed(ProviderError("again"))
        permit.succeeded()
        permit.released()
    assert breaker.view().failures == 1


def test_a_success_that_arrives_after_the_trip_does_not_close() -> None:
    breaker = make(FakeClock())
    late = breaker.permit()
    fail(breaker, 3)
    late.succeeded()
    assert state_of(breaker) is CircuitState.OPEN


def test_failures_that_arrive_after_the_trip_do_not_lengthen_it() -> None:
    clock = FakeClock()
    breaker = make(clock)
    late = [breaker.permit() for _ in range(10)]
    fail(breaker, 3)
    clock.advance(20)
    for permit in late:
        permit.failed(ProviderTimeout())
    assert refused(breaker) == 10.0


@pytest.mark.parametrize("report", [Permit.succeeded, lambda p: p.failed(ProviderError("late")), Permit.released])
def test_what_began_before_the_trip_says_nothing_about_the_try(report: Callable[[Permit], None]) -> None:
    clock = FakeClock()
    breaker = make(clock)
    late = breaker.permit()
    fail(breaker, 3)
    clock.advance(30)
    attempt = breaker.permit()
    report(late)
    assert state_of(breaker) is CircuitState.HALF_OPEN
    assert breaker.refuses  # the slot was not freed by somebody else's report either
    attempt.succeeded()
    assert state_of(breaker) is CircuitState.CLOSED


def test_an_operator_closes_and_the_try_under_way_cannot_undo_it() -> None:
    breaker, permit = half_opened(FakeClock())
    breaker.close()
    permit.failed(ProviderError("the old try"))
    assert state_of(breaker) is CircuitState.CLOSED
    assert breaker.view().failures == 0


def test_after_an_operator_closed_it_opens_again_by_the_rule() -> None:
    breaker = opened(FakeClock())
    breaker.close()
    fail(breaker, 2)
    assert state_of(breaker) is CircuitState.CLOSED
    fail(breaker)
    assert state_of(breaker) is CircuitState.OPEN


def test_an_operator_opens_and_the_try_under_way_cannot_undo_it() -> None:
    breaker, permit = half_opened(FakeClock())
    breaker.open()
    permit.succeeded()
    assert state_of(breaker) is CircuitState.OPEN
    assert refused(breaker) == POLICY.reset


def test_an_operator_who_opens_an_open_circuit_sets_its_time_anew() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(20)
    breaker.open()
    assert breaker.retry_in == POLICY.reset


def test_the_operator_sees_it_closed() -> None:
    breaker = make(FakeClock())
    fail(breaker, 2)
    assert breaker.view() == CircuitView(
        provider="lifecycle", state=CircuitState.CLOSED, failures=2, last_error="ProviderError"
    )


def test_the_operator_sees_how_it_opened_and_when_it_is_tried() -> None:
    clock = FakeClock()
    breaker = make(clock)
    fail(breaker, 2)
    breaker.permit().failed(ProviderTimeout())
    clock.advance(12.5)
    view = CircuitView(
        provider="lifecycle",
        state=CircuitState.OPEN,
        failures=3,
        opened_for=12.5,
        retry_in=17.5,
        last_error="ProviderTimeout",
    )
    assert breaker.view() == view


def test_what_failed_longer_ago_than_the_window_did_not_open_it() -> None:
    clock = FakeClock()
    breaker = make(clock)
    fail(breaker, 2)
    clock.advance(POLICY.window + 1)
    breaker.open()
    assert breaker.view().failures == 0


def test_the_text_of_an_error_is_not_shown() -> None:
    breaker = make(FakeClock())
    breaker.permit().failed(ProviderError("password=hunter2"))
    assert "hunter2" not in repr(breaker.view())


def test_an_open_circuit_whose_time_is_up_is_open_until_it_is_tried() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(31)
    assert (breaker.view().state, breaker.view().retry_in) == (CircuitState.OPEN, 0.0)


def test_failing_means_not_closed_or_a_failure_in_the_window() -> None:
    clock = FakeClock()
    breaker = make(clock)
    assert not is_failing(breaker)
    fail(breaker)
    assert is_failing(breaker)
    clock.advance(10.5)
    assert not is_failing(breaker)
    fail(breaker, 3)
    clock.advance(100)
    assert is_failing(breaker)


def test_listeners_are_told_after_the_change_what_was_before() -> None:
    clock = FakeClock()
    log = CircuitLog()
    breaker = make(clock, observer=log)
    told: list[tuple[CircuitState, CircuitState, CircuitState]] = []
    breaker.listen(lambda before, view: told.append((before, view.state, breaker.state)))
    fail(breaker, 3)
    clock.advance(30)
    breaker.permit().succeeded()
    closed, half_open, is_open = CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN
    assert told == [
        (closed, is_open, is_open),
        (is_open, half_open, half_open),
        (half_open, closed, closed),
    ]
    assert log.states == [is_open, half_open, closed]


def test_a_listener_that_ended_is_told_no_more() -> None:
    breaker = make(FakeClock())
    told: list[CircuitState] = []
    unlisten = breaker.listen(lambda _before, view: told.append(view.state))
    breaker.open()
    unlisten()
    breaker.close()
    assert told == [CircuitState.OPEN]


def test_closing_what_is_closed_tells_nobody() -> None:
    log = CircuitLog()
    breaker = make(FakeClock(), observer=log)
    fail(breaker, 2)
    breaker.close()
    assert log.states == []
    assert breaker.view().failures == 0


def test_listeners_that_raise_can_neither_stop_a_change_nor_each_other(caplog: pytest.LogCaptureFixture) -> None:
    breaker = make(FakeClock(), observer=AngryObserver())
    told: list[CircuitState] = []

    def angry(_before: CircuitState, _view: CircuitView) -> None:
        raise LookupError("secret")

    breaker.listen(angry)
    breaker.listen(lambda _before, view: told.append(view.state))
    fail(breaker, 3)
    assert state_of(breaker) is CircuitState.OPEN
    assert told == [CircuitState.OPEN]
    assert "LookupError" in caplog.text
    assert "secret" not in caplog.text


def test_a_listener_that_asks_for_a_permit_cannot_get_a_second_try() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    got: list[float] = []

    def ask(_before: CircuitState, view: CircuitView) -> None:
        if view.state is CircuitState.HALF_OPEN:
            got.append(refused(breaker))

    breaker.listen(ask)
    clock.advance(30)
    permit = breaker.permit()
    assert got == [0.0]
    permit.succeeded()
    assert state_of(breaker) is CircuitState.CLOSED


def test_the_memory_of_failures_is_bounded() -> None:
    breaker = make(FakeClock(), BreakerPolicy(failures=5, window=1e9, reset=1.0))
    for _ in range(1_000):
        fail(breaker, 4)
        breaker.close()
    assert breaker.view().failures == 0


def test_pybreaker_is_told_an_opening_time_that_no_wall_clock_can_move() -> None:
    clock = FakeClock()
    window = SlidingWindow(10.0, clock)
    never_opened = window.opened_at
    assert never_opened is None
    window.opened_at = datetime(1970, 1, 1, tzinfo=UTC)
    window.state = "open"
    clock.advance(25)
    opened_at = window.opened_at
    assert opened_at is not None
    assert abs(datetime.now(UTC) - opened_at - timedelta(seconds=25)) < timedelta(seconds=20)
