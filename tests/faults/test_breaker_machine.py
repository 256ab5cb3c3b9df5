"""The breaker of spec section 4 against a plain model, led through the same steps: by Hypothesis, which makes what it finds small,
and by dice, which are fast.
"""

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from extauthz.resilience import breaker as breaker_module
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.permit import Permit, Verdict
from tests.breaker_model import TICK, Pair, with_a_wall_clock_that_jumps
from tests.faults.conftest import Figures

VERDICTS: Final = ("succeeded", "failed", "failed", "timeout", "released")
WAITS: Final = (0.0, TICK, 0.5, 1.0, 2.0, 3.0, 8.0)
HOURS: Final = (-1.0, 1.0, -24.0, 24.0)
FAILURES, WINDOWS, SPREADS = (1, 2, 3, 4), (2.0, 5.0), (0.9375, 1.0, 1.0625)
RESET: Final = 8.0
MILLION: Final = 1_000_000


@pytest.fixture(autouse=True)
def _quiet_and_jumping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Listeners that raise are logged; a million of them need not be. The wall clock is one that jumps."""
    with_a_wall_clock_that_jumps(monkeypatch)
    log = logging.getLogger(breaker_module.__name__)
    log.disabled = True
    yield
    log.disabled = False


class BreakerMachine(RuleBasedStateMachine):
    """Every rule is one step of the pair. `steps` counts them all."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.pair: Pair

    @initialize(failures=st.sampled_from(FAILURES), window=st.sampled_from(WINDOWS), spread=st.sampled_from(SPREADS))
    def start(self, failures: int, window: float, spread: float) -> None:
        self.pair = Pair(failures=failures, window=window, reset=RESET, spread=spread)

    def step(self) -> Pair:
        BreakerMachine.steps += 1
        return self.pair

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: float) -> None:
        self.step().wait(seconds)

    @rule(which=st.integers(0, 3), ticks=st.sampled_from((-1, 0, 1)))
    def wait_for_boundary(self, which: int, ticks: int) -> None:
        self.step().wait_for_boundary(which, ticks)

    @rule(hours=st.sampled_from(HOURS))
    def wall_clock_jumps(self, hours: float) -> None:
        self.step().wall_clock(hours)

    @rule(times=st.sampled_from((1, 1, 3)))
    def ask(self, times: int) -> None:
        self.step().ask(times)

    @rule(verdict=st.sampled_from(VERDICTS))
    def call(self, verdict: str) -> None:
        self.step().call(verdict)

    @rule(which=st.integers(0, 7), verdict=st.sampled_from(VERDICTS))
    def report(self, which: int, verdict: str) -> None:
        self.step().report(which, verdict)

    @rule(which=st.integers(0, 7))
    def lose(self, which: int) -> None:
        self.step().lose(which)

    @rule(state=st.sampled_from(("open", "closed")))
    def by_hand(self, state: str) -> None:
        self.step().by_hand(state)

    @rule()
    def anger(self) -> None:
        self.step().anger()


def test_the_breaker_agrees_with_its_model_step_by_step(full: bool, figures: Figures) -> None:  # noqa: FBT001
    """As Hypothesis finds it: what fails is printed as the shortest list of steps."""
    BreakerMachine.steps = 0
    examples, steps = (2_900, 400) if full else (60, 60)
    allowed = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(BreakerMachine, settings=allowed)
    if full:
        steps = BreakerMachine.steps
        figures.note("breaker against its model, steps by Hypothesis", f"{steps:,}", "1,000,000", met=steps >= MILLION)


def dice(draw: random.Random) -> tuple[str, tuple[Any, ...]]:
    """One step of the pair, and with what."""
    return draw.choices(
        (
            ("call", (draw.choice(VERDICTS),)),
            ("ask", (draw.choice((1, 1, 3)),)),
            ("report", (draw.randrange(64), draw.choice(VERDICTS))),
            ("wait", (draw.choice(WAITS),)),
            ("wait_for_boundary", (draw.randrange(4), draw.choice((-1, 0, 1)))),
            ("lose", (draw.randrange(64),)),
            ("by_hand", (draw.choice(("open", "closed")),)),
            ("wall_clock", (draw.choice(HOURS),)),
            ("anger", ()),
        ),
        (30, 12, 25, 12, 12, 3, 2, 3, 1),
    )[0]


def walk(seed: int, steps: int) -> None:
    """So many steps from one seed.

    Raises:
        AssertionError: with the seed and the steps that led there.
    """
    draw = random.Random(seed)
    policy = {
        "failures": draw.choice(FAILURES),
        "window": draw.choice(WINDOWS),
        "reset": RESET,
        "spread": draw.choice(SPREADS),
    }
    pair = Pair(**policy)  # type: ignore[arg-type]
    taken: list[tuple[str, tuple[Any, ...]]] = []
    for _ in range(steps):
        name, arguments = dice(draw)
        taken.append((name, arguments))
        try:
            getattr(pair, name)(*arguments)
        except (AssertionError, pytest.fail.Exception) as error:
            raise AssertionError(f"seed {seed}, {policy}, after {taken}: {error}") from error


def walks(seeds: int, steps: int) -> None:
    """A walk from each of so many seeds."""
    for seed in range(seeds):
        walk(seed, steps)


def test_the_breaker_agrees_with_its_model_over_a_million_steps(full: bool, figures: Figures) -> None:  # noqa: FBT001
    """The same steps by dice, each walk from a seed of its own."""
    total, each = (MILLION if full else 20_000), 500
    walks(total // each, each)
    if full:
        figures.note("breaker against its model, steps by dice", f"{total:,}", "1,000,000", met=total >= MILLION)


# The comparison is worth what it finds: breakers with one rule broken.


def lets_a_second_try(patch: pytest.MonkeyPatch) -> None:
    real = Breaker.permit

    def permit(self: Breaker) -> Permit:
        self._try = None
        return real(self)

    patch.setattr(Breaker, "permit", permit)


def counts_late_failures(patch: pytest.MonkeyPatch) -> None:
    real = Breaker._end

    def end(self: Breaker, permit: Permit, verdict: Verdict) -> None:
        permit.epoch = self._window.epoch
        real(self, permit, verdict)

    patch.setattr(Breaker, "_end", end)


def forgets_on_success(patch: pytest.MonkeyPatch) -> None:
    real = Breaker._end

    def end(self: Breaker, permit: Permit, verdict: Verdict) -> None:
        real(self, permit, verdict)
        if verdict is None:
            self._window._failed_at.clear()

    patch.setattr(Breaker, "_end", end)


def leaves_an_operators_try(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "open", lambda self: self._change(self._circuit.open))


def lets_listeners_hurt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "_safely", lambda _self, tell: tell())


def opens_a_tick_too_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Breaker, "_retry_in", lambda self: max(0.0, self._reset + TICK - (self._clock() - self._window.opened))
    )


@pytest.mark.parametrize(
    "broken",
    [
        lets_a_second_try,
        counts_late_failures,
        forgets_on_success,
        leaves_an_operators_try,
        lets_listeners_hurt,
        opens_a_tick_too_late,
    ],
)
def test_the_model_finds_a_breaker_with_one_rule_broken(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    with pytest.raises((AssertionError, LookupError, ValueError, pytest.fail.Exception)):
        walks(100, 500)
