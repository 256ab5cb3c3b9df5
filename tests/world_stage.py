"""The real pipeline, gates, guards, breakers, charge and caches, put together as the service does, in a world that can misbehave."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from extauthz.authn import ApiKeyMint, ApiKeys, PepperBook, Refusals
from extauthz.gates.base import GateControl, GateSettings
from extauthz.gates.billing import BillingGate
from extauthz.gates.lifecycle import LifecycleGate
from extauthz.gates.protection import ProtectionGate
from extauthz.model.decision import Gate, OnFailure
from extauthz.model.protection import Charge, ChargeResult
from extauthz.model.request import Route, RouteClass
from extauthz.pipeline import Authenticator, Pipeline
from extauthz.ports import CacheResult, CircuitState, CircuitView
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.guard import Guard
from extauthz.resilience.policy import BreakerPolicy, CachePolicy, ChargePolicy, GuardPolicy
from extauthz.routing import RouteKind, RouteRule, RouteTable
from extauthz.testing import FakeWallClock
from tests.world_answer import Settings
from tests.world_counts import Limits, Place
from tests.world_facts import History, Wrong
from tests.world_model import Judge
from tests.world_parts import PLANS, Parts, World, bars, blocks, never, plan_book
from tests.world_provider import Provider
from tests.world_providers import Backend, Counter, Local
from tests.world_words import COST, words


class _Nobody:
    """A provider observer, and a recorder of uses, that is not interested."""

    def called(self, operation: str, seconds: float, *, answered: bool) -> None:
        pass

    def refused(self, operation: str) -> None:
        pass

    def cache(self, result: CacheResult) -> None:
        pass

    def circuit(self, state: CircuitState) -> None:
        pass

    def note(self, key_id: str, at: float, renewed: tuple[bytes, str] | None = None) -> None:
        pass


NOBODY: Final = _Nobody()
_RUNS: Final = RouteRule(
    kind=RouteKind.PREFIX, pattern="/api/v1/runs", methods=None, route=Route(route_class=RouteClass.SDK, cost=COST)
)


class Stage:
    """A world, the service in it, and the judge.

    Attributes:
        clock: the world's time, in seconds.
        wall: the calendar; it may jump.
        backends: the providers, by name.
        guards: the guarded look-ups, by name.
        breakers: the circuits, by name.
        log: what happened last.
    """

    def __init__(self, world: World, parts: Parts) -> None:
        self.world = world
        self.clock = asyncio.get_running_loop().time
        self.wall = FakeWallClock(clock=self.clock)
        self.log: deque[str] = deque(maxlen=60)
        self.facts = {
            "credentials": Provider("credentials", world.numbers["credentials"], never),
            "lifecycle": Provider("lifecycle", world.numbers["lifecycle"], bars),
            "billing": Provider("billing", world.numbers["billing"], blocks),
            "protection": Provider("protection", world.numbers["protection"], never),
        }
        self.places = {name: Place(name) for name in ("provider", "local", "both")}
        self.offset = History(self.wall() - self.clock(), self.clock())
        settings = Settings(world.on_failure, PLANS, world.plan_ttl, "free", world.max_entries < world.tenants)
        self.judge = Judge(settings, self.facts, self.places, self.offset)
        self.stored: dict[str, dict[str, Any]] = {name: {} for name in ("credentials", "lifecycle", "billing")}
        self.backends = {name: Backend(self.facts[name], self.log) for name in self.stored}
        self.counter = self.backends["protection"] = Counter(
            self.facts["protection"], self.log, MemoryProtection(clock=self.clock, wall=self.wall), self._counted
        )
        self.breakers = {name: self._breaker(name, parts) for name in self.facts}
        self.guards: dict[str, Guard[str, Any]] = {
            "credentials": self._guard("credentials", parts.credentials, never),
            "lifecycle": self._guard("lifecycle", parts.lifecycle, parts.lifecycle_denies),
            "billing": self._guard("billing", Guard, blocks),
        }
        self.local = Local(self.clock, self.wall, self._counted)
        self.charger = parts.charge(
            provider=self.counter,
            policy=ChargePolicy(
                timeout=world.numbers["protection"].timeout, max_in_flight=world.numbers["protection"].size
            ),
            breaker=self.breakers["protection"],
            observer=NOBODY,
            clock=self.clock,
            learn=self.local.learn,
        )
        self.peppers = PepperBook(["of a world that is made up, quite long enough"])
        self.refusals = Refusals(clock=self.clock)
        self.mint = ApiKeyMint(self.peppers, random=random.Random(1).randbytes)
        self.failure: Wrong | None = None
        self.pipeline = self._pipeline()

    # How it is put together

    def _breaker(self, name: str, parts: Parts) -> Breaker:
        numbers = self.world.numbers[name]
        policy = BreakerPolicy(failures=numbers.failures, window=numbers.window, reset=numbers.reset)
        breaker = parts.breaker(provider=name, policy=policy, clock=self.clock, observer=NOBODY, spread=lambda: 1.0)

        def changed(_before: CircuitState, view: CircuitView) -> None:
            facts = self.facts[name]
            self.log.append(f"{self.clock():.6f} {name}: circuit {view.state.value}")
            facts.settle(self.clock())
            self.catch(lambda: facts.circuit.changed(self.clock(), view.state.value))

        breaker.listen(changed)
        return breaker

    def _guard(self, name: str, kind: type[Guard[str, Any]], denies: Callable[[Any], bool]) -> Guard[str, Any]:
        numbers, backend, stored = self.world.numbers[name], self.backends[name], self.stored[name]

        async def load(key: str) -> Any:
            async def look() -> tuple[Any, Any]:
                record = stored.get(key)
                return record, words(record)

            return await backend.call(key, key, look)

        cache = CachePolicy(
            ttl=numbers.ttl,
            max_stale=numbers.max_stale,
            max_entries=self.world.max_entries if name != "credentials" else 100_000,
            negative_ttl=5.0 if name == "credentials" else None,
            jitter=self.world.jitter,
        )
        return kind(
            operation=name,
            load=load,
            policy=GuardPolicy(timeout=numbers.timeout, cache=cache, max_in_flight=numbers.size),
            breaker=self.breakers[name],
            observer=NOBODY,
            clock=self.clock,
            denies=denies,
        )

    def _pipeline(self) -> Pipeline:
        def control(gate: Gate) -> GateControl:
            return GateControl(gate, GateSettings(on_failure=OnFailure(self.world.on_failure[gate.value])))

        keys = ApiKeys(
            peppers=self.peppers,
            lookup=self.guards["credentials"],
            refusals=self.refusals,
            uses=NOBODY,
            wall=self.wall,
        )
        return Pipeline(
            routes=RouteTable([_RUNS]),
            authenticator=Authenticator(methods=[keys]),
            lifecycle=LifecycleGate(lookup=self.guards["lifecycle"], control=control(Gate.LIFECYCLE)),
            billing=BillingGate(
                lookup=self.guards["billing"],
                control=control(Gate.BILLING),
                plans=plan_book(),
                plan_ttl=self.world.plan_ttl,
            ),
            protection=ProtectionGate(charger=self.charger, control=control(Gate.PROTECTION), local=self.local),
            clock=self.clock,
            charge_timeout=self.world.numbers["protection"].timeout,
            new_id=lambda: "",
        )

    # What it tells

    def catch(self, check: Callable[[], object]) -> None:
        """Keep the first thing that was wrong; where it was found, nobody may be able to raise it."""
        try:
            check()
        except Wrong as wrong:
            self.failure = self.failure or wrong

    def _counted(self, where: str, charge: Charge, result: ChargeResult) -> None:
        if not (result.charged and charge.commit):
            return
        given = charge.limits
        limits = Limits(given.rate, given.burst, given.max_requests_per_day, given.max_cost_per_day)
        blocking = frozenset(dimension.value for dimension in charge.blocking)
        if where == "local":  # the day is counted where it is counted, and cost as far as it is known
            limits, blocking = Limits(given.rate, given.burst), blocking - {"quota", "cost"}
        now, day = self.clock(), int(self.wall() // 86_400)
        if where == "provider":
            self.catch(lambda: self.facts["protection"].charged(charge.tenant_id))
        self.catch(lambda: self.places[where].counted(now, day, charge.tenant_id, limits, charge.cost, blocking))
        self.places["both"].counted(now, day, charge.tenant_id, limits, charge.cost, frozenset())
