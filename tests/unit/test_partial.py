"""Providers that can be asked but not changed."""

import pytest

from extauthz.errors import NotSupported
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers.partial import completed
from extauthz.testing.contracts_values import a_change

PAID = BillingRecord(state=BillingState.ACTIVE, plan_id="pro")


class Billing:
    """The one method that a billing provider needs."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        self.asked.append(tenant_id)
        return PAID if tenant_id.startswith("t") else None


class ForMany(Billing):
    async def find_standings(self, tenant_ids: list[str]) -> dict[str, BillingRecord]:
        return dict.fromkeys(tenant_ids, PAID)


async def test_what_it_has_is_its_own() -> None:
    store = completed(Billing(), "acme")
    assert await store.find_billing("t1") == PAID
    assert await store.find_billing("x") is None


async def test_what_it_lacks_is_refused_by_the_name_of_its_scheme() -> None:
    store = completed(Billing(), "acme")
    with pytest.raises(NotSupported, match="acme: provider can be asked, but not changed") as refused:
        await store.set_billing("t1", a_change(), plan_id="pro")
    assert (refused.value.status, refused.value.code) == (501, "not_supported")
    with pytest.raises(NotSupported):
        await store.transition("t1", LifecycleState.SUSPENDED, a_change(), revoke_keys=True)
    with pytest.raises(AttributeError):
        store._private  # type: ignore[attr-defined]  # noqa: B018 - that there is no such thing is what is tested


async def test_nothing_was_ever_noted_or_planned_there() -> None:
    store = completed(Billing(), "acme")
    assert await store.history("t1") == ()
    assert await store.planned_terminations() == ()
    await store.record_uses([])


async def test_the_standings_of_many_are_looked_up_one_by_one_where_it_knows_no_better() -> None:
    provider = Billing()
    ids = [f"t{number}" for number in range(100)] + ["x"]
    found = await completed(provider, "acme").find_standings(ids)
    assert list(found) == ids[:-1]
    assert provider.asked == ids
    assert len(await completed(ForMany(), "acme").find_standings(ids)) == 101
