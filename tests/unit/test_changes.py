"""Changes: written with their audit, shown in the caches, told to events and metrics (spec section 2)."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from extauthz.authn import ApiKeyMint, PepperBook
from extauthz.changes import BillingChanges, Caches, Desk, KeyChanges, NewTenant, Stores, TenantChanges
from extauthz.errors import InvalidTransition, NotFound, NotSupported, ProviderError, TenantNotActive
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.event import Event, EventType, Severity
from extauthz.model.identity import Actor, ActorType, ApiKey
from extauthz.model.lifecycle import Change, LifecycleRecord, LifecycleState, Onboarding, Tenant, Transition
from extauthz.providers.memory import MemoryStore
from extauthz.providers.partial import completed
from extauthz.testing import in_virtual_time
from extauthz.testing.fake_replicas import FakeCache

CHANGE = Change(actor=Actor(type=ActorType.HUMAN, id="admin"), reason="because", at=1_767_268_800.0, request_id="req-1")
COMPLETE = Onboarding.COMPLETE
State = LifecycleState


class Told:
    """Events, and what the metrics hear."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.transitions: list[Transition] = []
        self.failures: list[str] = []
        self.broken = False

    def emit(self, event: Event) -> None:
        if self.broken:
            raise RuntimeError("a sink that breaks its promise")
        self.events.append(event)

    def transitioned(self, transition: Transition) -> None:
        self.transitions.append(transition)

    def transition_failed(self, reason: str) -> None:
        self.failures.append(reason)


