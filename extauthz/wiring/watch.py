"""What `/health` knows of a provider: the latency of its last call, beside what the metrics count."""

from extauthz.admin import ComponentHealth
from extauthz.ports import CacheResult, CircuitState, ProviderObserver
from extauthz.resilience.breaker import Breaker


class Watch:
    """A `ProviderObserver` that passes everything on and remembers how long the last call took."""

    def __init__(self, onward: ProviderObserver) -> None:
        self._onward = onward
        self.latency: float | None = None

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        """A call ended after `seconds`."""
        self.latency = seconds
        self._onward.called(operation, seconds, answered=answered)

    def refused(self, operation: str) -> None:
        """A call was not made."""
        self._onward.refused(operation)

    def cache(self, result: CacheResult) -> None:
        """The cache was asked."""
        self._onward.cache(result)

    def circuit(self, state: CircuitState) -> None:
        """The circuit changed its state."""
        self._onward.circuit(state)


def health_of(breaker: Breaker, watch: Watch) -> ComponentHealth:
    """One provider as `/health` shows it."""
    view = breaker.view()
    return ComponentHealth(
        status="ok" if view.state is CircuitState.CLOSED else "degraded",
        breaker=view.state,
        last_error=view.last_error or None,
        latency_ms=None if watch.latency is None else round(watch.latency * 1000, 3),
    )
