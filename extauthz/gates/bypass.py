"""The emergency bypass: a gate out of service for a time, or by the environment for as long as the process lives."""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from extauthz.gates.base import GateControl
from extauthz.model.decision import Gate
from extauthz.model.lifecycle import Change

LONGEST: Final = 24 * 3600.0
"""Seconds that a bypass lasts at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bypass:
    """How a gate stands.

    `remaining` is in seconds; None: it is not bypassed, or without an end. `change` is who bypassed it, why and when; None:
    nobody did. `permanent`: the environment did.
    """

    gate: Gate
    active: bool
    remaining: float | None = None
    change: Change | None = None
    permanent: bool = False


class Bypasses:
    """Takes gates out of service and puts them back, by itself where their time is over, on the loop's monotonic clock.

    Nothing here waits. `controls` are those of the gates that may be bypassed. `ended` is told of a bypass whose time is over.
    """

    def __init__(self, controls: Mapping[Gate, GateControl], ended: Callable[[Gate], None]) -> None:
        self._controls = controls
        self._ended = ended
        self._changes: dict[Gate, Change] = {}
        self._timers: dict[Gate, asyncio.TimerHandle] = {}

    def begin(self, gate: Gate, seconds: float | None, change: Change) -> None:
        """Bypass a gate for `seconds` from now, whatever was left of a bypass before; None: without an end."""
        self._stop(gate)
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timers[gate] = loop.call_later(seconds, self._time_is_over, gate, context=Context())
        self._changes[gate] = change
        self._controls[gate].bypass(active=True)

    def end(self, gate: Gate) -> None:
        """Put a gate back in service; where it is, nothing happens."""
        self._stop(gate)
        self._changes.pop(gate, None)
        self._controls[gate].bypass(active=False)

    def of(self, gate: Gate) -> Bypass:
        """How a gate stands.

        Raises:
            KeyError: one that has no bypass.
        """
        active = self._controls[gate].bypassed
        timer = self._timers.get(gate)
        left = None if timer is None else max(0.0, timer.when() - asyncio.get_running_loop().time())
        permanent = active and timer is None
        return Bypass(gate=gate, active=active, remaining=left, change=self._changes.get(gate), permanent=permanent)

    def all(self) -> tuple[Bypass, ...]:
        """How each gate stands that may be bypassed."""
        return tuple(self.of(gate) for gate in self._controls)

    def close(self) -> None:
        """Watch the time no more."""
        for gate in tuple(self._timers):
            self._stop(gate)

    def _stop(self, gate: Gate) -> None:
        timer = self._timers.pop(gate, None)
        if timer is not None:
            timer.cancel()

    def _time_is_over(self, gate: Gate) -> None:
        self.end(gate)
        self._ended(gate)
