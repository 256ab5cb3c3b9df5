"""The check of a state database: what is wrong is told in words, and nothing else is."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from extauthz.errors import ProviderError, SchemaMismatch
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers.sqlite import SqliteStore
from extauthz.providers.sqlite_check import check
from extauthz.testing.contracts_values import ACME, a_change, a_key, a_tenant, tenant_in

STANDING = BillingRecord(state=BillingState.ACTIVE, plan_id="pro")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with everything in it, and nothing wrong."""
    store = SqliteStore(tmp_path / "state.db")
    await store.start()
    await store.create_tenant(a_tenant(), a_change("new"), STANDING)
    await store.issue_key(a_key(), a_change(), require_active=True)
    await store.issue_key(a_key("op", SYSTEM_TENANT), a_change(), require_active=False)
    await store.plan_termination(ACME, a_change())
    await tenant_in(store, LifecycleState.TERMINATED, "ended")
    await tenant_in(store, LifecycleState.ARCHIVED, "archived")
    await store.close()
    return store.path


def damaged(path: Path, *statements: str) -> Sequence[str]:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return check(path)


async def test_a_sound_database_has_no_faults(path: Path) -> None:
    assert check(path) == check(str(path)) == ()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "UPDATE tenants SET state = 'banana' WHERE tenant_id = 'acme'",
            "tenant 'acme': 'banana' is no LifecycleState",
        ),
        ("UPDATE tenants SET onboarding = '' WHERE tenant_id = 'acme'", "tenant 'acme': '' is no Onboarding"),
        (
            "UPDATE tenants SET name = CAST(x'ff' AS TEXT) WHERE tenant_id = 'acme'",
            "tenant 'acme': b'\\xff' where a text is due",
        ),
        ("UPDATE billing SET state = 'banana'", "billing of tenant 'acme': 'banana' is no BillingState"),
        (
            "UPDATE api_keys SET scopes = '{}' WHERE key_id = 'key1'",
            "key 'key1': the scopes are no list",
        ),
        (
            "UPDATE planned_terminations SET actor_type = 'ghost'",
            "planned termination of tenant 'acme': 'ghost' is no ActorType",
        ),
        (
            "INSERT INTO audit SELECT 99, tenant_id, what, '', '', 'ghost', '', '', at, '' FROM audit WHERE id = 1",
            "audit of tenant 'acme': 'ghost' is no ActorType",
        ),
        (
            "INSERT INTO billing VALUES ('nobody', 'ACTIVE', NULL)",
            "billing of tenant 'nobody': there is no such tenant",
        ),
        ("UPDATE api_keys SET tenant_id = 'nobody' WHERE key_id = 'key1'", "key 'key1': there is no tenant 'nobody'"),
        (
            "UPDATE planned_terminations SET tenant_id = 'nobody'",
            "planned termination of tenant 'nobody': there is no such tenant",
        ),
        (
            "UPDATE api_keys SET tenant_id = 'ended' WHERE key_id = 'key1'",
            "key 'key1' is live, but tenant 'ended' is TERMINATED",
        ),
        (
            "UPDATE api_keys SET tenant_id = 'archived' WHERE key_id = 'key1'",
            "key 'key1' is live, but tenant 'archived' is ARCHIVED",
        ),
    ],
)
async def test_each_fault_is_told_once_and_by_name(path: Path, statement: str, expected: str) -> None:
    assert damaged(path, statement) == (expected,)


async def test_a_revoked_key_of_a_terminated_tenant_is_no_fault(path: Path) -> None:
    assert damaged(path, "UPDATE api_keys SET tenant_id = 'ended', revoked_at = 1 WHERE key_id = 'key1'") == ()


async def test_all_faults_are_told(path: Path) -> None:
    found = damaged(
        path,
        "UPDATE tenants SET state = 'banana' WHERE tenant_id = 'acme'",
        "UPDATE billing SET state = 'banana', tenant_id = 'nobody'",
        "UPDATE api_keys SET scopes = 7, tenant_id = 'ended' WHERE key_id = 'key1'",
    )
    assert len(found) == 5


async def test_where_tenants_live_elsewhere_their_absence_is_no_fault(path: Path) -> None:
    assert len(damaged(path, "DELETE FROM tenants")) == 3
    assert check(path, tenants_here=False) == ()


async def test_a_damaged_file_is_told_as_such(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tenants'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    assert check(path)


async def test_the_service_may_run_meanwhile(path: Path) -> None:
    store = SqliteStore(path)
    await store.start()
    await store.create_tenant(a_tenant("other"), a_change())
    assert check(path) == ()
    await store.close()


def test_what_is_no_database_of_this_version_is_not_checked(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cannot be opened"):
        check(tmp_path / "absent.db")
    assert not (tmp_path / "absent.db").exists()
    (tmp_path / "empty.db").touch()
    assert check(tmp_path / "empty.db") == ()
    (tmp_path / "text.db").write_text("no database, and long enough to be taken for one" * 100)
    with pytest.raises(ProviderError, match="not an SQLite database"):
        check(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE x (y)")
    other.close()
    with pytest.raises(SchemaMismatch, match="another program"):
        check(tmp_path / "other.db")


async def test_an_older_schema_is_to_be_upgraded_first(path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="run `extauthz db upgrade`"):
        damaged(path, "UPDATE alembic_version SET version_num = '0001'")
