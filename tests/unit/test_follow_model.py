"""Replicas over one store, whatever is done to them and whenever: what is cached becomes right, and 200 means blocked."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.authn import ApiKeyMint, PepperBook
from extauthz.changes import Caches, Desk, Follower, Replicas, Stores, TenantChanges
from extauthz.errors import ChangeRefused, ExtauthzError, ProviderError, ProviderTimeout
from extauthz.model.changed import ChangedKind
from extauthz.model.deadline import Deadline
from extauthz.model.lifecycle import Change, LifecycleRecord, LifecycleState, Tenant, Transition
from extauthz.ports import Unavailable
from extauthz.providers.memory import MemoryStore
from extauthz.testing import run_virtual
from extauthz.testing.contracts_values import a_change, tenant_in
from extauthz.testing.fake_replicas import FakeCache, FakeSharedLog
from tests.replica import Silent, guard, is_out

State = LifecycleState
TENANTS = ("acme", "umbrella")
NAMES = ("one", "two", "three")
HEALED = 20.0
"""Seconds after which whoever can reach the store again is up to date."""


class View(MemoryStore):
    """The store as one replica sees it: slowly, and only while it is not cut off. Writing and telling is one step.

    While `late` is above 0 a move is given up, and committed so many seconds after that.
    """

    def __init__(self, base: MemoryStore, log: FakeSharedLog, origin: str, delay: float) -> None:
        super().__init__()
        self._base = base
        self._log = log
        self._origin = origin
        self._delay = delay
        self.cut_off = False
        self.late = 0.0
        self._later: set[asyncio.Task[None]] = set()

    async def _travel(self) -> None:
        await asyncio.sleep(self._delay)
        if self.cut_off:
            raise ProviderError("cut off")

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        await self._travel()
        found = await self._base.find_lifecycle(tenant_id)
        await self._travel()
        return found

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        await self._travel()
        found = await self._base.get_tenant(tenant_id)
        await self._travel()
        return found

    async def transition(self, tenant_id: str, to: State, change: Change, *, revoke_keys: bool) -> Transition:
        await self._travel()
        if self.late:
            task = asyncio.create_task(self._commit_later(self.late, tenant_id, to, change))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
            raise ProviderTimeout("no answer yet")
        made = await self._commit(tenant_id, to, change, revoke_keys=revoke_keys)
        await self._travel()
        return made

    async def _commit(self, tenant_id: str, to: State, change: Change, *, revoke_keys: bool) -> Transition:
        made = await self._base.transition(tenant_id, to, change, revoke_keys=revoke_keys)
        if made.from_state is not made.to_state:
            self._log.add(ChangedKind.LIFECYCLE, tenant_id, self._origin)
        return made

    async def _commit_later(self, seconds: float, tenant_id: str, to: State, change: Change) -> None:
        await asyncio.sleep(seconds)
        with suppress(ChangeRefused):
            await self._commit(tenant_id, to, change, revoke_keys=True)


class Cuttable(FakeSharedLog):
    """The shared log as one replica sees it."""

    def __init__(self, shared: FakeSharedLog, view: View) -> None:
        super().__init__()
        self._shared = shared
        self._view = view

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        return self._through(name)

    def _through(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: object, **kwargs: object) -> Any:
            await self._view._travel()
            return await getattr(self._shared, name)(*args, **kwargs)

        return call


class Replica:
    """A replica with real guards."""

    def __init__(self, name: str, base: MemoryStore, log: FakeSharedLog, delay: float) -> None:
        self.name = name
        self.view = View(base, log, name, delay)
        self.guard = guard("lifecycle", self.view.find_lifecycle, is_out, asyncio.get_running_loop().time)
        numbers = itertools.count()
        silent = Silent()
        self.desk = Desk(
            stores=Stores(lifecycle=self.view, billing=self.view, credentials=self.view),
            caches=Caches(
                lifecycle=self.guard, billing=FakeCache(), credentials=FakeCache(), forget_refusals=lambda: None
            ),
            mint=ApiKeyMint(PepperBook(["p" * 32])),
            events=silent,
            observer=silent,
            new_event_id=lambda: f"event-{next(numbers)}",
        )
        mine = Cuttable(log, self.view)
        self.tenants = TenantChanges(self.desk, Replicas(log=mine, leases=mine, replica=name))
        self.follower = Follower(
            log=mine, desk=self.desk, replica=name, leases=mine, clock=asyncio.get_running_loop().time
        )

    async def check(self, tenant_id: str) -> None:
        with suppress(Unavailable):
            await self.guard.get(tenant_id, Deadline.after(1.0, asyncio.get_running_loop().time))

    def lets_in(self, tenant_id: str) -> bool:
        cached = self.guard.peek(tenant_id)
        return cached is not None and not is_out(cached.value)

    async def close(self) -> None:
        self.view.cut_off = False
        await self.follower.close()
        await self.desk.close()
        await self.guard.close()


class World:
    """All replicas over one store."""

    def __init__(self, delays: list[float]) -> None:
        self.base, self.log = MemoryStore(), FakeSharedLog()
        self.replicas = {
            name: Replica(name, self.base, self.log, delay) for name, delay in zip(NAMES, delays, strict=True)
        }

    async def begin(self) -> None:
        for tenant_id in TENANTS:
            await tenant_in(self.base, State.ACTIVE, tenant_id)
        for replica in self.replicas.values():
            await replica.follower.start()

    async def move(self, name: str, tenant_id: str, to: State) -> None:
        """Whoever is told that a tenant is terminated everywhere finds it let in nowhere that was alive then."""
        try:
            made = await self.replicas[name].tenants.transition(tenant_id, to, a_change())
        except (ChangeRefused, ExtauthzError):
            return
        now = asyncio.get_running_loop().time()
        if to is State.TERMINATED and not made.pending_replicas:
            alive = [self.replicas[each] for each, (_, ends) in self.log.leases.items() if ends > now]
            assert [replica.name for replica in alive if replica.lets_in(tenant_id)] == []

    async def right(self) -> None:
        """What is cached is what is stored."""
        for replica, tenant_id in itertools.product(self.replicas.values(), TENANTS):
            cached = replica.guard.peek(tenant_id)
            stored = await self.base.find_lifecycle(tenant_id)
            assert cached is None or cached.value == stored, (replica.name, tenant_id)


names, tenants = st.sampled_from(NAMES), st.sampled_from(TENANTS)
pauses = st.sampled_from([0.0, 0.01, 0.05, 0.2, 1.0, 4.0])
moves = st.sampled_from([State.SUSPENDED, State.ACTIVE, State.TERMINATED])
steps = st.one_of(
    st.tuples(st.just("move"), names, tenants, moves),
    st.tuples(st.just("check"), names, tenants),
    st.tuples(st.just("cut"), names, st.booleans()),
    st.tuples(st.just("late"), names, st.sampled_from([0.0, 0.01, 0.3, 5.0])),
    st.tuples(st.just("pause"), pauses),
)


async def play(delays: list[float], taken: list[Any]) -> None:
    world = World(delays)
    await world.begin()
    running: list[asyncio.Task[None]] = []
    for step in taken:
        match step:
            case ("move", name, tenant_id, to):
                running.append(asyncio.create_task(world.move(name, tenant_id, to)))
            case ("check", name, tenant_id):
                running.append(asyncio.create_task(world.replicas[name].check(tenant_id)))
            case ("cut", name, gone):
                world.replicas[name].view.cut_off = gone
            case ("late", name, seconds):
                world.replicas[name].view.late = seconds
            case ("pause", seconds):
                await asyncio.sleep(seconds)
    for replica in world.replicas.values():
        replica.view.cut_off = False
    await asyncio.sleep(HEALED)
    await asyncio.gather(*running)
    await world.right()
    for replica in world.replicas.values():
        await replica.close()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.001, 0.02, 0.1]), min_size=3, max_size=3), st.lists(steps, max_size=40))
def test_offboard_006_whatever_is_done_caches_become_right_and_200_means_blocked(
    delays: list[float], taken: list[Any]
) -> None:
    run_virtual(play(delays, taken))
