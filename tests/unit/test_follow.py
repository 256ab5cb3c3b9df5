"""Following the changes of a store: what each does to the caches, and what holds while the store fails. In virtual time."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from extauthz.authn import ApiKeyMint, PepperBook
from extauthz.changes import Caches, Desk, Follower, Stores, TenantChanges
from extauthz.errors import InvalidRecord, NotSupported, ProviderBusy, ProviderError
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.changed import ChangedKind
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding, Tenant, Transition
from extauthz.ports import CHANGES_KEPT
from extauthz.providers.memory import MemoryStore
from extauthz.testing import in_virtual_time
from extauthz.testing.contracts_values import ACME, a_change, a_key, a_tenant, tenant_in
from extauthz.testing.fake_replicas import FakeCache, FakeSharedLog

State = LifecycleState
HERE = "here"
SOON = 1.0
"""A change is seen within a second."""


class Store(MemoryStore):
    """What the replicas share. Reading may fail or wait, or one reader be held up with what it has read.

    The gate's own look-ups find no connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.read = 0
        self.go = asyncio.Event()
        self.go.set()
        self.held: asyncio.Event | None = None

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
        raise self.failure or ProviderBusy(f"the gate's connections are in use: {tenant_id}")

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        raise self.failure or ProviderBusy(f"the gate's connections are in use: {tenant_id}")

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        self.read += 1
        found = await super().get_tenant(tenant_id)
        held, self.held = self.held, None
        if held is not None:
            await held.wait()
        await self._maybe()
        return found

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        self.read += 1
        await self._maybe()
        return await super().find_standings(tenant_ids)

    async def _maybe(self) -> None:
        await self.go.wait()
        if self.failure is not None:
            raise self.failure


class LookedUp(MemoryStore):
    """A store that can be looked up alone, or one in which something else of every tenant can't be read."""

    def __init__(self, refusal: Exception) -> None:
        super().__init__()
        self._refusal = refusal

    async def get_tenant(self, tenant_id: str) -> Tenant | None:  # noqa: ARG002 - the method's shape
        raise self._refusal

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        raise NotSupported(f"not from here: {tenant_ids}")


class NoLeases(FakeSharedLog):
    """A store that keeps a log, and no leases."""

    async def renew_lease(self, replica: str, seen: int, seconds: float) -> None:
        raise NotSupported(f"no leases here: {replica}, {seen}, {seconds}")

    async def end_lease(self, replica: str) -> None:
        raise AssertionError(f"there is no lease to end: {replica}")


class Silent:
    """Events and metrics that nobody reads."""

    def emit(self, event: object) -> None: ...

    def transitioned(self, transition: Transition) -> None: ...

    def transition_failed(self, reason: str) -> None: ...


class Replica:
    """One replica over a store and a log that others write too."""

    def __init__(
        self, *, leases: bool = True, lease_store: FakeSharedLog | None = None, store: MemoryStore | None = None
    ) -> None:
        self.store = Store()
        kept_in = store or self.store
        self.log = FakeSharedLog()
        self.lifecycle: FakeCache[str, LifecycleRecord | None] = FakeCache()
        self.billing: FakeCache[str, BillingRecord | None] = FakeCache()
        self.credentials: FakeCache[str, ApiKey | None] = FakeCache()
        self.refusals_forgotten = 0
        self.plans_changed: list[str] = []
        numbers = itertools.count()
        silent = Silent()
        self.desk = Desk(
            stores=Stores(lifecycle=kept_in, billing=kept_in, credentials=kept_in),
            caches=Caches(
                lifecycle=self.lifecycle,
                billing=self.billing,
                credentials=self.credentials,
                forget_refusals=self._forget_refusals,
                plan_changed=self.plans_changed.append,
            ),
            mint=ApiKeyMint(PepperBook(["p" * 32])),
            events=silent,
            observer=silent,
            new_event_id=lambda: f"event-{next(numbers)}",
        )
        self.follower = Follower(
            log=self.log,
            desk=self.desk,
            replica=HERE,
            leases=lease_store or self.log if leases else None,
            clock=asyncio.get_running_loop().time,
            spread=lambda: 1.0,
        )

    def _forget_refusals(self) -> None:
        self.refusals_forgotten += 1

    @asynccontextmanager
    async def following(self) -> AsyncIterator["Replica"]:
        await self.follower.start()
        try:
            yield self
        finally:
            await self.follower.close()

    async def elsewhere(self, to: LifecycleState, tenant_id: str = ACME, origin: str = "other") -> int:
        """Another replica moves a tenant; the number of the change."""
        await self.store.transition(tenant_id, to, a_change(), revoke_keys=True)
        return self.log.add(ChangedKind.LIFECYCLE, tenant_id, origin)

    @property
    def confirmed(self) -> int:
        """What this replica says it has seen."""
        return self.log.leases[HERE][0]


