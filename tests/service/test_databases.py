"""`extauthz db` over a real PostgreSQL: state and events in one database, looked at and checked row by row."""

import asyncpg
import pytest

from extauthz.config import Config, load
from extauthz.errors import ProviderError
from extauthz.providers import postgres_check
from extauthz.providers.postgres import PostgresStore
from extauthz.providers.schema_status import SchemaState
from extauthz.wiring import databases
from extauthz.wiring.databases import Database
from tests.back_office import CHANGE, tenant
from tests.postgres import shared


def configured(url: str, **more: str) -> Config:
    env = {f"EXTAUTHZ_PROVIDERS__{name}__URL": url for name in ("CREDENTIALS", "LIFECYCLE", "BILLING", "EVENTS")}
    return load(None, env | {"EXTAUTHZ_PEPPER": "p" * 32} | more).config


async def states(found: list[Database]) -> list[SchemaState | None]:
    looks = [await databases.look_at(each) for each in found]
    return [look.status.state if look.status else None for look in looks]


async def faults(found: list[Database]) -> list[str]:
    return [fault for each in found for fault in await databases.check(each, {"free"})]


async def test_from_empty_to_current() -> None:
    found = list(databases.databases(configured(shared().empty_database())))
    assert len(found) == 2
    assert await states(found) == [SchemaState.EMPTY, SchemaState.EMPTY]
    assert await faults(found) == []
    assert [(await databases.upgrade(each)).sound for each in found] == [True, True]
    assert await states(found) == [SchemaState.CURRENT, SchemaState.CURRENT]
    assert await faults(found) == []


async def test_every_fault_of_a_row_is_found_and_every_plan_that_is_not_there() -> None:
    url = shared().new_database()
    store = PostgresStore(url)
    await store.import_tenants([tenant("a"), tenant("b")], CHANGE)
    await store.set_billing("a", CHANGE, plan_id="gold")
    await store.set_billing("nobody", CHANGE, plan_id="free")
    await store.close()
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE extauthz.tenants SET state = 'banana' WHERE tenant_id = 'b'")
    await connection.close()
    state, _ = databases.databases(configured(url))
    told = "\n".join(await databases.check(state, {"free"}))
    assert "banana" in told
    assert "billing of tenant 'nobody': there is no such tenant" in told
    assert "tenant 'a' is on plan 'gold', which the configuration does not have" in told
    assert "free" not in told


async def test_standings_whose_tenants_live_elsewhere_are_no_fault() -> None:
    url = shared().new_database()
    store = PostgresStore(url)
    await store.set_billing("a", CHANGE, plan_id="free")
    await store.close()
    elsewhere = {
        "EXTAUTHZ_PROVIDERS__LIFECYCLE__URL": "memory:",
        "EXTAUTHZ_PROVIDERS__EVENTS__URL": "none:",
    }
    (state,) = databases.databases(configured(url, **elsewhere))
    assert await databases.check(state, {"free"}) == []


async def test_a_database_that_cannot_be_reached_is_told_without_its_password() -> None:
    found = databases.databases(configured("postgresql://u:s3cret@127.0.0.1:1/x"))
    for each in found:
        look = await databases.look_at(each)
        assert not look.sound
        assert "cannot be reached" in look.error
        assert "s3cret" not in look.error
        assert not (await databases.upgrade(each)).sound
        (fault,) = await databases.check(each, set())
        assert fault == look.error


async def test_a_schema_of_a_newer_version() -> None:
    url = shared().new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE extauthz.alembic_version_state SET version_num = '9999'")
    await connection.close()
    state, events = databases.databases(configured(url))
    assert not (await databases.look_at(state)).sound
    assert (await databases.look_at(events)).sound
    (fault,) = await databases.check(state, {"free"})
    assert "it was upgraded by a newer version" in fault
    assert "s3cr3t" not in fault


async def test_a_database_that_goes_away_before_it_is_checked() -> None:
    for ask in (postgres_check.check, postgres_check.plans_in_use):
        with pytest.raises(ProviderError, match="cannot be reached"):
            await ask("postgresql://u:s3cret@127.0.0.1:1/x")


async def test_a_table_that_is_missing_is_told() -> None:
    url = shared().new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("DROP TABLE extauthz.api_keys")
    await connection.close()
    state, _ = databases.databases(configured(url))
    (fault,) = await databases.check(state, {"free"})
    assert "tables are missing" in fault
