"""A circuit breaker as spec section 4 tells it, in lists and numbers, and a real one that is led through the same steps beside it.

Every time here is a multiple of 1/256 s, which floats hold exactly: the two agree on every boundary, or one of them is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Self

import pybreaker
import pytest

from extauthz.errors import ProviderError, ProviderTimeout
from extauthz.ports import CacheResult, CircuitState, CircuitView
from extauthz.resilience import window as window_module
from extauthz.resilience.breaker import Breaker, CircuitOpen, Permit
from extauthz.resilience.policy import BreakerPolicy
from extauthz.testing import FakeClock

TICK: Final = 1 / 256
"""The smallest step of time, in seconds."""

REMEMBERED: Final = 64
"""Permits that are still out and are led on; of older ones nobody hears any more."""


@dataclass
class Out:
    """A permit that is out, as the model sees it: `number` in order, `epoch` the state changes before it."""

    permit: Permit
    number: int
    epoch: int
    reported: bool = False


@dataclass
class BreakerModel:
    """The rules, and nothing of pybreaker's.

    `trying` is the number of the permit that holds the one try; `opened_by` how many failures were in the window when it
    left the closed state.
    """

    failures: int
    window: float
    reset: float
    now: float
    state: str = "closed"
    failed_at: list[float] = field(default_factory=list)
    opened: float = 0.0
    opened_by: int = 0
    epoch: int = 0
    trying: int | None = None
    last_error: str = ""
    changes: list[tuple[str, str]] = field(default_factory=list)

    def recent(self) -> list[float]:
        """The failures within the window that ends now, its first moment included."""
        return [at for at in self.failed_at if at >= self.now - self.window]

    def wait(self) -> float:
        """Seconds until a try; 0 while there may be one, or is one."""
        return max(0.0, self.opened + self.reset - self.now) if self.state == "open" else 0.0

    def refuses(self) -> bool:
        """Whether a call must not be made now."""
        if self.state == "closed":
            return False
        return self.trying is not None or self.wait() > 0

    def move(self, state: str) -> None:
        """Change the state, by rule or by hand: what was counted is over, what was begun says nothing any more."""
        if self.state == "closed":
            self.opened_by = len(self.recent())
        if state != self.state:
            self.changes.append((self.state, state))
        self.state = state
        self.failed_at = []
        self.epoch += 1
        if state == "open":
            self.opened = self.now

    def granted(self, number: int) -> None:
        """A permit is given, which must be in order."""
        if self.state == "open":
            self.move("half_open")
        if self.state == "half_open":
            self.trying = number

    def reported(self, out: Out, error: str | None) -> None:
        """A permit's first report: `error` is a class name, "" for success, None for a call that was called off."""
        if self.trying == out.number:
            self.trying = None
        if error is None:
            return
        if error:
            self.last_error = error
        if out.epoch != self.epoch:
            return
        if self.state == "half_open":
            self.move("open" if error else "closed")
        elif error:
            self.failed_at.append(self.now)
            if len(self.recent()) >= self.failures:
                self.move("open")

    def by_hand(self, state: str) -> None:
        """An operator opens or closes."""
        self.trying = None
        self.move(state)


class Wall(datetime):
    """The calendar as pybreaker asks for it; `ahead` is how far somebody set it off."""

    ahead: timedelta = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """The time of day."""
        return super().now(tz) + cls.ahead

    @classmethod
    def jump(cls, hours: float) -> None:
        """Set the clock of the machine."""
        cls.ahead = max(timedelta(hours=-9_999), min(cls.ahead + timedelta(hours=hours), timedelta(hours=9_999)))


def with_a_wall_clock_that_jumps(patch: pytest.MonkeyPatch) -> None:
    """Give the breaker, and pybreaker in it, the calendar above."""
    Wall.ahead = timedelta()
    patch.setattr(window_module, "datetime", Wall)
    patch.setattr(pybreaker, "datetime", Wall)
    assert Wall.now(UTC).tzinfo is UTC


