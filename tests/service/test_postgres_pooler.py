"""Behind a pooler, where each transaction may meet another session of the server: nothing is kept on one, nor expected there."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from extauthz.errors import ProviderTimeout
from extauthz.model.billing import BillingState
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers import postgres_check
from extauthz.providers.postgres_events import PostgresEvents
from extauthz.testing.contracts_events import ALL, make_events
from extauthz.testing.contracts_values import ACME, a_change, a_key, a_tenant
from tests.postgres import shared
from tests.postgres_pooler import SESSIONS, pooler_to
from tests.postgres_way import SHORT, eventually, opened


@pytest.fixture
async def url() -> AsyncIterator[str]:
    with shared().database() as url:
        async with pooler_to(url) as pooled:
            yield pooled


async def of_each_session(url: str, query: str) -> set[str]:
    """What each session says, whoever used it before."""
    clients = [await asyncpg.connect(url.partition("?")[0], statement_cache_size=0) for _ in range(SESSIONS)]
    for client in clients:  # all at once, so that no two of them meet the same session
        await client.execute("BEGIN")
    found = {str(await client.fetchval(query)) for client in clients}
    for client in clients:
        await client.execute("ROLLBACK")
        await client.close()
    return found


async def test_everything_works_for_two_replicas_at_once(url: str) -> None:
    async with opened(url, "one") as one, opened(url, "two") as two:
        for number in range(6):
            tenant_id = f"t{number}"
            await one.create_tenant(a_tenant(tenant_id), a_change())
            looks = (store.find_lifecycle(tenant_id) for store in (one, two) for _ in range(3))
            assert await asyncio.gather(*looks) == [a_tenant(tenant_id).record] * 6
            await two.issue_key(a_key(f"key{number}", tenant_id), a_change(), require_active=True)
            await asyncio.gather(
                one.set_billing(tenant_id, a_change(), state=BillingState.ACTIVE),
                two.transition(tenant_id, LifecycleState.TERMINATED, a_change(), revoke_keys=True),
                one.renew_lease("one", number, 3),
            )
            assert await two.find_key(f"key{number}") == (await one.list_keys(tenant_id))[0]
        await two.wait_for_change(0.05)  # nothing is heard there, and nothing is wrong with that
        changes = await two.changes_after(0)
        assert len(changes) == 6 * 5
        assert {change.origin for change in changes} == {"one", "two"}


async def test_events_are_stored_and_read(url: str) -> None:
    store = PostgresEvents(url)
    await store.start()
    for event in make_events(5):
        await store.append([event])
    assert list(await store.query(ALL)) == make_events(5)
    await store.close()


async def test_each_transaction_brings_its_limits_and_nothing_is_left_on_a_session(url: str) -> None:
    async with opened(url, pools=SHORT) as store:
        await store.create_tenant(a_tenant(), a_change())
        assert await store._tenants.read(lambda db: db.fetchval("SHOW statement_timeout")) == "400ms"
        await store.renew_lease("one", 1, 3)
    assert await of_each_session(url, "SHOW statement_timeout") == {"0"}
    assert await of_each_session(url, "SHOW synchronous_commit") == {"on"}
    assert await of_each_session(url, "SELECT count(*) FROM pg_prepared_statements") == {"0"}


async def test_a_call_that_is_abandoned_costs_its_session_and_nobody_else(url: str) -> None:
    async with opened(url, pools=SHORT) as store, opened(url) as other:
        await store.create_tenant(a_tenant(), a_change())
        with pytest.raises(ProviderTimeout):
            await store._tenants.read(lambda db: db.fetchval("SELECT pg_sleep(60)"))
        assert await other.find_lifecycle(ACME) == a_tenant().record
        await eventually(lambda: store.find_lifecycle(ACME))


async def test_a_check_of_the_rows_leaves_no_setting_on_a_session(url: str) -> None:
    async with opened(url) as store:
        await store.create_tenant(a_tenant(), a_change())
        before = await of_each_session(url, "SHOW search_path")
        for _ in range(SESSIONS):
            assert await postgres_check.check(url) == []
        assert await of_each_session(url, "SHOW search_path") == before