class Flaky(MemoryStore):
    """A store whose reading back fails, or whose transition waits."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable = False
        self.go = asyncio.Event()
        self.go.set()

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        if self.unreadable:
            raise ProviderError("gone")
        return await super().get_tenant(tenant_id)

    async def transition(self, tenant_id: str, to: State, change: Change, *, revoke_keys: bool) -> Transition:
        await self.go.wait()
        return await super().transition(tenant_id, to, change, revoke_keys=revoke_keys)


class Office:
    """The three kinds of changes over `lifecycle`, `billing` and `credentials` stores."""

    def __init__(self, *, together: bool) -> None:
        self.lifecycle = Flaky()
        self.billing_store = self.lifecycle if together else MemoryStore()
        self.credentials = self.lifecycle if together else MemoryStore()
        self.caches: dict[str, FakeCache[str, object]] = {
            name: FakeCache() for name in ("lifecycle", "billing", "credentials")
        }
        self.refusals_forgotten = 0
        self.told = Told()
        numbers = itertools.count()
        self.desk = Desk(
            stores=Stores(lifecycle=self.lifecycle, billing=self.billing_store, credentials=self.credentials),
            caches=Caches(
                lifecycle=self.caches["lifecycle"],
                billing=self.caches["billing"],
                credentials=self.caches["credentials"],
                forget_refusals=self._forget,
            ),
            mint=ApiKeyMint(PepperBook(["p" * 32])),
            events=self.told,
            observer=self.told,
            new_event_id=lambda: f"event-{next(numbers)}",
        )
        self.tenants = TenantChanges(self.desk)
        self.billing = BillingChanges(self.desk)
        self.keys = KeyChanges(self.desk)

    def _forget(self) -> None:
        self.refusals_forgotten += 1

    async def acme(self, onboarding: Onboarding = COMPLETE) -> "Office":
        new = NewTenant(
            tenant_id="acme", name="Acme", onboarding=onboarding, billing=BillingState.ACTIVE, plan_id="pro"
        )
        await self.tenants.create_tenant(new, CHANGE)
        self.told.events.clear()
        return self

    async def key(self) -> ApiKey:
        return (await self.keys.issue_key("acme", frozenset(), None, CHANGE))[0]


@pytest.fixture(params=[True, False], ids=["one store", "three stores"])
def make(request: pytest.FixtureRequest) -> Callable[[], Office]:
    return lambda: Office(together=request.param)


async def test_a_new_tenant_is_in_the_caches_at_once(make: Callable[[], Office]) -> None:
    office = await make().acme()
    assert office.caches["lifecycle"].values["acme"] == LifecycleRecord(state=State.ACTIVE, onboarding=COMPLETE)
    assert office.caches["billing"].values["acme"] == BillingRecord(state=BillingState.ACTIVE, plan_id="pro")
    assert await office.billing_store.find_billing("acme") == office.caches["billing"].values["acme"]


async def test_offboard_001_the_same_state_again_is_no_change_and_no_event(make: Callable[[], Office]) -> None:
    office = await make().acme()
    made = await office.tenants.transition("acme", State.ACTIVE, CHANGE)
    assert (made.from_state, made.to_state) == (State.ACTIVE, State.ACTIVE)
    assert office.told.events == []
    assert office.told.transitions == []


async def test_offboard_005_termination_revokes_every_key_wherever_keys_live(make: Callable[[], Office]) -> None:
    office = await make().acme()
    issued = [await office.key() for _ in range(2)]
    office.caches["credentials"].values = {key.key_id: key for key in issued}
    before = office.refusals_forgotten
    made = await office.tenants.transition("acme", State.TERMINATED, CHANGE)
    assert made.revoked_keys == 2
    for key in issued:
        stored = await office.credentials.find_key(key.key_id)
        assert stored is not None
        assert stored.revoked_at is not None
    assert office.caches["credentials"].values == {}
    assert office.refusals_forgotten > before


async def test_offboard_005_keys_elsewhere_stay_where_the_move_is_refused() -> None:
    office = await Office(together=False).acme()
    key = await office.key()
    for state in (State.SUSPENDED, State.TERMINATED, State.ARCHIVED):
        await office.tenants.transition("acme", state, CHANGE)
    assert (await office.tenants.transition("acme", State.ARCHIVED, CHANGE)).revoked_keys == 0
    with pytest.raises(InvalidTransition):
        await office.tenants.transition("acme", State.TERMINATED, CHANGE)
    with pytest.raises(NotFound):
        await office.tenants.transition("nobody", State.TERMINATED, CHANGE)
    assert await office.credentials.find_key(key.key_id) is not None


async def test_offboard_006_the_denial_is_in_the_cache_before_the_change_is_reported(
    make: Callable[[], Office],
) -> None:
    office = await make().acme()
    await office.tenants.transition("acme", State.TERMINATED, CHANGE)
    assert office.caches["lifecycle"].values["acme"] == LifecycleRecord(state=State.TERMINATED, onboarding=COMPLETE)


async def test_a_store_that_cannot_be_read_back_makes_the_cache_ask_again(make: Callable[[], Office]) -> None:
    office = await make().acme()
    office.lifecycle.unreadable = True
    with pytest.raises(ProviderError):
        await office.tenants.transition("acme", State.SUSPENDED, CHANGE)
    assert "acme" in office.caches["lifecycle"].forgotten
    assert office.told.failures == ["provider_error"]


async def test_offboard_007_no_new_key_unless_active(make: Callable[[], Office]) -> None:
    office = await make().acme()
    await office.tenants.transition("acme", State.SUSPENDED, CHANGE)
    with pytest.raises(TenantNotActive):
        await office.key()
    with pytest.raises(NotFound):
        await office.keys.issue_key("nobody", frozenset(), None, CHANGE)
    assert list(await office.credentials.list_keys("acme")) == []


async def test_an_operators_key_needs_no_tenant(make: Callable[[], Office]) -> None:
    key, text = await make().keys.issue_operator_key(60.0, CHANGE)
    assert (key.tenant_id, key.scopes, key.expires_at) == ("_system", frozenset({"operator"}), CHANGE.at + 60)
    assert text.startswith(f"exak_{key.key_id}")


async def test_a_revoked_key_is_in_the_cache_as_revoked(make: Callable[[], Office]) -> None:
    office = await make().acme()
    key = await office.key()
    revoked = await office.keys.revoke_key("acme", key.key_id, CHANGE)
    assert revoked.revoked_at is not None
    assert office.caches["credentials"].values[key.key_id] == revoked


async def test_offboard_008_every_change_emits_an_event_and_a_failing_event_store_never_stops_it(
    make: Callable[[], Office],
) -> None:
    office = await make().acme()
    await office.tenants.transition("acme", State.SUSPENDED, CHANGE)
    (event,) = office.told.events
    assert (event.type, event.tenant_id, event.actor, event.request_id) == (
        EventType.TENANT_LIFECYCLE_TRANSITION,
        "acme",
        CHANGE.actor,
        "req-1",
    )
    assert event.payload == {"from": "ACTIVE", "to": "SUSPENDED", "reason": "because", "revoked_keys": 0}
    office.told.broken = True
    assert (await office.tenants.transition("acme", State.ACTIVE, CHANGE)).to_state is State.ACTIVE


async def test_offboard_009_every_refused_change_emits_an_event(make: Callable[[], Office]) -> None:
    office = await make().acme()
    with pytest.raises(InvalidTransition):
        await office.tenants.transition("acme", State.ARCHIVED, CHANGE)
    (event,) = office.told.events
    assert event.severity is Severity.WARN
    assert event.payload["refused"] == "invalid_transition"
    assert office.told.failures == ["invalid_transition"]


async def test_offboard_010_billing_004_history_has_the_records_of_every_store_in_order(
    make: Callable[[], Office],
) -> None:
    office = await make().acme()
    later = Change(actor=CHANGE.actor, reason="later", at=CHANGE.at + 1)
    await office.billing.set_billing("acme", CHANGE, state=BillingState.SUSPENDED)
    await office.tenants.transition("acme", State.SUSPENDED, later)
    records = await office.tenants.history("acme")
    assert [record.change.at for record in records] == sorted(record.change.at for record in records)
    told = {(record.before, record.after, record.change.reason) for record in records}
    assert {("ACTIVE", "SUSPENDED", "because"), ("ACTIVE", "SUSPENDED", "later")} <= told


async def test_onboarding_completes_once(make: Callable[[], Office]) -> None:
    office = await make().acme(Onboarding.PENDING)
    await office.tenants.set_onboarding("acme", COMPLETE, CHANGE)
    await office.tenants.set_onboarding("acme", COMPLETE, CHANGE)
    assert [event.type for event in office.told.events] == [EventType.ONBOARDING_STATE_TRANSITION]
    assert office.caches["lifecycle"].values["acme"] == LifecycleRecord(state=State.ACTIVE, onboarding=COMPLETE)


async def test_billing_changes_tell_standing_and_plan_apart(make: Callable[[], Office]) -> None:
    office = await make().acme()
    after = await office.billing.set_billing("acme", CHANGE, state=BillingState.PAST_DUE)
    assert after == BillingRecord(state=BillingState.PAST_DUE, plan_id="pro")
    await office.billing.set_billing("acme", CHANGE, plan_id="free")
    await office.billing.set_billing("acme", CHANGE, plan_id="free")
    assert [event.type for event in office.told.events] == [
        EventType.BILLING_STATE_CHANGED,
        EventType.BILLING_PLAN_ASSIGNED,
    ]
    with pytest.raises(NotFound):
        await office.billing.set_billing("nobody", CHANGE, plan_id="free")


async def test_opposite_changes_at_once_are_serialised(make: Callable[[], Office]) -> None:
    office = await make().acme()
    wanted = (State.SUSPENDED, State.TERMINATED)
    first, second = await asyncio.gather(*(office.tenants.transition("acme", to, CHANGE) for to in wanted))
    assert second.from_state is first.to_state


async def test_a_change_runs_to_its_end_though_the_one_who_asked_leaves(make: Callable[[], Office]) -> None:
    office = await make().acme()
    office.lifecycle.go.clear()
    asked = asyncio.create_task(office.tenants.transition("acme", State.SUSPENDED, CHANGE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    office.lifecycle.go.set()
    await office.desk.close()
    assert office.caches["lifecycle"].values["acme"] == LifecycleRecord(state=State.SUSPENDED, onboarding=COMPLETE)
    assert [made.to_state for made in office.told.transitions] == [State.SUSPENDED]
    await office.desk.close()


@in_virtual_time
async def test_the_end_does_not_wait_for_ever_for_a_store_that_hangs() -> None:
    office = await Office(together=True).acme()
    office.lifecycle.go.clear()
    change = asyncio.ensure_future(office.tenants.transition("acme", State.SUSPENDED, CHANGE))
    await asyncio.sleep(0)
    clock = asyncio.get_running_loop().time
    started = clock()
    await office.desk.close()
    assert clock() == started + 10
    with pytest.raises(asyncio.CancelledError):
        await change


class BillingSystem:
    """Somebody else's: it says what the standings are, and cannot be told."""

    async def find_billing(self, _tenant_id: str) -> BillingRecord | None:
        return None


async def test_a_tenant_whose_standing_is_kept_elsewhere_can_be_created_and_has_no_standing_here() -> None:
    office = Office(together=False)
    office.desk.stores = Stores(
        lifecycle=office.lifecycle, billing=completed(BillingSystem(), "acme"), credentials=office.credentials
    )
    office.caches["billing"].values["new"] = None
    trial = NewTenant(tenant_id="new", name="New", onboarding=COMPLETE, billing=BillingState.TRIAL, plan_id=None)
    await office.tenants.create_tenant(trial, CHANGE)
    assert "new" not in office.caches["billing"].values
    assert office.caches["lifecycle"].values["new"] is not None
    with pytest.raises(NotSupported, match="tenant 'acme' is there, but its standing"):
        await office.acme()
