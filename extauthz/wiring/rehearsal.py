"""The rehearsal before the service says that it serves: real checks of a made-up tenant, on stores and metrics of their own.

It runs the same code as the first real request will, and leaves no trace of itself anywhere.
"""

import time
from dataclasses import dataclass
from typing import Final, Generic

from extauthz.authn import ApiKeyMint, PepperBook, Refusals
from extauthz.config import Config
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Source
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import Fetched, K, V
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.policy import BreakerPolicy, ChargePolicy
from extauthz.server.check import Checker
from extauthz.server.warmup import typical_message
from extauthz.telemetry.metrics import Metrics
from extauthz.wiring.decider import Lookups, build_pipeline

_TENANT: Final = "warm-up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A check service of its own, and a message that it allows."""

    checker: Checker
    message: bytes


class _Known(Generic[K, V]):
    """A look-up that always has the one answer."""

    def __init__(self, value: V) -> None:
        self._fetched = Fetched(value=value, source=Source.CACHE)

    def peek(self, _key: K, _max_age: float | None = None) -> Fetched[V]:
        return self._fetched

    async def get(self, _key: K, _deadline: Deadline, _max_age: float | None = None) -> Fetched[V]:
        return self._fetched


class _NoUses:
    """Nobody wants to know that the rehearsal's key was used."""

    def note(self, key_id: str, at: float, renewed: tuple[bytes, str] | None = None) -> None:
        """Forget it."""


def rehearsal_of(config: Config) -> Rehearsal:
    """Everything that a check of this configuration goes through, but for the real stores and metrics."""
    peppers = PepperBook(["x" * 32])
    key, text = ApiKeyMint(peppers).mint(_TENANT, _every_scope(config), None, time.time())
    metrics = Metrics()
    lookups = Lookups(
        credentials=_Known[str, ApiKey | None](key),
        lifecycle=_Known[str, LifecycleRecord | None](
            LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)
        ),
        billing=_Known[str, BillingRecord | None](BillingRecord(state=BillingState.ACTIVE)),
        charger=_charger(metrics),
    )
    refusals = Refusals(clock=time.monotonic)
    pipeline = build_pipeline(config, lookups, peppers, refusals, _NoUses(), metrics)
    checker = Checker(decider=pipeline, observer=metrics, clock=time.monotonic)
    return Rehearsal(checker=checker, message=typical_message(text))


def _every_scope(config: Config) -> frozenset[str]:
    return frozenset(scope for route in config.routes for scope in route.scopes)


def _charger(metrics: Metrics) -> ChargeGuard:
    observer = metrics.provider("protection")
    policy = BreakerPolicy(failures=5, window=30.0, reset=30.0)
    breaker = Breaker(provider="protection", policy=policy, clock=time.monotonic, observer=observer)
    return ChargeGuard(
        provider=MemoryProtection(),
        policy=ChargePolicy(timeout=0.1, max_in_flight=None),
        breaker=breaker,
        observer=observer,
        clock=time.monotonic,
    )
