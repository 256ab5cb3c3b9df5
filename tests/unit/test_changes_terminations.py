"""OFFBOARD-005 and -006 where keys live in another store than tenants, and where something fails in between."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from extauthz.authn import ApiKeyMint, PepperBook
from extauthz.changes import Caches, Desk, KeyChanges, Replicas, Stores, TenantChanges, UnfinishedTerminations
from extauthz.errors import InvalidRecord, InvalidTransition, NotFound, NotSupported, ProviderError, TenantNotActive
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import Change, LifecycleState, Transition
from extauthz.providers.memory import MemoryStore
from extauthz.testing import in_virtual_time
from extauthz.testing.contracts_values import ACME, a_change, a_key, tenant_in
from extauthz.testing.fake_replicas import FakeCache, FakeSharedLog

State = LifecycleState


class Tenants(MemoryStore):
    """Keeps tenants. Moves may fail, or wait."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.plans_failure: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.asked_for_plans = 0

    async def transition(self, tenant_id: str, to: State, change: Change, *, revoke_keys: bool) -> Transition:
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return await super().transition(tenant_id, to, change, revoke_keys=revoke_keys)

    async def planned_terminations(self) -> Sequence[tuple[str, Change]]:
        self.asked_for_plans += 1
        if self.plans_failure is not None:
            raise self.plans_failure
        return await super().planned_terminations()


class Keys(MemoryStore):
    """Keeps keys. Revoking may fail, listing too, and issuing may wait at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.unlisted: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def revoke_all(self, tenant_id: str, change: Change) -> Sequence[str]:
        if self.failure is not None:
            raise self.failure
        return await super().revoke_all(tenant_id, change)

    async def list_keys(self, tenant_id: str) -> Sequence[ApiKey]:
        if self.unlisted is not None:
            raise self.unlisted
        return await super().list_keys(tenant_id)

    async def issue_key(self, key: ApiKey, change: Change, *, require_active: bool) -> None:
        await self.go.wait()
        await super().issue_key(key, change, require_active=require_active)


class Told:
    """Events, and what the metrics hear."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.moves: list[Transition] = []

    def emit(self, event: object) -> None:
        self.events.append(event)

    def transitioned(self, transition: Transition) -> None:
        self.moves.append(transition)

    def transition_failed(self, reason: str) -> None: ...


class Replica:
    """One replica over two stores, which others may share."""

    def __init__(self, tenants: Tenants | None = None, keys: Keys | None = None) -> None:
        self.store, self.key_store = tenants or Tenants(), keys or Keys()
        self.lifecycle: FakeCache[str, object] = FakeCache()
        self.credentials: FakeCache[str, object] = FakeCache()
        self.told = Told()
        numbers = itertools.count()
        self.desk = Desk(
            stores=Stores(lifecycle=self.store, billing=self.store, credentials=self.key_store),
            caches=Caches(
                lifecycle=self.lifecycle,
                billing=FakeCache(),
                credentials=self.credentials,
                forget_refusals=lambda: None,
            ),
            mint=ApiKeyMint(PepperBook(["p" * 32])),
            events=self.told,
            observer=self.told,
            new_event_id=lambda: f"event-{next(numbers)}",
        )
        self.tenants = TenantChanges(self.desk)
        self.keys = KeyChanges(self.desk)

    async def acme(self, *key_ids: str) -> "Replica":
        await tenant_in(self.store, State.ACTIVE)
        for key_id in key_ids:
            await self.key_store.issue_key(a_key(key_id), a_change(), require_active=False)
        return self

    async def state(self) -> State | None:
        record = await self.store.find_lifecycle(ACME)
        return None if record is None else record.state

    async def live(self) -> list[str]:
        return [key.key_id for key in await self.key_store.list_keys(ACME) if key.revoked_at is None]


async def test_offboard_005_a_termination_that_stopped_before_the_keys_is_finished_later() -> None:
    replica = await Replica().acme("a", "b")
    replica.key_store.failure = ProviderError("gone")
    with pytest.raises(ProviderError):
        await replica.tenants.transition(ACME, State.TERMINATED, a_change("fraud"))
    assert (await replica.state(), await replica.live()) == (State.ACTIVE, ["a", "b"])
    replica.key_store.failure = None
    await replica.tenants.finish_terminations()
    assert (await replica.state(), await replica.live()) == (State.TERMINATED, [])
    assert not await replica.store.planned_terminations()


