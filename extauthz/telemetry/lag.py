"""How late the event loop is: what every check would have waited."""

import asyncio
from collections import deque
from typing import Final

from extauthz.ports import Clock

INTERVAL: Final = 0.1
SHOWN_FOR: Final = 75.0
"""Seconds for which the metric shows the worst lag: longer than Prometheus's default interval of a minute, or scrapes would miss
it. A window, not "since the last scrape": two Prometheus servers must both see it."""

BLOCKED_FOR: Final = 5.0
"""Seconds for which `blocked_for` remembers: a probe that arrives just after the loop is free again must still see it."""


class LoopLag:
    """Measures every 100 ms how late a timer fires. `clock` is the event loop's own, in seconds."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._due: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._worst: deque[tuple[float, float]] = (
            deque()
        )  # (when, lag), lags falling: the first is the worst in the window

    def start(self) -> None:
        """Begin to measure."""
        self._task = asyncio.create_task(self._measure())

    def close(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            self._due = None

    def lag(self) -> float:
        """The longest that the loop was late in the last 75 s, in seconds; a delay that has not ended yet counts too."""
        return self._worst_since(self._clock() - SHOWN_FOR)

    def blocked_for(self) -> float:
        """The longest that the loop was late in the last 5 s, in seconds; a delay that has not ended yet counts too."""
        return self._worst_since(self._clock() - BLOCKED_FOR)

    async def _measure(self) -> None:
        while True:
            self._due = self._clock() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._note(self._clock() - self._due)

    def _note(self, lag: float) -> None:
        now = self._clock()
        while self._worst and self._worst[-1][1] <= lag:
            self._worst.pop()
        self._worst.append((now, lag))
        while self._worst[0][0] < now - SHOWN_FOR:
            self._worst.popleft()

    def _worst_since(self, start: float) -> float:
        under_way = 0.0 if self._due is None else self._clock() - self._due
        return max(0.0, under_way, *(lag for when, lag in self._worst if when >= start))
