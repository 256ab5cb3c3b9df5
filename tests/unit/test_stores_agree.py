"""BILLING-005, told another way: whatever is done to them, the stores answer alike and remember alike."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.errors import ChangeRefused
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.identity import KeyUse
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.providers.memory import MemoryStore
from extauthz.providers.sqlite import SqliteStore
from extauthz.testing.contracts_imports import a_tenant_in
from extauthz.testing.contracts_stores import Store
from extauthz.testing.contracts_values import NOW, a_change, a_key, a_tenant

Step = Callable[[Store], Awaitable[object]]

TENANTS = ("acme", "umbrella")
KEYS = ("k1", "k2", "k3")
tenants, keys, times = st.sampled_from(TENANTS), st.sampled_from(KEYS), st.integers(0, 5).map(float)
states, standings = st.sampled_from(LifecycleState), st.sampled_from(BillingState)
plans = st.none() | st.sampled_from(("pro", "free"))


def create(tenant: str, at: float, onboarding: Onboarding, standing: BillingState | None) -> Step:
    billing = None if standing is None else BillingRecord(state=standing)
    return lambda store: store.create_tenant(a_tenant(tenant, onboarding), a_change(later=at), billing)


def transition(tenant: str, to: LifecycleState, at: float, revoke: bool) -> Step:  # noqa: FBT001 - drawn by Hypothesis
    return lambda store: store.transition(tenant, to, a_change(later=at), revoke_keys=revoke)


def plan(tenant: str, at: float) -> Step:
    return lambda store: store.plan_termination(tenant, a_change(later=at))


def bring(ids: list[str], state: LifecycleState, standing: BillingState | None) -> Step:
    given = [a_tenant_in(state, tenant) for tenant in ids]
    billing = {} if standing is None else {ids[0]: BillingRecord(state=standing)}
    return lambda store: store.import_tenants(given, a_change(), billing)


def onboard(tenant: str, to: Onboarding) -> Step:
    return lambda store: store.set_onboarding(tenant, to, a_change())


def bill(tenant: str, state: BillingState | None, plan: str | None) -> Step:
    return lambda store: store.set_billing(tenant, a_change(), state=state, plan_id=plan)


def issue(key: str, tenant: str, at: float, require_active: bool) -> Step:  # noqa: FBT001 - drawn by Hypothesis
    return lambda store: store.issue_key(
        a_key(key, tenant, later=at), a_change(later=at), require_active=require_active
    )


def revoke_key(tenant: str, key: str, at: float) -> Step:
    return lambda store: store.revoke_key(tenant, key, a_change(later=at))


def revoke_all(tenant: str, at: float) -> Step:
    return lambda store: store.revoke_all(tenant, a_change(later=at))


def use(key: str, at: float, secret_hash: bytes | None, pepper: str | None) -> Step:
    seen = KeyUse(key_id=key, used_at=NOW + at, secret_hash=secret_hash, hash_pepper=pepper)
    return lambda store: store.record_uses([seen])


steps = st.one_of(
    st.builds(create, tenants, times, st.sampled_from(Onboarding), st.none() | standings),
    st.builds(transition, tenants, states, times, st.booleans()),
    st.builds(plan, tenants, times),
    st.builds(bring, st.lists(tenants, min_size=1, max_size=3), states, st.none() | standings),
    st.builds(onboard, tenants, st.sampled_from(Onboarding)),
    st.builds(bill, tenants, st.none() | standings, plans),
    st.builds(issue, keys, tenants, times, st.booleans()),
    st.builds(revoke_key, tenants, keys, times),
    st.builds(revoke_all, tenants, times),
    st.builds(use, keys, times, st.none() | st.binary(max_size=3), st.none() | st.just("pepper-2")),
)


async def outcome(step: Step, store: Store) -> object:
    try:
        return await step(store)
    except ChangeRefused as refused:
        return type(refused), str(refused)


async def everything(store: Store) -> object:
    whole: list[object] = [await store.list_tenants(), [await store.find_key(key) for key in KEYS]]
    whole += [dict(await store.find_standings(TENANTS)), sorted(await store.planned_terminations())]
    for tenant in TENANTS:
        whole += [await store.find_lifecycle(tenant), await store.find_billing(tenant)]
        whole += [await store.list_keys(tenant), await store.history(tenant)]
    return whole


async def compare(taken: list[Step], path: Path) -> None:
    memory, sqlite = MemoryStore(), SqliteStore(path, readers=1)
    try:
        for step in taken:
            assert await outcome(step, memory) == await outcome(step, sqlite)
        assert await everything(memory) == await everything(sqlite)
    finally:
        await sqlite.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(steps, min_size=5, max_size=30))
def test_billing_005_the_stores_agree_whatever_is_done_to_them(taken: list[Step]) -> None:
    with TemporaryDirectory() as directory:
        asyncio.run(compare(taken, Path(directory) / "state.db"))