def record(state: LifecycleState) -> LifecycleRecord:
    return LifecycleRecord(state=state, onboarding=Onboarding.COMPLETE)


# What each change does


@in_virtual_time
async def test_a_state_that_is_in_use_here_is_read_again() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.SUSPENDED)
    replica.lifecycle.put(ACME, record(State.SUSPENDED))
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.SUSPENDED))
        await replica.elsewhere(State.ACTIVE)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values[ACME] == record(State.ACTIVE)


@in_virtual_time
async def test_offboard_006_a_denial_is_put_into_the_cache_though_nobody_asked_for_the_tenant_yet() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        await replica.elsewhere(State.TERMINATED)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {ACME: record(State.TERMINATED)}


@in_virtual_time
async def test_tenants_of_other_replicas_do_not_fill_the_cache() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.SUSPENDED)
    async with replica.following():
        await replica.elsewhere(State.ACTIVE)
        await replica.store.set_billing(ACME, a_change(), state=BillingState.SUSPENDED)
        replica.log.add(ChangedKind.BILLING, ACME)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {}
        assert replica.billing.values == {}
        assert replica.lifecycle.forgotten == replica.billing.forgotten == [ACME]


@in_virtual_time
async def test_a_standing_that_is_in_use_here_is_read_again_and_its_refusals_are_dropped() -> None:
    replica = Replica()
    await replica.store.set_billing(ACME, a_change(), plan_id="pro")
    async with replica.following():
        replica.billing.put(ACME, BillingRecord(state=BillingState.TRIAL))
        replica.log.add(ChangedKind.BILLING, ACME)
        await asyncio.sleep(SOON)
        assert replica.billing.values[ACME] == BillingRecord(state=BillingState.TRIAL, plan_id="pro")
        assert replica.plans_changed == [ACME]


@in_virtual_time
async def test_a_tenant_that_was_unknown_is_asked_for_again_once_it_is_created() -> None:
    replica = Replica()
    async with replica.following():
        replica.lifecycle.put(ACME, None)
        replica.billing.put(ACME, None)
        replica.log.add(ChangedKind.CREATED, ACME)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {}
        assert replica.billing.values == {}
        assert replica.store.read == 0


@in_virtual_time
async def test_a_key_that_changed_is_forgotten_and_so_is_what_was_refused() -> None:
    replica = Replica()
    async with replica.following():
        replica.credentials.put("key1", a_key())
        replica.credentials.put("key2", a_key("key2"))
        before = replica.refusals_forgotten
        replica.log.add(ChangedKind.KEY, "key1")
        await asyncio.sleep(SOON)
        assert set(replica.credentials.values) == {"key2"}
        assert replica.refusals_forgotten == before + 1


@in_virtual_time
async def test_a_change_of_our_own_that_is_committed_after_it_was_given_up_is_followed() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.billing.put(ACME, BillingRecord(state=BillingState.ACTIVE))
        await replica.store.set_billing(ACME, a_change(), state=BillingState.SUSPENDED)
        replica.log.add(ChangedKind.BILLING, ACME, HERE)
        seq = await replica.elsewhere(State.SUSPENDED, origin=HERE)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {ACME: record(State.SUSPENDED)}
        assert replica.billing.values == {ACME: BillingRecord(state=BillingState.SUSPENDED)}
        assert replica.confirmed == seq