class Ear:
    """An observer and listener that keeps what it is told, and raises or asks back while it is told."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.raises = False

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        raise AssertionError(f"a breaker calls nobody: {operation} {seconds} {answered}")

    def refused(self, operation: str) -> None:
        raise AssertionError(f"a breaker refuses by raising: {operation}")

    def cache(self, result: CacheResult) -> None:
        raise AssertionError(f"a breaker has no cache: {result}")

    def circuit(self, state: CircuitState) -> None:
        self.states.append(state.value)
        if self.raises:
            raise ValueError(state)


class Pair:
    """A breaker and the model of it. Each method is one step of both; all but the passing of time end in `agree`.

    Args:
        failures: as in the policy.
        window: seconds, a multiple of TICK.
        reset: seconds, with the spread a multiple of TICK.
        spread: the factor on `reset`.
    """

    def __init__(self, *, failures: int, window: float, reset: float, spread: float) -> None:
        self.clock = FakeClock()
        self.ear = Ear()
        self.told: list[tuple[str, str]] = []
        self.breaker = Breaker(
            provider="lifecycle",
            policy=BreakerPolicy(failures=failures, window=window, reset=reset),
            clock=self.clock,
            observer=self.ear,
            spread=lambda: spread,
        )
        self.model = BreakerModel(failures=failures, window=window, reset=reset * spread, now=self.clock())
        self.out: list[Out] = []
        self.given = 0
        self.second_tries: list[str] = []
        self._angry: Callable[[], None] | None = None
        self.breaker.listen(self._hear)

    def _hear(self, before: CircuitState, view: CircuitView) -> None:
        self.told.append((before.value, view.state.value))
        if view.state is CircuitState.HALF_OPEN:
            try:  # whoever is told of the try must not get another one
                self.breaker.permit()
            except CircuitOpen:
                return
            self.second_tries.append("a listener got a second try")

    def wait(self, seconds: float) -> None:
        """Time passes, and nobody looks: what the next step finds must not hang on somebody having looked in between."""
        self.clock.advance(seconds)
        self.model.now = self.clock()

    def wait_for_boundary(self, which: int, ticks: int) -> None:
        """To the end of the reset time or of a failure's time in the window, or a tick beside it."""
        model = self.model
        if model.state == "open":
            at = model.opened + model.reset
        elif model.failed_at:
            at = model.failed_at[which % len(model.failed_at)] + model.window
        else:
            return
        self.wait(max(0.0, at + ticks * TICK - model.now))

    def wall_clock(self, hours: float) -> None:
        """Somebody sets the clock of the machine."""
        Wall.jump(hours)
        self.agree()

    def ask(self, times: int = 1) -> None:
        """Ask for permits."""
        for _ in range(times):
            self._ask()
        self.agree()

    def _ask(self) -> None:
        if self.model.refuses():
            with pytest.raises(CircuitOpen) as refusal:
                self.breaker.permit()
            assert refusal.value.retry_in == self.model.wait(), "the time until the next try"
            return
        self.given += 1
        self.model.granted(self.given)
        permit = self.breaker.permit()
        self.out.append(Out(permit, self.given, self.model.epoch))
        if len(self.out) > REMEMBERED:
            self.out.pop(0)

    def report(self, which: int, verdict: str) -> None:
        """One of the permits out reports, perhaps not for the first time."""
        if not self.out:
            return
        out = self.out[which % len(self.out)]
        error: str | None = ""
        if verdict == "succeeded":
            out.permit.succeeded()
        elif verdict == "released":
            error = None
            out.permit.released()
        else:
            failure = ProviderTimeout("x") if verdict == "timeout" else ProviderError("x")
            error = type(failure).__name__
            out.permit.failed(failure)
        if not out.reported:
            out.reported = True
            self.model.reported(out, error)
        self.agree()

    def call(self, verdict: str) -> None:
        """Ask, and report at once: most calls are like that."""
        given = self.given
        self._ask()
        if self.given > given:
            self.report(-1, verdict)

    def lose(self, which: int) -> None:
        """A permit of which nobody ever hears again."""
        if self.out:
            self.out.pop(which % len(self.out))
        self.agree()

    def by_hand(self, state: str) -> None:
        """An operator sets the circuit."""
        if state == "open":
            self.breaker.open()
        else:
            self.breaker.close()
        self.model.by_hand(state)
        self.agree()

    def anger(self) -> None:
        """The observer, and a listener in front of others, begin to raise, or cease to."""
        self.ear.raises = not self.ear.raises
        if self._angry is None:
            self._angry = self.breaker.listen(_raise)
        else:
            self._angry()
            self._angry = None
        self.agree()

    def agree(self) -> None:
        """What anybody can see of the breaker is what the model says."""
        model, view = self.model, self.breaker.view()
        is_closed = model.state == "closed"
        recent = len(model.recent())
        assert view.state.value == self.breaker.state.value == model.state
        assert view.failures == (recent if is_closed else model.opened_by)
        assert view.opened_for == (None if is_closed else model.now - model.opened)
        assert view.retry_in == self.breaker.retry_in == (None if is_closed else model.wait())
        assert view.last_error == model.last_error
        assert self.breaker.refuses == model.refuses()
        assert self.breaker.failing == (not is_closed or recent > 0)
        assert recent < model.failures
        assert not self.second_tries
        if model.changes or self.told:
            self._agree_on_changes(model.changes)

    def _agree_on_changes(self, changes: Sequence[tuple[str, str]]) -> None:
        assert self.told == changes
        assert self.ear.states == [after for _, after in changes]
        self.told.clear()
        self.ear.states.clear()
        self.model.changes.clear()


def _raise(before: CircuitState, view: CircuitView) -> None:
    raise LookupError(before, view)
