"""Rows and texts in PostgreSQL: what cannot be read, what cannot be kept, what the schema refuses. On a real server."""

from collections.abc import Iterator

import pytest

from extauthz.errors import InvalidRecord
from extauthz.model.identity import KeyUse
from extauthz.testing.contracts_values import ACME, NOW, a_change, a_key, a_tenant
from tests.postgres import shared
from tests.postgres_way import opened


@pytest.fixture
def url() -> Iterator[str]:
    with shared().database() as url:
        yield url


async def test_a_row_that_cannot_be_read_is_that_tenants_matter(url: str) -> None:
    async with opened(url) as store:
        for tenant_id in (ACME, "other"):
            await store.create_tenant(a_tenant(tenant_id), a_change())
            await store.issue_key(a_key(f"key-{tenant_id}", tenant_id), a_change(), require_active=True)
        shared().sql(f"UPDATE extauthz.tenants SET state = 'FROZEN' WHERE tenant_id = '{ACME}'", url)
        shared().sql("UPDATE extauthz.api_keys SET scopes = '{' WHERE key_id = 'key-acme'", url)
        shared().sql("INSERT INTO extauthz.changes (kind, id, origin, at) VALUES ('moon', 'x', '', 0)", url)
        with pytest.raises(InvalidRecord, match="FROZEN"):
            await store.find_lifecycle(ACME)
        with pytest.raises(InvalidRecord, match="scopes"):
            await store.find_key("key-acme")
        with pytest.raises(InvalidRecord, match="moon"):
            await store.changes_after(0)
        assert await store.find_lifecycle("other") == a_tenant().record
        assert await store.revoke_all(ACME, a_change()) == ("key-acme",)


async def test_texts_that_postgresql_cannot_keep_are_refused_or_shown_otherwise_in_the_audit(url: str) -> None:
    async with opened(url) as store:
        for tenant_id in ("a\0b", "\udcff"):
            with pytest.raises(InvalidRecord):
                await store.create_tenant(a_tenant(tenant_id), a_change())
        await store.create_tenant(a_tenant(), a_change("a\0b\udcff"))
        (record,) = await store.history(ACME)
        assert record.change.reason == "a\N{SYMBOL FOR NULL}b?"
        assert [tenant.tenant_id for tenant in await store.list_tenants(after="aaa\0")] == [ACME]
        await store.record_uses([KeyUse(key_id="a\0b", used_at=NOW)])
        assert await store.find_standings(["a\0b", ACME]) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE extauthz.audit SET reason = 'x'",
        "DELETE FROM extauthz.audit",
        "TRUNCATE extauthz.audit",
    ],
)
async def test_offboard_010_the_schema_itself_refuses_to_change_or_remove_an_audit_record(
    url: str, statement: str
) -> None:
    async with opened(url) as store:
        await store.create_tenant(a_tenant(), a_change())
        history = await store.history(ACME)
        with pytest.raises(RuntimeError, match="the audit trail is append-only"):
            shared().sql(statement, url)
        assert await store.history(ACME) == history


async def test_look_ups_read_one_row_by_primary_key(url: str) -> None:
    async with opened(url) as store:
        await store.import_tenants([a_tenant(f"t{number}") for number in range(2000)], a_change())
    for table, key in (("tenants", "tenant_id"), ("billing", "tenant_id"), ("api_keys", "key_id")):
        statement = f"SET enable_seqscan = off; EXPLAIN SELECT * FROM extauthz.{table} WHERE {key} = 'x'"
        assert f"Index Scan using {table}_pkey" in shared().sql(statement, url)[0]
