"""Adding tenants in batches, over one store and over two; and the times and names that an import takes."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.admin.answers import rfc3339
from extauthz.admin.forms import ImportedTenant
from extauthz.changes.imports import Imported, TenantImports
from extauthz.errors import ImportConflict, ProviderError
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.event import EventType
from extauthz.model.lifecycle import Change, LifecycleRecord, LifecycleState, Onboarding, Tenant
from extauthz.providers.memory import MemoryStore
from tests.back_office import CHANGE, Office, tenant

PAID = BillingRecord(state=BillingState.ACTIVE, plan_id="pro")
TRIAL = BillingRecord(state=BillingState.TRIAL)
SUSPENDED = LifecycleRecord(state=LifecycleState.SUSPENDED, onboarding=Onboarding.COMPLETE)


class FailsAt(MemoryStore):
    """A billing store that fails at one tenant until it is well."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__()
        self.bad: str | None = tenant_id

    async def set_billing(
        self, tenant_id: str, change: Change, *, state: BillingState | None = None, plan_id: str | None = None
    ) -> tuple[BillingRecord | None, BillingRecord]:
        if tenant_id == self.bad:
            raise ProviderError("gone")
        return await super().set_billing(tenant_id, change, state=state, plan_id=plan_id)


@pytest.fixture(params=[True, False], ids=["one store", "two stores"], name="office")
def office_of(request: pytest.FixtureRequest) -> Office:
    return Office() if request.param else Office(billing=MemoryStore())


def billing_of(office: Office) -> MemoryStore:
    store: MemoryStore = office.billing or office.store
    return store


async def test_tenants_come_in_whatever_state_with_their_standing_audited_and_told(office: Office) -> None:
    wanted = [tenant("a"), tenant("b", "Bee", SUSPENDED)]
    imports = TenantImports(office.desk())
    done = await imports.import_tenants(wanted, {"a": PAID, "b": TRIAL}, CHANGE)
    assert done == Imported(created=2, existing=0)
    assert [await office.store.get_tenant(each.tenant_id) for each in wanted] == wanted
    assert await billing_of(office).find_standings(["a", "b"]) == {"a": PAID, "b": TRIAL}
    first, *_ = await office.store.history("b")
    assert first.after == "SUSPENDED"
    assert "ACTIVE" in [record.after for record in await billing_of(office).history("a")]
    (event,) = office.events.events  # one for all, or a million of them would push out what others wait for
    assert (event.type, event.tenant_id) == (EventType.TENANT_LIFECYCLE_TRANSITION, "_system")
    assert event.payload == {
        "from": None,
        "to": {"ACTIVE": ["a"], "SUSPENDED": ["b"]},
        "count": 2,
        "reason": "because",
    }
    assert {"a", "b"} <= set(office.forgotten.keys)
    assert {"a", "b"} <= set(office.standings_forgotten.keys)


async def test_what_is_there_already_and_the_same_is_passed_over(office: Office) -> None:
    imports = TenantImports(office.desk())
    await imports.import_tenants([tenant("a")], {"a": PAID}, CHANGE)
    office.events.events.clear()
    done = await imports.import_tenants([tenant("a"), tenant("b")], {"a": PAID, "b": PAID}, CHANGE)
    assert done == Imported(created=1, existing=1)
    assert [event.payload["to"] for event in office.events.events] == [{"ACTIVE": ["b"]}]
    await imports.import_tenants([tenant("a"), tenant("b")], {"a": PAID, "b": PAID}, CHANGE)
    assert len(office.events.events) == 1
    assert len(await billing_of(office).history("a")) == len(await billing_of(office).history("b"))


@pytest.mark.parametrize(
    ("there", "standing"), [(tenant("a", "Other"), PAID), (tenant("a", record=SUSPENDED), PAID), (tenant("a"), TRIAL)]
)
async def test_who_is_there_and_not_the_same_is_a_conflict_and_nothing_is_written(
    office: Office, there: Tenant, standing: BillingRecord
) -> None:
    imports = TenantImports(office.desk())
    await imports.import_tenants([there], {"a": standing}, CHANGE)
    office.events.events.clear()
    with pytest.raises(ImportConflict) as refused:
        await imports.import_tenants([tenant("new"), tenant("a")], {"new": PAID, "a": PAID}, CHANGE)
    assert refused.value.ids == ("a",)
    assert await office.store.get_tenant("new") is None
    assert await billing_of(office).find_standings(["new", "a"]) == {"a": standing}
    assert office.events.events == []


@pytest.mark.parametrize(
    ("there", "standing"), [(tenant("a", "Other"), PAID), (tenant("a", record=SUSPENDED), PAID), (tenant("a"), TRIAL)]
)
async def test_with_keep_who_is_there_stays_as_it_is_and_the_others_are_added(
    office: Office, there: Tenant, standing: BillingRecord
) -> None:
    imports = TenantImports(office.desk())
    await imports.import_tenants([there, tenant("same")], {"a": standing, "same": PAID}, CHANGE)
    office.events.events.clear()
    before = await office.store.history("a")
    batch = [tenant("new"), tenant("a"), tenant("same")]
    standings = {"new": PAID, "a": PAID, "same": PAID}
    done = await imports.import_tenants(batch, standings, CHANGE, keep=True)
    assert done == Imported(created=1, existing=1, kept=("a",))
    assert await office.store.get_tenant("a") == there
    assert await office.store.history("a") == before
    assert await billing_of(office).find_standings(["a", "new"]) == {"a": standing, "new": PAID}
    (event,) = office.events.events
    assert event.payload["to"] == {"ACTIVE": ["new"]}
    again = await imports.import_tenants(batch, standings, CHANGE, keep=True)
    assert again == Imported(created=0, existing=2, kept=("a",))