@pytest.mark.parametrize("refusal", [NotSupported("not from here"), InvalidRecord("42 where a text is due")], ids=str)
def test_what_is_followed_is_looked_up_where_a_store_tells_nothing_else(refusal: Exception) -> None:
    @in_virtual_time
    async def scene() -> None:
        store = LookedUp(refusal)
        replica = Replica(store=store)
        await store.create_tenant(a_tenant(), a_change(), BillingRecord(state=BillingState.PAST_DUE))
        await store.transition(ACME, State.SUSPENDED, a_change(), revoke_keys=True)
        async with replica.following():
            replica.billing.put(ACME, None)
            replica.log.add(ChangedKind.LIFECYCLE, ACME)
            replica.log.add(ChangedKind.BILLING, ACME)
            await asyncio.sleep(SOON)
            assert replica.lifecycle.values == {ACME: record(State.SUSPENDED)}
            assert replica.billing.values == {ACME: BillingRecord(state=BillingState.PAST_DUE)}

    scene()


@in_virtual_time
async def test_what_was_changed_before_the_start_is_not_followed() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    seq = await replica.elsewhere(State.SUSPENDED)
    async with replica.following():
        assert replica.confirmed == seq
        await asyncio.sleep(SOON)
        assert replica.lifecycle.forgotten == []


@in_virtual_time
async def test_a_thousand_changes_and_more_are_followed_in_their_order() -> None:
    replica = Replica()
    async with replica.following():
        for number in range(2_500):
            replica.log.add(ChangedKind.CREATED, f"t{number}")
        await asyncio.sleep(SOON)
        assert replica.lifecycle.forgotten == [f"t{number}" for number in range(2_500)]
        assert replica.confirmed == 2_500


@in_virtual_time
async def test_what_is_read_while_we_change_the_tenant_ourselves_never_covers_our_change() -> None:
    replica = Replica()
    tenants = TenantChanges(replica.desk)
    await tenant_in(replica.store, State.SUSPENDED)
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.SUSPENDED))
        replica.store.held = held = asyncio.Event()  # the follower has read ACTIVE, and is held up before it puts it
        await replica.elsewhere(State.ACTIVE)
        await asyncio.sleep(0.1)
        ended = asyncio.create_task(tenants.transition(ACME, State.TERMINATED, a_change()))
        await asyncio.sleep(0.1)
        held.set()
        await ended
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values[ACME] == record(State.TERMINATED)


# Failures


@in_virtual_time
async def test_offboard_006_what_could_not_be_read_again_is_forgotten_and_not_confirmed() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.lifecycle.put("umbrella", record(State.ACTIVE))
        replica.store.failure = ProviderError("gone")
        before = replica.log.add(ChangedKind.KEY, "key1")
        seq = await replica.elsewhere(State.TERMINATED)
        replica.log.add(ChangedKind.CREATED, "umbrella")
        await asyncio.sleep(2 * SOON)
        assert replica.lifecycle.values == {}  # what came after it is not held up
        assert replica.confirmed == before
        replica.store.failure = None
        await asyncio.sleep(2 * SOON)
        assert replica.lifecycle.values == {ACME: record(State.TERMINATED)}
        assert replica.confirmed == seq + 1


@in_virtual_time
async def test_offboard_006_a_read_that_hangs_ends_and_the_lease_goes_on_unconfirmed() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.store.go.clear()
        seq = await replica.elsewhere(State.TERMINATED)
        await asyncio.sleep(30)
        assert replica.lifecycle.values == {}
        assert await replica.log.replicas_behind(seq) == [HERE]
        replica.store.go.set()
        await asyncio.sleep(5)
        assert replica.lifecycle.values == {ACME: record(State.TERMINATED)}
        assert await replica.log.replicas_behind(seq) == []