async def test_offboard_005_a_termination_that_stopped_after_the_keys_is_finished_with_its_own_words() -> None:
    replica = await Replica().acme("a")
    replica.store.failure = ProviderError("gone")
    fraud = a_change("fraud", later=5, request_id="req-5")
    with pytest.raises(ProviderError):
        await replica.tenants.transition(ACME, State.TERMINATED, fraud)
    assert (await replica.state(), await replica.live()) == (State.ACTIVE, [])
    replica.store.failure = None
    other = Replica(replica.store, replica.key_store)  # another one that starts
    await other.tenants.finish_terminations()
    assert await replica.state() is State.TERMINATED
    assert (await replica.store.history(ACME))[-1].change == fraud
    assert other.lifecycle.values[ACME] == await replica.store.find_lifecycle(ACME)
    assert [(made.from_state, made.to_state) for made in other.told.moves] == [(State.ACTIVE, State.TERMINATED)]


async def test_offboard_005_many_replicas_may_finish_it_at_once() -> None:
    replica = await Replica().acme("a")
    await replica.store.plan_termination(ACME, a_change("fraud"))
    others = [Replica(replica.store, replica.key_store) for _ in range(4)]
    await asyncio.gather(*(other.tenants.finish_terminations() for other in others))
    assert (await replica.state(), await replica.live()) == (State.TERMINATED, [])
    assert sum(len(other.told.moves) for other in others) == 1
    assert len([record for record in await replica.store.history(ACME) if record.after == "TERMINATED"]) == 1


async def test_offboard_005_what_was_asked_for_again_meanwhile_needs_no_finishing() -> None:
    replica = await Replica().acme("a")
    replica.store.failure = ProviderError("gone")
    with pytest.raises(ProviderError):
        await replica.tenants.transition(ACME, State.TERMINATED, a_change())
    replica.store.failure = None
    made = await replica.tenants.transition(ACME, State.TERMINATED, a_change())
    assert (made.from_state, made.to_state) == (State.ACTIVE, State.TERMINATED)
    assert not await replica.store.planned_terminations()
    await replica.tenants.finish_terminations()
    assert len(replica.told.moves) == 1


async def test_offboard_005_terminating_again_ends_a_key_that_was_left_and_is_no_change() -> None:
    replica = await Replica().acme()
    await replica.tenants.transition(ACME, State.TERMINATED, a_change())
    await replica.key_store.issue_key(a_key("late"), a_change(), require_active=False)
    made = await replica.tenants.transition(ACME, State.TERMINATED, a_change())
    assert made == Transition(tenant_id=ACME, from_state=State.TERMINATED, to_state=State.TERMINATED, revoked_keys=1)
    assert await replica.live() == []
    assert len(replica.told.moves) == 1


async def test_offboard_005_one_that_fails_does_not_hold_up_the_others() -> None:
    replica = await Replica().acme()
    for tenant_id in ("first", "last"):
        await tenant_in(replica.store, State.ACTIVE, tenant_id)
        await replica.store.plan_termination(tenant_id, a_change())
    replica.store.failure = ProviderError("gone")
    with pytest.raises(ProviderError):
        await replica.tenants.finish_terminations()
    assert len(await replica.store.planned_terminations()) == 2
    replica.store.failure = InvalidTransition("somebody was faster")
    with capture_logs() as logged:
        await replica.tenants.finish_terminations()
    assert [line["event"] for line in logged] == ["termination_refused"] * 2


async def test_offboard_005_nothing_is_begun_where_the_move_is_refused() -> None:
    replica = await Replica().acme("a")
    for to in (State.TERMINATED, State.ARCHIVED):
        await replica.tenants.transition(ACME, to, a_change())
    await replica.key_store.issue_key(a_key("late"), a_change(), require_active=False)
    with pytest.raises(InvalidTransition):
        await replica.tenants.transition(ACME, State.TERMINATED, a_change())
    with pytest.raises(NotFound):
        await replica.tenants.transition("nobody", State.TERMINATED, a_change())
    assert await replica.live() == ["late"]
    assert not await replica.store.planned_terminations()


async def test_offboard_005_nothing_is_begun_where_keys_cannot_be_revoked_from_here() -> None:
    replica = await Replica().acme("a")
    replica.key_store.unlisted = replica.key_store.failure = NotSupported("can be asked, but not changed, from here")
    with pytest.raises(NotSupported):
        await replica.tenants.transition(ACME, State.TERMINATED, a_change())
    assert await replica.state() is State.ACTIVE
    assert not await replica.store.planned_terminations()
    assert (await replica.tenants.transition(ACME, State.SUSPENDED, a_change())).to_state is State.SUSPENDED


async def test_offboard_005_a_key_that_cannot_be_read_does_not_save_its_tenant() -> None:
    replica = await Replica().acme("a")
    replica.credentials.put("a", a_key("a"))
    replica.key_store.unlisted = InvalidRecord("key 'a': the scopes are no list")
    made = await replica.tenants.transition(ACME, State.TERMINATED, a_change())
    assert made.revoked_keys == 1
    assert replica.credentials.values == {}
    replica.key_store.unlisted = None
    assert (await replica.state(), await replica.live()) == (State.TERMINATED, [])


