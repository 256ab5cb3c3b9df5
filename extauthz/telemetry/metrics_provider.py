"""What is counted of every provider: latency, errors, cache and circuit."""

from collections.abc import Mapping, Sequence
from typing import Final

from extauthz.ports import CacheResult, CircuitState
from extauthz.telemetry.metrics_family import LATENCY_BUCKETS, Counters, Gauges, Histograms, Labels

DEFAULT_DEADLINES: Final = {
    "credentials": 0.25,
    "lifecycle": 0.5,
    "billing": 0.2,
    "protection": 0.1,
    "events": 0.05,
}
"""The providers and their default deadlines in seconds (spec section 4)."""

OPERATIONS: Final = {
    "credentials": ("find_key",),
    "lifecycle": ("find_lifecycle",),
    "billing": ("find_billing",),
    "protection": ("charge",),
    "events": ("append",),
}
"""The operations whose series are there from the start; others appear with their first call."""

_CIRCUIT_LEVEL: Final = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}
_UNCACHED: Final = frozenset({"events"})


def latency_buckets(deadlines: Mapping[str, float]) -> tuple[float, ...]:
    """The usual bounds, and 0.8 and 1 times every provider's deadline.

    One histogram has one set of bounds: were they different per provider, `sum by (le)` over providers would be wrong. So
    every provider has the bounds of all; that is two more series for each.
    """
    exact = {round(share * deadline, 9) for deadline in deadlines.values() for share in (0.8, 1.0)}
    return tuple(sorted(exact.union(LATENCY_BUCKETS)))


class ProviderMetrics:
    """The families of all providers. `deadlines` are theirs, in seconds, by name: no other provider is counted."""

    def __init__(self, deadlines: Mapping[str, float]) -> None:
        self._deadlines = dict(deadlines)
        names = [(name,) for name in deadlines]
        calls = [(name, operation) for name in deadlines for operation in OPERATIONS.get(name, ())]
        self._declare_calls(calls, latency_buckets(deadlines))
        self.deadline = Gauges("provider_deadline_seconds", "A provider's own deadline.", ("provider",), names)
        self.opened = Counters("provider_circuit_open_total", "How often a circuit opened.", ("provider",), names)
        self.circuit = Gauges("provider_circuit_state", "0 closed, 1 half-open, 2 open.", ("provider",), names)
        self.cache = Counters(
            "provider_cache_requests_total",
            "What the cache in front of a provider said.",
            ("provider", "result"),
            [(name, result) for name in deadlines if name not in _UNCACHED for result in CacheResult],
        )
        for name, deadline in deadlines.items():
            self.deadline.of(name).value = deadline
        self.families = (self.latency, self.errors, self.deadline, self.opened, self.circuit, self.cache)

    def _declare_calls(self, calls: Sequence[Labels], bounds: tuple[float, ...]) -> None:
        labels = ("provider", "operation")
        self.latency = Histograms(
            "provider_latency_seconds",
            "Time a provider's call took; a time-out is observed at the deadline.",
            labels,
            calls,
            bounds=bounds,
        )
        self.errors = Counters(
            "provider_errors_total",
            "Calls that got no answer, those that an open circuit or a full bulkhead refused included.",
            labels,
            calls,
        )

    def watch(self, provider: str) -> "ProviderWatch":
        """The observer for one provider.

        Raises:
            ValueError: a provider whose deadline was not given.
        """
        if provider not in self._deadlines:
            raise ValueError(f"no deadline was given for provider {provider!r}")
        return ProviderWatch(self, provider)


class ProviderWatch:
    """Counts what one guard tells of its provider."""

    def __init__(self, metrics: ProviderMetrics, provider: str) -> None:
        self._provider = provider
        self._latency = metrics.latency.children
        self._errors = metrics.errors.children
        self._cache = metrics.cache.children
        self._level = metrics.circuit.of(provider)
        self._opened = metrics.opened.of(provider)

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        """A call ended after `seconds`."""
        self._latency[self._provider, operation].observe(seconds)
        if not answered:
            self._errors[self._provider, operation].value += 1

    def refused(self, operation: str) -> None:
        """A call was not made."""
        self._errors[self._provider, operation].value += 1

    def cache(self, result: CacheResult) -> None:
        """The cache was asked."""
        self._cache[self._provider, result].value += 1

    def circuit(self, state: CircuitState) -> None:
        """The circuit is in `state` now; told twice it has still opened once."""
        level = _CIRCUIT_LEVEL[state]
        if state is CircuitState.OPEN and self._level.value != level:
            self._opened.value += 1
        self._level.value = level
