"""The guards: each provider behind its breaker, deadline and cache, with the policies of the configuration."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from typing import Final

from extauthz.config import Config
from extauthz.config.providers import BillingConfig, CredentialsConfig, LifecycleConfig, ProtectionConfig
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState
from extauthz.ports import CircuitState, ProtectionProvider
from extauthz.providers.local_handover import HandOver
from extauthz.providers.local_protection import LocalProtection
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.guard import Guard
from extauthz.resilience.policy import CachePolicy, ChargePolicy, GuardPolicy
from extauthz.wiring.backends import Backends
from extauthz.wiring.circuits import Circuits
from extauthz.wiring.watch import Watch

REFUSED_TTL: Final = 5.0
"""Seconds for which it is remembered that a credential does not exist (spec 3.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """The guarded providers, and the circuits of all of them.

    `local` counts in process where protection's provider, which is somewhere else, can't; None where it is in process itself.
    """

    credentials: Guard[str, ApiKey | None]
    lifecycle: Guard[str, LifecycleRecord | None]
    billing: Guard[str, BillingRecord | None]
    protection: ChargeGuard
    local: LocalProtection | None
    circuits: Circuits

    def hold_reports(self) -> AbstractContextManager[None]:
        """While this lasts, no cost that was counted in this process is reported."""
        return nullcontext() if self.local is None else self.local.costs.held()

    def forget_limits(self, tenant_id: str | None) -> None:
        """Forget what this process itself remembers of the limits of one tenant, or of all for None."""
        if self.local is not None:
            self.local.clear(tenant_id)
        if tenant_id is None:
            self.protection.clear()
        else:
            self.protection.forget(tenant_id)


def build_guards(config: Config, backends: Backends, circuits: Circuits, running: AsyncExitStack) -> Guards:
    """Put every provider behind its guard; `running` closes them."""
    providers, breakers, watches = config.providers, circuits.breakers, circuits.watches
    local = None if backends.protection.in_process else LocalProtection()
    guards = Guards(
        credentials=_credentials(providers.credentials, backends, breakers, watches),
        lifecycle=_lifecycle(providers.lifecycle, backends, breakers, watches),
        billing=_billing(providers.billing, backends, breakers, watches),
        protection=_protection(providers.protection, backends.protection, breakers, watches, local),
        local=local,
        circuits=circuits,
    )
    for guard in (guards.credentials, guards.lifecycle, guards.billing, guards.protection):
        running.push_async_callback(guard.close)
    if local is not None:
        _hand_over(local, backends.protection, breakers["protection"], running)
    return guards


def _in_flight(config: CredentialsConfig | LifecycleConfig | BillingConfig | ProtectionConfig) -> int | None:
    """Embedded providers have no bulkhead."""
    return None if config.url.embedded else config.max_in_flight


def _credentials(
    config: CredentialsConfig, backends: Backends, breakers: Mapping[str, Breaker], watches: Mapping[str, Watch]
) -> Guard[str, ApiKey | None]:
    cache = CachePolicy(ttl=config.cache.ttl, negative_ttl=REFUSED_TTL, max_entries=config.cache.max_entries)
    return Guard(
        operation="find_key",
        load=backends.stores.credentials.find_key,
        policy=GuardPolicy(timeout=config.timeout, cache=cache, max_in_flight=_in_flight(config)),
        breaker=breakers["credentials"],
        observer=watches["credentials"],
        clock=time.monotonic,
    )


def _lifecycle(
    config: LifecycleConfig, backends: Backends, breakers: Mapping[str, Breaker], watches: Mapping[str, Watch]
) -> Guard[str, LifecycleRecord | None]:
    given = config.cache
    cache = CachePolicy(ttl=given.ttl, max_stale=given.max_stale, max_entries=given.max_entries)
    guard: Guard[str, LifecycleRecord | None] = Guard(
        operation="find_lifecycle",
        load=backends.stores.lifecycle.find_lifecycle,
        policy=GuardPolicy(timeout=config.timeout, cache=cache, max_in_flight=_in_flight(config)),
        breaker=breakers["lifecycle"],
        observer=watches["lifecycle"],
        clock=time.monotonic,
        denies=_lifecycle_denies,
        memory=backends.blocked,
    )
    if backends.blocked is not None:
        backends.blocked.when_one_leaves(guard.drop)
    return guard


def _lifecycle_denies(record: LifecycleRecord | None) -> bool:
    return record is not None and record.state is not LifecycleState.ACTIVE


def _billing(
    config: BillingConfig, backends: Backends, breakers: Mapping[str, Breaker], watches: Mapping[str, Watch]
) -> Guard[str, BillingRecord | None]:
    given = config.cache
    # Of many tenants a billing system may have no record: None is an answer there, and means TRIAL.
    cache = CachePolicy(
        ttl=given.ttl,
        max_stale=given.max_stale,
        max_entries=given.max_entries,
        max_negatives=given.max_entries,
        refresh_negatives=True,
    )
    return Guard(
        operation="find_billing",
        load=backends.stores.billing.find_billing,
        policy=GuardPolicy(timeout=config.timeout, cache=cache, max_in_flight=_in_flight(config)),
        breaker=breakers["billing"],
        observer=watches["billing"],
        clock=time.monotonic,
        denies=_billing_denies,
    )


def _billing_denies(record: BillingRecord | None) -> bool:
    return record is not None and record.state is BillingState.SUSPENDED


def _protection(
    config: ProtectionConfig,
    provider: ProtectionProvider,
    breakers: Mapping[str, Breaker],
    watches: Mapping[str, Watch],
    local: LocalProtection | None,
) -> ChargeGuard:
    return ChargeGuard(
        provider=provider,
        policy=ChargePolicy(timeout=config.timeout, max_in_flight=_in_flight(config)),
        breaker=breakers["protection"],
        observer=watches["protection"],
        clock=time.monotonic,
        learn=None if local is None else local.learn,
    )


def _hand_over(local: LocalProtection, store: ProtectionProvider, breaker: Breaker, running: AsyncExitStack) -> None:
    """The store is told what was counted in its place, from now until the end; that is before its guard closes."""
    handover = HandOver(local=local, store=store, answers=lambda: breaker.state is CircuitState.CLOSED)
    handover.start()
    running.push_async_callback(handover.close)