async def test_offboard_007_no_key_is_left_when_another_replica_ends_the_tenant_while_one_is_issued() -> None:
    here = await Replica().acme()
    there = Replica(here.store, here.key_store)
    here.key_store.go.clear()  # it was ACTIVE when we looked
    issuing = asyncio.create_task(here.keys.issue_key(ACME, frozenset(), None, a_change()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await there.tenants.transition(ACME, State.TERMINATED, a_change())
    here.key_store.go.set()
    with pytest.raises(TenantNotActive):
        await issuing
    assert len(await here.key_store.list_keys(ACME)) == 1
    assert await here.live() == []


async def test_offboard_007_no_key_is_left_that_was_issued_between_the_revocation_and_the_move() -> None:
    here = await Replica().acme()
    there = Replica(here.store, here.key_store)
    here.store.go.clear()
    ending = asyncio.create_task(there.tenants.transition(ACME, State.TERMINATED, a_change()))
    for _ in range(5):
        await asyncio.sleep(0)
    await here.keys.issue_key(ACME, frozenset(), None, a_change())
    assert len(await here.live()) == 1
    here.store.go.set()
    assert (await ending).revoked_keys == 1
    assert await here.live() == []


# Reporting


@in_virtual_time
async def test_offboard_006_a_termination_names_who_has_not_confirmed_it() -> None:
    replica = await Replica().acme("a")
    log = FakeSharedLog()
    await log.renew_lease("other", -1, 3600)
    tenants = TenantChanges(replica.desk, Replicas(log=log, leases=log, replica="here"))
    moves = [State.SUSPENDED, State.ACTIVE, State.TERMINATED, State.TERMINATED, State.ARCHIVED]
    made = [await tenants.transition(ACME, to, a_change()) for to in moves]
    assert [each.pending_replicas for each in made] == [(), (), ("other",), ("other",), ()]
    assert replica.lifecycle.last_known[ACME] == await replica.store.find_lifecycle(ACME)
    assert [
        replace(each, pending_replicas=()) for each in made if each.from_state != each.to_state
    ] == replica.told.moves


@in_virtual_time
async def test_offboard_006_the_one_who_asks_may_leave_without_harm() -> None:
    replica = await Replica().acme()
    log = FakeSharedLog()
    await log.renew_lease("other", -1, 3600)
    tenants = TenantChanges(replica.desk, Replicas(log=log, leases=log, replica="here"))
    asking = asyncio.create_task(tenants.transition(ACME, State.TERMINATED, a_change()))
    await asyncio.sleep(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await replica.state() is State.TERMINATED
    await replica.desk.close()


# At start


@in_virtual_time
async def test_offboard_005_what_is_half_done_is_finished_at_start_however_long_the_store_is_away() -> None:
    replica = await Replica().acme("a")
    await replica.store.plan_termination(ACME, a_change())
    replica.store.plans_failure = ProviderError("gone")
    unfinished = UnfinishedTerminations(replica.tenants, spread=lambda: 1.0)
    unfinished.start()
    await asyncio.sleep(600)
    assert await replica.state() is State.ACTIVE
    assert 10 < replica.store.asked_for_plans < 20
    replica.store.plans_failure = None
    await asyncio.sleep(60)
    assert (await replica.state(), await replica.live()) == (State.TERMINATED, [])
    asked = replica.store.asked_for_plans
    await asyncio.sleep(600)
    assert replica.store.asked_for_plans == asked
    await unfinished.close()


@in_virtual_time
async def test_offboard_005_a_step_that_hangs_is_tried_again() -> None:
    replica = await Replica().acme()
    await replica.store.plan_termination(ACME, a_change())
    replica.store.go.clear()
    unfinished = UnfinishedTerminations(replica.tenants)
    unfinished.start()
    await asyncio.sleep(15)
    replica.store.go.set()
    await asyncio.sleep(5)
    assert await replica.state() is State.TERMINATED
    await unfinished.close()
    await replica.desk.close()


@in_virtual_time
async def test_a_store_that_plans_nothing_is_asked_once() -> None:
    replica = await Replica().acme()
    replica.store.plans_failure = NotSupported("not here")
    unfinished = UnfinishedTerminations(replica.tenants)
    await unfinished.close()
    unfinished.start()
    await asyncio.sleep(600)
    assert replica.store.asked_for_plans == 1
    await unfinished.close()


@in_virtual_time
async def test_closing_leaves_the_rest_to_the_next_start() -> None:
    replica = await Replica().acme()
    await replica.store.plan_termination(ACME, a_change())
    replica.store.plans_failure = ProviderError("gone")
    unfinished = UnfinishedTerminations(replica.tenants)
    unfinished.start()
    await asyncio.sleep(5)
    await unfinished.close()
    assert len(await MemoryStore.planned_terminations(replica.store)) == 1
