"""What is particular to the SQLite store: all or nothing on disk, rows that can't be read, an audit trail nobody can edit."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from extauthz.errors import InvalidRecord, InvalidTransition, ProviderError
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.lifecycle import LifecycleState, Onboarding
from extauthz.providers import sqlite_keys, sqlite_state
from extauthz.providers.sqlite import SqliteStore
from extauthz.testing.contracts_lifecycle import MOVE
from extauthz.testing.contracts_values import ACME, a_change, a_key, a_tenant, moves_in, refused

TRIAL = BillingRecord(state=BillingState.TRIAL)
Call = Callable[[SqliteStore], Awaitable[object]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store with one ACTIVE tenant, its standing and a key."""
    made = SqliteStore(tmp_path / "state.db", readers=2)
    await made.start()
    await made.create_tenant(a_tenant(), a_change("new"), TRIAL)
    await made.issue_key(a_key(), a_change("new"), require_active=True)
    yield made
    await made.close()


def behind(store: SqliteStore, *statements: str) -> None:
    """Change the file behind the store's back."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def everything(store: SqliteStore) -> object:
    tenant, standing = await store.get_tenant(ACME), await store.find_billing(ACME)
    return tenant, standing, await store.list_keys(ACME), await store.history(ACME)


# All or nothing

CHANGES: dict[str, Call] = {
    "terminate": lambda store: store.transition(ACME, LifecycleState.TERMINATED, a_change(), revoke_keys=True),
    "suspend": lambda store: store.transition(ACME, LifecycleState.SUSPENDED, a_change(), revoke_keys=True),
    "bill": lambda store: store.set_billing(ACME, a_change(), state=BillingState.SUSPENDED, plan_id="pro"),
    "issue": lambda store: store.issue_key(a_key("key2"), a_change(), require_active=True),
    "revoke": lambda store: store.revoke_key(ACME, "key1", a_change()),
    "revoke all": lambda store: store.revoke_all(ACME, a_change()),
}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("terminate", "tenant_lifecycle_transition"),
        ("terminate", "api_key_revoked"),
        ("suspend", "tenant_lifecycle_transition"),
        ("bill", "billing_state_changed"),
        ("bill", "billing_plan_assigned"),
        ("issue", "api_key_issued"),
        ("revoke", "api_key_revoked"),
        ("revoke all", "api_key_revoked"),
    ],
)
async def test_offboard_005_010_billing_004_a_change_its_audit_and_the_keys_are_all_or_nothing(
    store: SqliteStore, name: str, what: str
) -> None:
    before = await everything(store)
    fail = "BEGIN SELECT RAISE(ABORT, 'the disk is full of audits'); END"
    behind(store, f"CREATE TRIGGER fail BEFORE INSERT ON audit WHEN NEW.what = '{what}' {fail}")
    error = await refused(ProviderError, CHANGES[name](store))
    assert "refused the change" in str(error)
    assert await everything(store) == before
    behind(store, "DROP TRIGGER fail")
    await CHANGES[name](store)
    assert await everything(store) != before


async def test_a_creation_and_its_standing_are_all_or_nothing(store: SqliteStore) -> None:
    behind(store, "CREATE TRIGGER fail BEFORE INSERT ON billing BEGIN SELECT RAISE(ABORT, 'no'); END")
    await refused(ProviderError, store.create_tenant(a_tenant("new"), a_change(), TRIAL))
    assert await store.get_tenant("new") is None
    assert not await store.history("new")


# Two processes, one file


async def test_offboard_001_changes_through_two_stores_are_judged_one_after_the_other(store: SqliteStore) -> None:
    other = SqliteStore(store.path)
    wishes = [(store, LifecycleState.SUSPENDED), (other, LifecycleState.ACTIVE)] * 10
    attempts = (where.transition(ACME, to, a_change(), revoke_keys=True) for where, to in wishes)
    made = await asyncio.gather(*attempts)
    moved = [(each.from_state.value, each.to_state.value) for each in made if each.from_state != each.to_state]
    audited = moves_in(await other.history(ACME), MOVE)
    assert sorted(audited[1:]) == sorted(moved)
    assert len(moved) > 0
    assert all(earlier[1] == later[0] for earlier, later in pairwise(audited))
    await other.close()


async def test_offboard_002_a_termination_by_another_process_holds(store: SqliteStore) -> None:
    other = SqliteStore(store.path)
    await other.transition(ACME, LifecycleState.TERMINATED, a_change(), revoke_keys=True)
    await refused(InvalidTransition, store.transition(ACME, LifecycleState.ACTIVE, a_change(), revoke_keys=True))
    key = await store.find_key("key1")
    assert key is not None
    assert key.revoked_at is not None
    await other.close()


# Rows that can't be read


@pytest.mark.parametrize(
    ("damage", "call", "text"),
    [
        ("tenants SET state = 'banana'", lambda s: s.find_lifecycle(ACME), "'banana' is no LifecycleState"),
        ("tenants SET state = 'banana'", lambda s: s.get_tenant(ACME), "tenant 'acme': 'banana'"),
        ("tenants SET state = 'banana'", lambda s: s.list_tenants(), "tenant 'acme': 'banana'"),
        (
            "tenants SET state = 'active'",
            lambda s: s.issue_key(a_key("k"), a_change(), require_active=True),
            "'active'",
        ),
        ("tenants SET state = ''", CHANGES["terminate"], "'' is no LifecycleState"),
        ("tenants SET onboarding = 7", lambda s: s.find_lifecycle(ACME), "'7' is no Onboarding"),
        (
            "tenants SET onboarding = 'x'",
            lambda s: s.set_onboarding(ACME, Onboarding.COMPLETE, a_change()),
            "'x' is no Onboarding",
        ),
        ("tenants SET name = x'00ff'", lambda s: s.get_tenant(ACME), "where a text is due"),
        ("tenants SET created_at = 'noon'", lambda s: s.get_tenant(ACME), "where a number is due"),
        ("billing SET state = 'banana'", lambda s: s.find_billing(ACME), "billing of tenant 'acme': 'banana'"),
        ("billing SET state = 'banana'", CHANGES["bill"], "'banana' is no BillingState"),
        ("billing SET plan_id = x'00'", lambda s: s.find_billing(ACME), "where a text is due"),
        ("api_keys SET secret_hash = 'text'", lambda s: s.find_key("key1"), "the hash is not bytes"),
        ("api_keys SET scopes = '{}'", lambda s: s.find_key("key1"), "the scopes are no list"),
        ("api_keys SET scopes = '[1]'", lambda s: s.find_key("key1"), "where a text is due"),
        ("api_keys SET scopes = 'read'", lambda s: s.list_keys(ACME), "the scopes are no list"),
        ("api_keys SET expires_at = 'never'", lambda s: s.find_key("key1"), "where a number is due"),
    ],
)
async def test_a_row_that_cannot_be_read_is_that_tenants_fault_not_the_providers(
    store: SqliteStore, damage: str, call: Call, text: str
) -> None:
    await store.create_tenant(a_tenant("other"), a_change(), TRIAL)
    behind(store, f"UPDATE {damage} WHERE tenant_id = '{ACME}'")
    history = await store.history(ACME)
    error = await refused(InvalidRecord, call(store))
    assert text in str(error)
    assert await store.find_lifecycle("other") == a_tenant("other").record
    assert await store.find_billing("other") == TRIAL
    assert await store.history(ACME) == history


async def test_a_long_wrong_value_is_cut_in_the_error(store: SqliteStore) -> None:
    behind(store, f"UPDATE tenants SET state = '{'x' * 5000}'")
    assert len(str(await refused(InvalidRecord, store.find_lifecycle(ACME)))) < 200


async def test_offboard_005_a_key_that_cannot_be_read_is_revoked_all_the_same(store: SqliteStore) -> None:
    behind(store, "UPDATE api_keys SET scopes = 'damaged'")
    made = await store.transition(ACME, LifecycleState.TERMINATED, a_change(later=3), revoke_keys=True)
    assert made.revoked_keys == 1
    behind(store, "UPDATE api_keys SET scopes = '[]'")
    key = await store.find_key("key1")
    assert key is not None
    assert key.revoked_at == a_change(later=3).at


async def test_an_audit_record_of_an_unknown_kind_of_actor_cannot_be_read(store: SqliteStore) -> None:
    columns = "tenant_id, what, before_value, after_value, actor_type, actor_id, reason, at, request_id"
    behind(store, f"INSERT INTO audit ({columns}) VALUES ('{ACME}', 'x', '', '', 'ghost', 'g', '', 1, '')")
    error = await refused(InvalidRecord, store.history(ACME))
    assert "'ghost' is no ActorType" in str(error)


# On disk


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET reason = 'nothing happened'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)",
        "REPLACE INTO audit SELECT id, tenant_id, what, '', '', actor_type, actor_id, '', at, '' FROM audit",
    ],
)
async def test_offboard_010_the_audit_trail_is_append_only(store: SqliteStore, statement: str) -> None:
    before = await store.history(ACME)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        behind(store, statement)
    assert await store.history(ACME) == before != ()


@pytest.mark.parametrize("query", [sqlite_state.FIND_LIFECYCLE, sqlite_state.FIND_BILLING, sqlite_keys.FIND_KEY])
def test_a_look_up_is_one_search_by_primary_key(tmp_path: Path, query: str) -> None:
    asyncio.run(_made(tmp_path / "state.db"))
    connection = sqlite3.connect(tmp_path / "state.db")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", (ACME,))]
    connection.close()
    assert len(plan) == 1
    assert "USING PRIMARY KEY" in plan[0]
    assert plan[0].startswith("SEARCH")


async def _made(path: Path) -> None:
    store = SqliteStore(path)
    await store.start()
    await store.close()


async def test_a_secret_is_kept_as_its_hash_alone(store: SqliteStore) -> None:
    columns = await store._db.read(lambda db: [row[1] for row in db.execute("PRAGMA table_info(api_keys)")])
    assert [name for name in columns if "secret" in name] == ["secret_hash"]
