"""The service's own metrics: one registry, nothing global (spec section 6.1)."""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from extauthz.gates.anomaly import Signal
from extauthz.model.decision import FAIL_OPEN_GATES, Gate
from extauthz.model.lifecycle import Transition
from extauthz.ports import ProviderObserver
from extauthz.telemetry.metrics_alias import Aliases
from extauthz.telemetry.metrics_changes import ChangeMetrics
from extauthz.telemetry.metrics_checks import CheckMetrics
from extauthz.telemetry.metrics_events import EventMetrics
from extauthz.telemetry.metrics_family import Counters, Gauges
from extauthz.telemetry.metrics_provider import DEFAULT_DEADLINES, ProviderMetrics
from extauthz.telemetry.metrics_rpc import RpcMetrics

_NO_PREFERENCE: Final = ""


class Metrics:
    """Everything that `/metrics` shows, with the hooks that feed it. To be used on one event loop only.

    `deadlines` are the providers' own deadlines in seconds by name (default: those of spec section 4): the bounds of
    `provider_latency_seconds` follow from them.
    """

    def __init__(self, deadlines: Mapping[str, float] = DEFAULT_DEADLINES) -> None:
        self._checks = CheckMetrics()
        self._changes = ChangeMetrics()
        self._providers = ProviderMetrics({**DEFAULT_DEADLINES, **deadlines})
        self._rpc = RpcMetrics()
        self.events = EventMetrics(self._providers.watch("events"))
        self._declare_service()
        self.checked = self._checks.checked  # bound once: one call less for every check
        self.registry = self._registry()

    def _declare_service(self) -> None:
        gates = [(gate,) for gate in FAIL_OPEN_GATES]
        self._bypass = Gauges("gate_bypass_active", "1 while a gate is bypassed.", ("gate",), gates)
        results = [("success",), ("failure",)]
        self._reloads = Counters("config_reloads_total", "Reloads of the configuration.", ("result",), results)
        self._lag = Gauges("event_loop_lag_seconds", "The longest that the event loop was late in the last 75 s.")

    def _registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        for group in (self._checks, self._changes, self._providers, self.events, self._rpc):
            for family in group.families:
                registry.register(family)
        for family in (self._bypass, self._reloads, self._lag):
            registry.register(family)
        registry.register(Aliases(self._checks, self._changes, self._providers, self.events))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        return registry

    def transitioned(self, transition: Transition) -> None:
        """A tenant moved."""
        self._changes.transitioned(transition)

    def transition_failed(self, reason: str) -> None:
        """A transition was refused or went wrong."""
        self._changes.transition_failed(reason)

    def provider(self, name: str) -> ProviderObserver:
        """The observer for the guard of one provider.

        Raises:
            ValueError: a provider whose deadline was not given.
        """
        return self._providers.watch(name)

    def rpc(self, service: str, method: str) -> Callable[[int, float], None]:
        """What to call at the end of every RPC of this method: with the number of its gRPC status code, and seconds."""
        return self._rpc.watch(service, method)

    def anomaly(self, signal: Signal) -> None:
        """A tenant left its baseline."""
        self._checks.anomalies.of(signal.severity).value += 1

    def bypassed(self, gate: Gate, *, active: bool) -> None:
        """A bypass began or ended."""
        self._bypass.of(gate).value = float(active)

    def reloaded(self, *, success: bool) -> None:
        """A new configuration was taken, or refused."""
        self._reloads.of("success" if success else "failure").value += 1

    def follow_lag(self, read: Callable[[], float]) -> None:
        """Where the event loop's lag (seconds) is read at scrape time."""
        self._lag.follow(read)

    def render(self, accept: str = _NO_PREFERENCE) -> tuple[str, bytes]:
        """Content type and text: OpenMetrics where the `accept` header asks for it, else Prometheus's own format."""
        try:
            encode, content_type = choose_encoder(accept)
            return content_type, encode(self.registry)
        except Exception:  # noqa: BLE001 - a header that the library's parser breaks on is no reason to show nothing
            encode, content_type = choose_encoder(_NO_PREFERENCE)
            return content_type, encode(self.registry)
