"""The circuits of the providers, with the policies of the configuration, and who watches each."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from extauthz.config import ProvidersConfig
from extauthz.config.providers import BillingConfig, CredentialsConfig, EventsConfig, LifecycleConfig, ProtectionConfig
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.policy import BreakerPolicy
from extauthz.telemetry.metrics import Metrics
from extauthz.wiring.watch import Watch

ProviderConfig = CredentialsConfig | LifecycleConfig | BillingConfig | ProtectionConfig | EventsConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuits:
    """Breakers and watches by the names of their providers."""

    breakers: Mapping[str, Breaker]
    watches: Mapping[str, Watch]


def build_circuits(providers: ProvidersConfig, metrics: Metrics, *, events: bool) -> Circuits:
    """A circuit for each provider; with `events` for the event store too, which `none:` does not have."""
    configured: dict[str, ProviderConfig] = {
        "credentials": providers.credentials,
        "lifecycle": providers.lifecycle,
        "billing": providers.billing,
        "protection": providers.protection,
    }
    if events:
        configured["events"] = providers.events
    watches = {name: Watch(metrics.provider(name)) for name in configured}
    return Circuits(
        breakers={name: _breaker(name, config, watches[name]) for name, config in configured.items()}, watches=watches
    )


def _breaker(name: str, config: ProviderConfig, watch: Watch) -> Breaker:
    given = config.breaker
    policy = BreakerPolicy(failures=given.failures, window=given.window, reset=given.reset)
    return Breaker(provider=name, policy=policy, clock=time.monotonic, observer=watch)
