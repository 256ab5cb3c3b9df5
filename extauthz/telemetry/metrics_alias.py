"""The other names that operators know: made from the same series at scrape time, so that they can never disagree."""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from extauthz.model.decision import Gate
from extauthz.telemetry.metrics_changes import ChangeMetrics
from extauthz.telemetry.metrics_checks import CheckMetrics
from extauthz.telemetry.metrics_events import EventMetrics
from extauthz.telemetry.metrics_family import Counters, Histograms, Labels, Spread
from extauthz.telemetry.metrics_provider import ProviderMetrics

_PROTECTION: Final = (Gate.PROTECTION.value,)


class Aliases(Collector):
    """Exports what is counted under its second name. Labels that the second name does not have are summed up."""

    def __init__(
        self, checks: CheckMetrics, changes: ChangeMetrics, providers: ProviderMetrics, events: EventMetrics
    ) -> None:
        self._checks = checks
        self._changes = changes
        self._providers = providers
        self._events = events

    def describe(self) -> Iterable[Metric]:
        """The names, for the registry's check that none is taken twice."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """All of them as they are now."""
        return [*self._counters(), *self._histograms()]

    def _counters(self) -> Iterator[Metric]:
        checks = self._checks
        yield _summed("lifecycle_state_transitions_total", self._changes.transitions, ("from", "to"))
        yield _summed("gate_lifecycle_blocks_total", checks.lifecycle_blocks, ("reason",))
        yield _summed("gate_billing_blocks_total", checks.billing_blocks, ("reason",))
        yield _summed("gate_protection_decisions_total", checks.dimensions, ("decision",))
        yield _summed("lifecycle_provider_errors_total", self._providers.errors, (), only=("lifecycle",))
        yield _summed("protection_anomalies_total", checks.anomalies, ("severity",))
        yield _summed("observability_events_emitted_total", self._events.events, ("type", "source"))
        made = sum(checks.gate_latency.children[_PROTECTION].counts)
        yield CounterMetricFamily("protection_checks_total", "Checks that the protection gate looked at.", value=made)

    def _histograms(self) -> Iterator[Metric]:
        yield _merged("protection_check_latency_seconds", self._checks.gate_latency, only=_PROTECTION)
        yield _merged("billing_provider_latency_seconds", self._providers.latency, only=("billing",))


def _summed(name: str, family: Counters, labels: Labels, only: Labels = ()) -> Metric:
    """`family` as `name` with only these labels; of the series whose label values begin with `only`."""
    kept = [family.labels.index(label) for label in labels]
    sums: dict[Labels, float] = {(): 0.0} if not labels else {}
    for values, child in family.children.items():
        if values[: len(only)] == only:
            key = tuple(values[index] for index in kept)
            sums[key] = sums.get(key, 0.0) + child.value
    alias = CounterMetricFamily(name, f"Another name of {family.name}.", labels=labels)
    for key, value in sums.items():
        alias.add_metric(key, value)
    return alias


def _merged(name: str, family: Histograms, only: Labels) -> Metric:
    """`family` as `name` without labels: the sum of the series whose label values begin with `only`."""
    merged: Spread | None = None
    for values, child in family.children.items():
        if values[: len(only)] == only:
            merged = child.plus(merged)
    alias = Histograms(name, f"Another name of {family.name}.", bounds=family.bounds)
    return alias.showing([((), merged or Spread(family.bounds))])