@in_virtual_time
async def test_a_record_that_cannot_be_read_is_forgotten_and_does_not_hold_up_the_rest() -> None:
    replica = Replica()
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.billing.put(ACME, BillingRecord(state=BillingState.ACTIVE))
        replica.store.failure = InvalidRecord("banana is no state")
        replica.log.add(ChangedKind.BILLING, ACME)
        seq = replica.log.add(ChangedKind.LIFECYCLE, ACME)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {}
        assert replica.billing.values == {}
        assert replica.confirmed == seq


@pytest.mark.parametrize("frozen", [False, True])
def test_a_store_that_failed_is_followed_on_from_where_we_were(frozen: bool) -> None:  # noqa: FBT001 - a parameter
    @in_virtual_time
    async def scene() -> None:
        replica = Replica()
        async with replica.following():
            replica.credentials.put("key1", a_key())
            replica.lifecycle.put(ACME, record(State.ACTIVE))
            replica.log.frozen, replica.log.outage = frozen, ProviderError("gone")
            await asyncio.sleep(600)
            replica.log.add(ChangedKind.KEY, "key1")
            replica.log.frozen, replica.log.outage = False, None
            await asyncio.sleep(6)
            assert replica.credentials.values == {}
            assert replica.lifecycle.values == {ACME: record(State.ACTIVE)}
            assert replica.confirmed == 1

    scene()


@in_virtual_time
async def test_an_outage_is_logged_once_and_so_is_its_end() -> None:
    replica = Replica()
    with capture_logs() as logged:
        async with replica.following():
            replica.log.outage = ProviderError("gone")
            await asyncio.sleep(600)
            replica.log.outage = None
            await asyncio.sleep(6)
    warned = ["changes_not_followed", "lease_not_renewed"]
    assert sorted(line["event"] for line in logged) == ["changes_followed_again", *warned]


