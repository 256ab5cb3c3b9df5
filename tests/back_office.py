"""The changes and the admin port's services over stores of a test's own, with everything around them kept in lists."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from extauthz.admin import AdminServices, Operations
from extauthz.authn import ApiKeyMint, PepperBook
from extauthz.changes import BillingChanges, Caches, Desk, KeyChanges, Stores, TenantChanges
from extauthz.changes.audit import OperationTrail
from extauthz.changes.breakers import BreakerChanges
from extauthz.changes.bypass import BypassChanges
from extauthz.changes.caches import CacheChanges
from extauthz.changes.imports import TenantImports
from extauthz.changes.limits import LimitChanges
from extauthz.gates.base import GateControl
from extauthz.model.billing import BillingRecord, Limits, Plan, PlanBook, Tier
from extauthz.model.decision import FAIL_OPEN_GATES, Decision
from extauthz.model.identity import Actor, ActorType
from extauthz.model.lifecycle import Change, LifecycleRecord, LifecycleState, Onboarding, Tenant, Transition
from extauthz.ports import CacheResult, CircuitState
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.testing.fakes import FakeLookup, RecordingSink

CHANGE = Change(actor=Actor(type=ActorType.HUMAN, id="admin"), reason="because", at=1_767_268_800.0, request_id="req-1")
ACTIVE = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)


def tenant(tenant_id: str, name: str = "", record: LifecycleRecord = ACTIVE) -> Tenant:
    return Tenant(tenant_id=tenant_id, name=name or tenant_id, record=record, created_at=1.0)


FREE = Plan(plan_id="free", name="Free", tier=Tier.FREE, limits=Limits(rate=60))


class Forgotten:
    """A `CacheControl` that keeps what it was told to forget; nothing is put into it."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def put(self, key: str, value: object) -> None:
        raise AssertionError(f"{key} was put: {value}")

    def forget(self, key: str) -> None:
        self.keys.append(key)

    def clear(self) -> None:
        raise AssertionError("all was cleared")

    def forget_all(self) -> None:
        raise AssertionError("all was forgotten")

    def doubt(self, key: str) -> None:
        raise AssertionError(f"{key} was doubted")

    def doubt_all(self) -> None:
        raise AssertionError("all was doubted")

    def holds(self, key: str) -> bool:
        raise AssertionError(f"{key} was asked for")


class Deaf:
    """A `ChangeObserver`."""

    def transitioned(self, transition: Transition) -> None:
        """Nothing to keep."""

    def transition_failed(self, reason: str) -> None:
        """Nothing to keep."""


class Unheard:
    """A `ProviderObserver` that nobody reads."""

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        """Nothing."""

    def refused(self, operation: str) -> None:
        """Nothing."""

    def cache(self, result: CacheResult) -> None:
        """Nothing."""

    def circuit(self, state: CircuitState) -> None:
        """Nothing."""


class Hung:
    """A third party's provider whose every method waits for ever; `asked` are those that were called."""

    in_process = False

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def hang(*_args: object, **_kwargs: object) -> None:
            self.asked.append(name)
            await asyncio.Event().wait()

        return hang


class Raising:
    """A third party's provider whose every method raises `error`."""

    in_process = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        async def fail(*_args: object, **_kwargs: object) -> None:
            raise self.error

        return fail


@dataclass(slots=True)
class Office:
    """Changes over one store, or over two where `billing` is another; `store` may be one of the two above."""

    store: Any = field(default_factory=MemoryStore)
    billing: MemoryStore | None = None
    events: RecordingSink = field(default_factory=RecordingSink)
    forgotten: Any = field(default_factory=Forgotten)
    standings_forgotten: Forgotten = field(default_factory=Forgotten)

    def stores(self) -> Stores:
        return Stores(lifecycle=self.store, billing=self.billing or self.store, credentials=self.store)

    def desk(self) -> Desk:
        numbers = itertools.count()
        return Desk(
            stores=self.stores(),
            caches=Caches(
                lifecycle=self.forgotten,
                billing=self.standings_forgotten,
                credentials=Forgotten(),
                forget_refusals=lambda: None,
            ),
            mint=ApiKeyMint(PepperBook(["p" * 32])),
            events=self.events,
            observer=Deaf(),
            new_event_id=lambda: f"event-{next(numbers)}",
        )

    def services(
        self,
        *,
        protection: Any = None,
        lifecycle: FakeLookup[str, LifecycleRecord] | None = None,
        provider_timeout: float = 2.0,
        answer_timeout: float = 6.0,
    ) -> AdminServices:
        """What the admin port needs; `lifecycle` knows `acme` where it is not given."""
        desk = self.desk()
        protection = protection or MemoryProtection()
        return AdminServices(
            tenants=TenantChanges(desk),
            billing=BillingChanges(desk),
            keys=KeyChanges(desk),
            limits=LimitChanges(desk, protection=protection),
            imports=TenantImports(desk),
            operations=_operations(desk),
            stores=self.stores(),
            lifecycle_lookup=lifecycle or FakeLookup({"acme": ACTIVE}),
            billing_lookup=FakeLookup[str, BillingRecord](),
            protection=protection,
            plan_book=lambda: PlanBook(default=FREE, plans={"free": FREE}),
            explain=_explain,
            status_of=lambda _decision: 200,
            live=lambda: True,
            ready=lambda: True,
            components=dict,
            render_metrics=lambda _accept: ("text/plain", b""),
            show_config=dict,
            clock=time.monotonic,
            wall=time.time,
            provider_timeout=provider_timeout,
            answer_timeout=answer_timeout,
        )


def _operations(desk: Desk) -> Operations:
    """Of a service without circuits and caches, whose gates can be bypassed."""
    trail = OperationTrail(desk)
    controls = {gate: GateControl(gate) for gate in FAIL_OPEN_GATES}
    return Operations(
        breakers=BreakerChanges(desk, trail, breakers={}, wall=time.time),
        caches=CacheChanges(trail, {}),
        bypass=BypassChanges(
            desk, trail, controls=controls, by_environment={}, told=lambda _gate, _active: None, wall=time.time
        ),
    )


async def _explain(_tenant: str, _method: str, _path: str) -> Decision:
    raise AssertionError("nobody asks here")
