"""The circuit breaker: pybreaker's state machine, fenced in (docs/decisions/0003-pybreaker-fenced-in.md).

Ask for a permit, call the provider outside of the breaker, report once. Nothing here awaits, so nothing can come between a look
and a change; all of it belongs to one event loop. pybreaker is given a storage of ours, which holds a sliding window of
failures on the monotonic clock, and no listeners.
"""

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

import pybreaker

from extauthz.model.deadline import Clock
from extauthz.ports import CircuitState, CircuitView, ProviderObserver
from extauthz.resilience.permit import CalledOff, CircuitOpen, Permit, Verdict
from extauthz.resilience.policy import BreakerPolicy
from extauthz.resilience.window import SlidingWindow

NO_WAIT: Final = 1e-9
"""Seconds that are none: what rounding leaves over when a timer that was set for the end of the reset time comes."""

StateListener = Callable[[CircuitState, CircuitView], None]
"""Told the state before a change, and the circuit after it."""

__all__ = ["Breaker", "CircuitOpen", "Permit", "StateListener"]

_log = logging.getLogger(__name__)

_STATES: Final = {
    pybreaker.STATE_CLOSED: CircuitState.CLOSED,
    pybreaker.STATE_HALF_OPEN: CircuitState.HALF_OPEN,
    pybreaker.STATE_OPEN: CircuitState.OPEN,
}


class _Failure(Exception):
    """What is raised inside pybreaker in place of the provider's error, whose traceback would grow otherwise."""


def _fail() -> NoReturn:
    raise _Failure


def _succeed() -> None:
    pass


def _ten_percent() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, protects nothing


class Breaker:
    """The circuit of one provider.

    `spread` gives the factor on the policy's reset time; it is drawn once, so that the processes of a fleet differ.
    """

    def __init__(
        self,
        *,
        provider: str,
        policy: BreakerPolicy,
        clock: Clock,
        observer: ProviderObserver,
        spread: Callable[[], float] = _ten_percent,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._observer = observer
        self._reset = policy.reset * spread()
        self._window = SlidingWindow(policy.window, clock)
        self._circuit = pybreaker.CircuitBreaker(
            fail_max=policy.failures,
            reset_timeout=self._reset,
            state_storage=self._window,
            throw_new_error_on_trip=False,
        )
        self._listeners: list[StateListener] = []
        self._try: Permit | None = None
        self._last_error = ""

    def permit(self) -> Permit:
        """Leave to call the provider now. While the circuit is half-open one permit is out at most.

        Raises:
            CircuitOpen: the call must not be made.
        """
        if self._window.state == pybreaker.STATE_CLOSED:
            return Permit(self._end, self._window.epoch)
        if self.refuses:
            raise CircuitOpen(self._retry_in())
        opened = self._window.state == pybreaker.STATE_OPEN
        permit = self._try = Permit(self._end, self._window.epoch + opened)  # the slot is taken before anyone is told
        if opened:
            self._change(self._circuit.half_open)
        return permit

    def _end(self, permit: Permit, verdict: Verdict) -> None:
        """Take a permit back. What was begun before the last change of state says nothing about the state of now."""
        if self._try is permit:
            self._try = None
        if isinstance(verdict, CalledOff):
            return
        if verdict is not None:
            self._last_error = type(verdict).__name__  # its text may hold anything
        if verdict is None and self._window.state == pybreaker.STATE_CLOSED:
            return  # a success changes nothing, which pybreaker takes four times as long to find out
        if self.knows(permit):
            with suppress(_Failure):
                self._change(lambda: self._circuit.call(_succeed if verdict is None else _fail))

    def knows(self, permit: Permit) -> bool:
        """Whether the circuit has not changed since `permit` was given, so that its verdict will count."""
        return permit.epoch == self._window.epoch

    def open(self) -> None:
        """Open the circuit by hand; its reset time starts now. What is under way cannot undo it."""
        self._try = None
        self._change(self._circuit.open)

    def close(self) -> None:
        """Close the circuit by hand, with no failure counted. What is under way cannot undo it."""
        self._try = None
        self._change(self._circuit.close)

    def view(self) -> CircuitView:
        """The circuit as an operator sees it. While it is not closed, `failures` are those that opened it."""
        closed = self._window.state == pybreaker.STATE_CLOSED
        return CircuitView(
            provider=self._provider,
            state=self.state,
            failures=self._window.counter if closed else self._window.tripped_by,
            opened_for=None if closed else self._clock() - self._window.opened,
            retry_in=self.retry_in,
            last_error=self._last_error,
        )

    @property
    def state(self) -> CircuitState:
        """The state of now. An open circuit becomes half-open when it is tried, not when its time is up."""
        return _STATES[self._window.state]

    @property
    def retry_in(self) -> float | None:
        """Seconds until the provider is tried again, 0 when that may be now; None where the circuit is closed."""
        return None if self._window.state == pybreaker.STATE_CLOSED else self._retry_in()

    @property
    def failing(self) -> bool:
        """Whether the provider fails: the circuit is not closed, or a failure lies within the window."""
        return self._window.state != pybreaker.STATE_CLOSED or self._window.counter > 0

    @property
    def refuses(self) -> bool:
        """Whether `permit` would raise now."""
        return self._window.state != pybreaker.STATE_CLOSED and (self._try is not None or self._retry_in() > 0)

    def listen(self, listener: StateListener) -> Callable[[], None]:
        """Call `listener` after every change of state; one that raises does no harm. Returns what ends it, once or more often."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def _retry_in(self) -> float:
        if self._window.state == pybreaker.STATE_HALF_OPEN:
            return 0.0
        left = self._reset - (self._clock() - self._window.opened)
        return left if left > NO_WAIT else 0.0

    def _change(self, action: Callable[[], object]) -> None:
        before = self.state
        try:
            action()
        finally:
            if self.state is not before:
                self._tell(before)

    def _tell(self, before: CircuitState) -> None:
        """Only now, with the new state in place: pybreaker's own listeners are called before it is, and can prevent it."""
        view = self.view()
        self._safely(lambda: self._observer.circuit(view.state))
        for listener in tuple(self._listeners):
            self._safely(lambda listener=listener: listener(before, view))  # type: ignore[misc]

    def _safely(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:  # noqa: BLE001 - whatever a listener does must not reach the circuit
            _log.warning("a listener of the circuit of %s raised %s", self._provider, type(error).__name__)