async def test_with_keep_where_all_are_there_and_differ_nothing_is_written(office: Office) -> None:
    imports = TenantImports(office.desk())
    await imports.import_tenants([tenant("a", "Other")], {"a": TRIAL}, CHANGE)
    done = await imports.import_tenants([tenant("a")], {"a": PAID}, CHANGE, keep=True)
    assert done == Imported(created=0, existing=0, kept=("a",))


async def test_with_keep_a_standing_without_a_tenant_stays_and_the_tenant_is_added() -> None:
    billing = MemoryStore()
    office = Office(billing=billing)
    await billing.set_billing("a", CHANGE, state=BillingState.PAST_DUE, plan_id=None)
    imports = TenantImports(office.desk())
    with pytest.raises(ImportConflict):
        await imports.import_tenants([tenant("a")], {"a": PAID}, CHANGE)
    done = await imports.import_tenants([tenant("a")], {"a": PAID}, CHANGE, keep=True)
    assert done == Imported(created=1, existing=0)
    assert await office.store.get_tenant("a") == tenant("a")
    assert await billing.find_standings(["a"]) == {"a": BillingRecord(state=BillingState.PAST_DUE)}


class NamesOneAtATime(MemoryStore):
    """A third party's store that names one tenant of a conflict, or somebody who is not in the batch."""

    stranger: str | None = None

    async def import_tenants(
        self, tenants: Sequence[Tenant], change: Change, billing: Mapping[str, BillingRecord] | None = None
    ) -> Sequence[str]:
        if self.stranger:
            raise ImportConflict([self.stranger])
        try:
            return await super().import_tenants(tenants, change, billing)
        except ImportConflict as conflict:
            raise ImportConflict(conflict.ids[:1]) from None


async def test_with_keep_conflicts_that_show_one_by_one_are_left_out_one_by_one() -> None:
    store = NamesOneAtATime()
    office = Office(store=store)
    imports = TenantImports(office.desk())
    three = ["a", "b", "c"]
    await imports.import_tenants([tenant(each, "Other") for each in three], dict.fromkeys(three, PAID), CHANGE)
    batch = [tenant(each) for each in ["n", *three]]
    done = await imports.import_tenants(batch, dict.fromkeys(["n", *three], PAID), CHANGE, keep=True)
    assert done == Imported(created=1, existing=0, kept=("a", "b", "c"))


async def test_with_keep_a_conflict_over_nobody_of_the_batch_ends_too() -> None:
    store = NamesOneAtATime()
    store.stranger = "somebody"
    with pytest.raises(ImportConflict):
        await TenantImports(Office(store=store).desk()).import_tenants([tenant("a")], {"a": PAID}, CHANGE, keep=True)


async def test_a_batch_that_failed_halfway_is_completed_by_the_same_batch_again() -> None:
    billing = FailsAt("b")
    office = Office(billing=billing)
    imports = TenantImports(office.desk())
    wanted, standings = [tenant("a"), tenant("b")], {"a": PAID, "b": PAID}
    with pytest.raises(ProviderError):
        await imports.import_tenants(wanted, standings, CHANGE)
    assert {"a", "b"} <= set(office.forgotten.keys)  # nobody knows what is there, so the caches ask
    billing.bad = None
    assert await imports.import_tenants(wanted, standings, CHANGE) == Imported(created=0, existing=2)
    assert await billing.find_standings(["a", "b"]) == standings


async def test_an_import_goes_on_to_its_end_where_the_one_who_asked_leaves() -> None:
    office = Office()
    desk = office.desk()
    asking = asyncio.create_task(TenantImports(desk).import_tenants([tenant("a")], {"a": PAID}, CHANGE))
    await asyncio.sleep(0)  # it has begun
    asking.cancel()
    await desk.close()
    assert asking.cancelled()
    assert await office.store.get_tenant("a") == tenant("a")


# What a batch holds


@given(st.integers(0, 253_370_764_799), st.integers(0, 999_999))
def test_a_time_that_was_shown_is_read_as_the_same_time(seconds: int, micros: int) -> None:
    shown = rfc3339(seconds + micros / 1e6)
    read = ImportedTenant.model_validate({"id": "a", "created_at": shown}).created_at
    assert rfc3339(read) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-01-01t12:00:00.5z", 1_767_268_800.5),
        ("2026-01-01T14:00:00+02:00", 1_767_268_800.0),
    ],
)
def test_times_are_those_of_rfc_3339(text: str, seconds: float) -> None:
    assert ImportedTenant.model_validate({"id": "a", "created_at": text}).created_at == seconds


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:00:00",
        "2026-01-01",
        "2026-W01-1T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T12:00:00.1234567Z",
        "2026-01-01T12:00:00+99:99",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        1_767_268_800,
        "",
    ],
)
def test_what_is_no_such_time_is_refused(text: object) -> None:
    with pytest.raises(ValidationError, match="created_at"):
        ImportedTenant.model_validate({"id": "a", "created_at": text})


def test_a_name_that_no_database_can_hold_is_refused() -> None:
    with pytest.raises(ValidationError, match="NUL"):
        ImportedTenant.model_validate({"id": "a", "name": "a\0b"})
