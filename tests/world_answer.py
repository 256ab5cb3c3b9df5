"""The words in which a world, a request and its answer are told to whoever judges it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.world_counts import Limits

GATES: Final = ("lifecycle", "billing", "protection")
MARGIN: Final = 0.010
REFUSAL_TTL: Final = 5.0


class Tenant(NamedTuple):
    """What the lifecycle provider has. `onboarding` None: not known."""

    state: str
    onboarding: str | None


class Standing(NamedTuple):
    """What the billing provider has. `plan` None: the default plan."""

    state: str
    plan: str | None


class Key(NamedTuple):
    """What the credential provider has. `expires` in Unix seconds, None: never."""

    tenant: str
    revoked: bool
    expires: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a gate says it did."""

    verdict: str
    source: str
    fallback: str | None
    age_ms: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A request and its answer. `credential` is `none`, `forged`, `wrong` (right id, wrong secret) or `key`."""

    asked: float
    answered: float
    budget: float
    credential: str
    key: str
    route: str
    reads: bool
    cost: int
    gate: str
    reason: str
    note: str
    tenant: str | None
    state: str | None
    standing: str | None
    plan: str | None
    rate_limit: int | None
    degraded: Sequence[str]
    reports: Mapping[str, Report]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the gates are set: `on_failure` by gate. `evicts`: the caches are so small that what permits may be gone."""

    on_failure: Mapping[str, str]
    plans: Mapping[str, Limits]
    plan_ttl: float
    default_plan: str
    evicts: bool
