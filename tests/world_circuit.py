"""Whether a circuit of a world opens, tries and closes by the rule."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.world_facts import EPSILON, History, Numbers, Wrong


@dataclass(slots=True)
class Load:
    """One call of a provider, the `number`th thing of it. `half_open`: it began while the circuit was being tried."""

    number: int
    key: str
    begun: float
    epoch: int
    half_open: bool
    timed_out: bool = False


class Circuit:
    """It is told each change of state, and checks it."""

    def __init__(self, name: str, numbers: Numbers) -> None:
        self.state = History("closed")
        self._name = name
        self._numbers = numbers
        self.epoch = 0
        self._failed_at: deque[float] = deque()
        self._by_hand = False
        self._tries = 0
        self._tried: str | None = None

    def by_hand(self, action: Callable[[], None]) -> None:
        """An operator's action, during which any change is right."""
        self._by_hand = True
        action()
        self._by_hand = False
        self._begin()

    def _begin(self) -> None:
        self.epoch += 1
        self._failed_at.clear()
        self._tries = 0
        self._tried = None

    def begun(self, load: Load) -> None:
        """A call begins, which must not be while it is open, and alone while it is being tried."""
        if load.half_open:
            self._tries += 1
            if self._tries > 1:
                raise Wrong(f"{self._name}: {self._tries} tries at once in half-open")
        elif self.state.now == "open" and load.begun > self.state.since + EPSILON:
            raise Wrong(f"{self._name}: called while its circuit is open")

    def verdict(self, load: Load, at: float, verdict: str) -> None:
        """A call ended: `good`, `failed`, or `none` where that says nothing of the provider."""
        if load.epoch != self.epoch:
            return
        if load.half_open:
            self._tries -= 1
            self._tried = verdict
        if verdict == "failed":
            self._failed_at.append(at)

    def changed(self, now: float, state: str) -> None:
        """The service says that it changed its state."""
        before, since = self.state.now, self.state.since
        if not self._by_hand:
            self._judge(now, before, since, state)
        self.state.set(now, state)
        if not self._by_hand:
            self._begin()

    def _judge(self, now: float, before: str, since: float, state: str) -> None:
        reset = self._numbers.reset
        move = f"{self._name}: {before} to {state}"
        if (before, state) == ("closed", "open"):
            if self._recent(now, EPSILON) < self._numbers.failures:
                raise Wrong(f"{move} after {len(self._failed_at)} failures in this state")
        elif (before, state) == ("open", "half_open"):
            if now - since < reset - EPSILON:
                raise Wrong(f"{move} after {now - since} of {reset} s")
        elif before == "half_open" and state in {"open", "closed"}:
            if self._tried != ("failed" if state == "open" else "good"):
                raise Wrong(f"{move} when the try was {self._tried}")
        else:
            raise Wrong(move)

    def _recent(self, now: float, slack: float) -> int:
        return sum(at >= now - self._numbers.window - slack for at in self._failed_at)

    def look(self, now: float) -> None:
        """It must be open once there were enough failures, however recent: those of this very moment are still on their way."""
        while self._failed_at and self._failed_at[0] < now - self._numbers.window - 1.0:
            self._failed_at.popleft()
        if self.state.now == "closed" and len(self._failed_at) >= self._numbers.failures:
            before = [at for at in self._failed_at if now - self._numbers.window + EPSILON < at < now - EPSILON]
            if len(before) >= self._numbers.failures:
                raise Wrong(f"{self._name}: closed after failures at {before}")
