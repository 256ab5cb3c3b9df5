"""A replica of the service, as far as changes concern it: stores, caches, changes, following. Also as a process of its own.

    python -m tests.replica FILE NAME

runs one on an SQLite file. It reads a name of `COMMANDS` and a tenant or key a line, and answers each with a line of JSON.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import structlog

from extauthz.authn import ApiKeyMint, PepperBook
from extauthz.changes import (
    BillingChanges,
    Caches,
    Desk,
    Follower,
    KeyChanges,
    NewTenant,
    Replicas,
    Stores,
    TenantChanges,
)
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.deadline import Clock, Deadline
from extauthz.model.identity import Actor, ActorType, ApiKey
from extauthz.model.lifecycle import Change, LifecycleRecord, LifecycleState, Onboarding, Transition
from extauthz.providers.sqlite import SqliteStore
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.guard import Guard
from extauthz.resilience.policy import BreakerPolicy, CachePolicy, GuardPolicy

HOUR = 3600.0


class Silent:
    """Metrics and events that nobody reads."""

    def called(self, operation: str, seconds: float, *, answered: bool) -> None: ...

    def refused(self, operation: str) -> None: ...

    def cache(self, result: object) -> None: ...

    def circuit(self, state: object) -> None: ...

    def emit(self, event: object) -> None: ...

    def transitioned(self, transition: Transition) -> None: ...

    def transition_failed(self, reason: str) -> None: ...


def is_out(record: LifecycleRecord | None) -> bool:
    return record is not None and record.state is not LifecycleState.ACTIVE


def guard(
    operation: str,
    load: Callable[[str], Awaitable[Any]],
    denies: Callable[[Any], bool],
    clock: Clock = time.monotonic,
) -> Guard[str, Any]:
    """A guard whose answers are fresh for an hour: what is new in it within a second came by following."""
    breaker = Breaker(
        provider=operation,
        policy=BreakerPolicy(failures=5, window=30.0, reset=15.0),
        clock=clock,
        observer=Silent(),
    )
    cache = CachePolicy(ttl=HOUR, max_stale=HOUR, jitter=0.0)
    return Guard(
        operation=operation,
        load=load,
        policy=GuardPolicy(timeout=5.0, cache=cache, max_in_flight=None),
        breaker=breaker,
        observer=Silent(),
        clock=clock,
        denies=denies,
    )


class Replica:
    """One replica on a file."""

    def __init__(self, path: Path, name: str) -> None:
        self.store = SqliteStore(path, replica=name)
        self.lifecycle: Guard[str, LifecycleRecord | None] = guard("lifecycle", self.store.find_lifecycle, is_out)
        self.billing: Guard[str, BillingRecord | None] = guard("billing", self.store.find_billing, lambda _: False)
        self.credentials: Guard[str, ApiKey | None] = guard("credentials", self.store.find_key, lambda _: False)
        self.desk = self._desk()
        self.tenants = TenantChanges(self.desk, Replicas(log=self.store, leases=self.store, replica=name))
        self.standings = BillingChanges(self.desk)
        self.keys = KeyChanges(self.desk)
        self._follower = Follower(log=self.store, leases=self.store, desk=self.desk, replica=name)

    def _desk(self) -> Desk:
        numbers = itertools.count()
        return Desk(
            stores=Stores(lifecycle=self.store, billing=self.store, credentials=self.store),
            caches=Caches(
                lifecycle=self.lifecycle,
                billing=self.billing,
                credentials=self.credentials,
                forget_refusals=lambda: None,
            ),
            mint=ApiKeyMint(PepperBook(["p" * 32])),
            events=Silent(),
            observer=Silent(),
            new_event_id=lambda: f"event-{next(numbers)}",
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Replica"]:
        await self.store.start()
        await self._follower.start()
        try:
            yield self
        finally:
            await self._follower.close()
            await self.desk.close()
            for each in (self.lifecycle, self.billing, self.credentials):
                await each.close()
            await self.store.close()

    # What it does

    async def create(self, tenant_id: str) -> None:
        new = NewTenant(
            tenant_id=tenant_id,
            name=tenant_id,
            onboarding=Onboarding.COMPLETE,
            billing=BillingState.ACTIVE,
            plan_id=None,
        )
        await self.tenants.create_tenant(new, a_change())

    async def move(self, tenant_id: str, to: LifecycleState) -> tuple[str, ...]:
        """Who has not confirmed."""
        return (await self.tenants.transition(tenant_id, to, a_change())).pending_replicas

    async def suspend_billing(self, tenant_id: str) -> None:
        await self.standings.set_billing(tenant_id, a_change(), state=BillingState.SUSPENDED)

    async def issue(self, tenant_id: str) -> str:
        """The id of the new key."""
        return (await self.keys.issue_key(tenant_id, frozenset(), None, a_change()))[0].key_id

    async def revoke_all(self, tenant_id: str) -> None:
        for key in await self.store.list_keys(tenant_id):
            await self.keys.revoke_key(tenant_id, key.key_id, a_change())

    # What its caches say

    async def state(self, tenant_id: str) -> str | None:
        record = (await self.lifecycle.get(tenant_id, Deadline.after(5.0, time.monotonic))).value
        return None if record is None else record.state.value

    async def standing(self, tenant_id: str) -> str | None:
        record = (await self.billing.get(tenant_id, Deadline.after(5.0, time.monotonic))).value
        return None if record is None else record.state.value

    async def live(self, key_id: str) -> bool:
        key = (await self.credentials.get(key_id, Deadline.after(5.0, time.monotonic))).value
        return key is not None and key.revoked_at is None


def a_change() -> Change:
    return Change(actor=Actor(type=ActorType.HUMAN, id="ada"), reason="because", at=time.time())


COMMANDS: dict[str, Callable[[Replica, str], Awaitable[object]]] = {
    "create": Replica.create,
    "suspend": lambda replica, tenant_id: replica.move(tenant_id, LifecycleState.SUSPENDED),
    "activate": lambda replica, tenant_id: replica.move(tenant_id, LifecycleState.ACTIVE),
    "terminate": lambda replica, tenant_id: replica.move(tenant_id, LifecycleState.TERMINATED),
    "suspend_billing": Replica.suspend_billing,
    "issue": Replica.issue,
    "revoke_all": Replica.revoke_all,
    "state": Replica.state,
    "standing": Replica.standing,
    "live": Replica.live,
}


async def serve(path: Path, name: str) -> None:
    """Run one until the input ends. What it logs is no answer."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    async with Replica(path, name).running() as replica:
        print("ready", flush=True)  # noqa: T201 - the other end reads it
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, argument = line.split()
            answer = await COMMANDS[command](replica, argument)
            print(orjson.dumps(answer).decode(), flush=True)  # noqa: T201 - the other end reads it


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
