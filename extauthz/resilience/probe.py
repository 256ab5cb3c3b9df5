"""A circuit whose time is up and which sees no traffic is tried all the same."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Final

from extauthz.ports import CircuitState, CircuitView
from extauthz.resilience.breaker import Breaker

AGAIN: Final = 1.0
"""Seconds until a try that could not be made (a full bulkhead) is made again."""


class Probe:
    """Sets a timer whenever the circuit opens. `attempt` makes one call by the usual way, where nothing stops it."""

    def __init__(self, breaker: Breaker, attempt: Callable[[], None]) -> None:
        self._breaker = breaker
        self._attempt = attempt
        self._timer: asyncio.TimerHandle | None = None
        self._unlisten = breaker.listen(self._changed)

    def close(self) -> None:
        """Try no more."""
        self._unlisten()
        self._stop()

    def _changed(self, _before: CircuitState, circuit: CircuitView) -> None:
        self._stop()
        if circuit.state is CircuitState.OPEN:
            self._arm(circuit.retry_in or 0.0)
        elif circuit.state is CircuitState.HALF_OPEN:
            self._arm(AGAIN)  # a try that is called off leaves it half-open, and perhaps nobody else comes

    def _arm(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._due, context=Context())

    def _due(self) -> None:
        """Try, if nobody does; and come back while the circuit is not closed: its time may have been set anew by hand."""
        self._timer = None
        if self._breaker.state is not CircuitState.CLOSED and not self._breaker.refuses:
            self._attempt()
        if self._breaker.state is not CircuitState.CLOSED and self._timer is None:
            self._arm(self._breaker.retry_in or AGAIN)

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