@in_virtual_time
async def test_a_store_that_is_gone_is_asked_again_at_intervals_that_grow() -> None:
    replica = Replica(leases=False)
    replica.log.outage = ProviderError("gone")
    async with replica.following():
        await asyncio.sleep(60)
    asked = replica.log.asked
    pauses = [round(later - earlier, 3) for earlier, later in itertools.pairwise(asked)]
    assert pauses[:6] == [0.0, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert len(asked) < 40


@in_virtual_time
async def test_who_was_cut_off_for_too_long_relies_on_nothing_that_was_cached() -> None:
    replica = Replica()
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.log.outage = ProviderError("gone")
        await asyncio.sleep(CHANGES_KEPT / 2 + 60)
        replica.log.add(ChangedKind.LIFECYCLE, ACME)
        replica.log.changes.clear()  # pruned meanwhile
        replica.log.outage = None
        await asyncio.sleep(6)
        assert replica.lifecycle.values == {}
        assert replica.confirmed == 1


@in_virtual_time
async def test_who_could_not_reach_the_store_at_its_start_relies_on_nothing_cached_before_it_could() -> None:
    replica = Replica()
    replica.log.outage = ProviderError("gone")
    replica.log.add(ChangedKind.LIFECYCLE, ACME)
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        await asyncio.sleep(10)
        replica.log.outage = None
        await asyncio.sleep(6)
        assert replica.lifecycle.values == {}
        assert replica.confirmed == 1


@in_virtual_time
async def test_a_store_that_was_put_back_to_an_earlier_day_is_followed_from_there() -> None:
    replica = Replica()
    async with replica.following():
        for number in range(5):
            replica.log.add(ChangedKind.CREATED, f"t{number}")
        await asyncio.sleep(SOON)
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.log.outage = ProviderError("being restored")
        await asyncio.sleep(10)
        replica.log.restore(2)
        replica.log.outage = None
        await asyncio.sleep(6)
        assert replica.lifecycle.values == {}
        replica.credentials.put("key1", a_key())
        replica.log.add(ChangedKind.KEY, "key1")
        await asyncio.sleep(SOON)
        assert replica.credentials.values == {}
        assert replica.confirmed == 3


@in_virtual_time
async def test_offboard_006_a_store_that_is_put_back_while_it_answers_is_followed_from_there() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        for number in range(5):
            replica.log.add(ChangedKind.CREATED, f"t{number}")
        await asyncio.sleep(SOON)
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.log.restore(2)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {}
        assert replica.confirmed == 2
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        seq = await replica.elsewhere(State.TERMINATED)
        assert await replica.log.replicas_behind(seq) == [HERE]
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {ACME: record(State.TERMINATED)}
        assert replica.confirmed == seq


@in_virtual_time
async def test_who_has_not_seen_a_change_that_is_not_kept_relies_on_nothing_cached() -> None:
    replica = Replica()
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.log.add(ChangedKind.LIFECYCLE, ACME)
        replica.log.changes.clear()
        await asyncio.sleep(SOON)
        assert replica.lifecycle.values == {}
        assert replica.confirmed == 1
        waits = replica.log.waits
        await asyncio.sleep(60)
        assert replica.log.waits - waits < 130  # it waits as ever


@in_virtual_time
async def test_numbers_that_another_store_gave_again_after_it_took_over_are_seen() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        for number in range(1_000):
            replica.log.add(ChangedKind.CREATED, f"t{number}")
        await asyncio.sleep(SOON)
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        replica.lifecycle.put("umbrella", record(State.ACTIVE))
        replica.log.outage = ProviderError("gone")
        await asyncio.sleep(10)
        replica.log.restore(900)  # what came last was not replicated
        await replica.elsewhere(State.TERMINATED)
        for number in range(200):
            replica.log.add(ChangedKind.CREATED, f"u{number}")
        replica.log.outage = None
        await asyncio.sleep(6)
        assert replica.lifecycle.values == {ACME: record(State.TERMINATED), "umbrella": record(State.ACTIVE)}
        assert replica.confirmed == 1_101


@in_virtual_time
async def test_after_an_outage_what_is_applied_again_makes_nobody_unknown_while_the_circuit_is_still_open() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        replica.log.add(ChangedKind.CREATED, ACME)
        await asyncio.sleep(SOON)
        assert replica.lifecycle.forgotten == replica.billing.forgotten == [ACME]
        replica.log.outage = ProviderError("gone")
        await asyncio.sleep(10)
        replica.log.outage = None
        replica.log.add(ChangedKind.CREATED, "umbrella")
        await asyncio.sleep(6)
        assert replica.lifecycle.doubted == replica.billing.doubted == [ACME]
        assert replica.lifecycle.forgotten == replica.billing.forgotten == [ACME, "umbrella"]


@in_virtual_time
async def test_a_change_that_fails_again_and_again_does_not_repeat_those_before_it() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    async with replica.following():
        for number in range(500):
            replica.log.add(ChangedKind.CREATED, f"t{number}")
        replica.store.go.clear()
        await replica.elsewhere(State.SUSPENDED)
        await asyncio.sleep(600)
        assert "t499" in replica.lifecycle.forgotten
        assert replica.lifecycle.forgotten.count("t499") == 1


@in_virtual_time
async def test_a_store_whose_connections_are_all_in_use_is_asked_again_at_once_and_has_not_failed() -> None:
    replica = Replica()
    await tenant_in(replica.store, State.ACTIVE)
    with capture_logs() as logged:
        async with replica.following():
            replica.store.failure = ProviderBusy("all connections are in use")
            seq = await replica.elsewhere(State.TERMINATED)
            await asyncio.sleep(30)
            assert replica.lifecycle.values == {}
            assert await replica.log.replicas_behind(seq) == [HERE]
            replica.store.failure = None
            await asyncio.sleep(0.06)
            assert replica.lifecycle.values == {ACME: record(State.TERMINATED)}
            assert replica.confirmed == seq
    assert logged == []


@in_virtual_time
async def test_a_change_that_cannot_be_read_may_be_any_change() -> None:
    replica = Replica()
    async with replica.following():
        replica.lifecycle.put(ACME, record(State.ACTIVE))
        seq = replica.log.add(ChangedKind.KEY, "key1")
        replica.log.outage = InvalidRecord("change 1: 'banana' is no ChangedKind")
        await asyncio.sleep(SOON)
        replica.log.outage = None
        await asyncio.sleep(6)
        assert replica.lifecycle.values == {}
        assert replica.confirmed == seq


# The lease, start and end


@in_virtual_time
async def test_offboard_006_the_lease_is_taken_before_the_start_is_over_and_ended_at_the_end() -> None:
    replica = Replica()
    async with replica.following():
        assert await replica.log.replicas_behind(1) == [HERE]
        await asyncio.sleep(60)
        assert await replica.log.replicas_behind(1) == [HERE]
        assert 55 <= len(replica.log.renewed) <= 65  # every second
    assert await replica.log.replicas_behind(1) == []


@in_virtual_time
async def test_offboard_006_a_change_is_confirmed_at_once_and_not_at_the_next_renewal() -> None:
    replica = Replica()
    async with replica.following():
        await asyncio.sleep(0.3)
        seq = replica.log.add(ChangedKind.KEY, "key1")
        await asyncio.sleep(0.01)
        assert replica.confirmed == seq


@in_virtual_time
async def test_a_lease_that_could_not_be_ended_runs_out() -> None:
    replica = Replica()
    async with replica.following():
        replica.log.frozen = True
    replica.log.frozen = False
    assert await replica.log.replicas_behind(1) == [HERE]
    await asyncio.sleep(3.1)
    assert await replica.log.replicas_behind(1) == []


@in_virtual_time
async def test_where_the_store_is_not_the_lifecycles_no_lease_is_taken() -> None:
    replica = Replica(leases=False)
    async with replica.following():
        replica.log.add(ChangedKind.KEY, "key1")
        await asyncio.sleep(5)
        assert replica.log.renewed == []
        assert replica.credentials.forgotten == ["key1"]


@in_virtual_time
async def test_a_store_without_a_log_of_changes_is_left_alone() -> None:
    replica = Replica()
    replica.log.outage = NotSupported("can be asked, but not changed, from here")
    with capture_logs() as logged:
        async with replica.following():
            await asyncio.sleep(600)
    assert logged == []
    assert replica.log.waits == 0
    assert replica.log.renewed == []


@in_virtual_time
async def test_a_store_that_keeps_no_leases_is_followed_all_the_same() -> None:
    replica = Replica(lease_store=NoLeases())
    with capture_logs() as logged:
        async with replica.following():
            replica.log.add(ChangedKind.KEY, "key1")
            await asyncio.sleep(60)
            assert replica.credentials.forgotten == ["key1"]
    assert logged == []


@in_virtual_time
async def test_a_store_that_takes_its_log_away_is_left_alone_from_then_on() -> None:
    replica = Replica()
    with capture_logs() as logged:
        async with replica.following():
            replica.log.outage = NotSupported("not here")
            await asyncio.sleep(60)
            waits, renewed = replica.log.waits, len(replica.log.renewed)
            replica.log.outage = None
            await asyncio.sleep(60)
            assert (replica.log.waits, len(replica.log.renewed)) == (waits, renewed)
    assert logged == []


@in_virtual_time
async def test_closing_what_was_never_started_is_nothing() -> None:
    await Replica().follower.close()


@in_virtual_time
async def test_the_end_comes_though_the_store_hangs() -> None:
    replica = Replica()
    await replica.follower.start()
    replica.log.frozen = True
    replica.log.add(ChangedKind.KEY, "key1")
    await asyncio.sleep(1)
    await asyncio.wait_for(replica.follower.close(), 2)
