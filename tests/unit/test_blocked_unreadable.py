"""A row that can't be read is a fallback for its tenant (spec 3.3): what was known of it last holds, list or no list."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from extauthz.changes.blocked import BlockedTenants
from extauthz.changes.blocked_sweep import BlockedSweep
from extauthz.errors import InvalidRecord
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.providers.sqlite import SqliteStore
from extauthz.testing import in_virtual_time
from extauthz.testing.contracts_values import tenant_in

TERMINATED = LifecycleRecord(state=LifecycleState.TERMINATED, onboarding=Onboarding.COMPLETE)


class Unreadable:
    """Lists whom it can't read."""

    async def blocked_tenants(
        self,
        after: str = "",
        limit: int = 1000,  # noqa: ARG002 - the port's
    ) -> Sequence[tuple[str, LifecycleRecord | None]]:
        return [(tenant_id, None) for tenant_id in ("a", "never-heard-of") if tenant_id > after]


@in_virtual_time
async def test_who_is_listed_without_a_record_stays_as_known_and_does_not_come_in_by_that() -> None:
    known = BlockedTenants(clock=asyncio.get_running_loop().time, most=100)
    known.restore([("a", TERMINATED, 5.0), ("gone", TERMINATED, 5.0)])
    sweep = BlockedSweep(store=Unreadable(), known=known, most=100)
    sweep.start()
    await asyncio.sleep(2)
    await sweep.close()
    assert [(tenant_id, blocked.record) for tenant_id, blocked in known.kept()] == [("a", TERMINATED)]
    recalled = known.recall("a")
    assert recalled is not None
    assert recalled.age == 7  # nothing new was heard


@pytest.mark.parametrize(
    "damage",
    ["state = 'ERASED'", "state = CAST(x'ff41' AS TEXT)", "state = x'4143'", "onboarding = 'x'", "onboarding = 7"],
)
@pytest.mark.parametrize("before", [LifecycleState.TERMINATED, LifecycleState.ACTIVE])
async def test_a_damaged_row_keeps_its_tenant_out_and_the_list_whole(
    tmp_path: Path, damage: str, before: LifecycleState
) -> None:
    store = SqliteStore(tmp_path / "state.db")
    await store.start()
    await tenant_in(store, before, "acme")
    await tenant_in(store, LifecycleState.TERMINATED, "other")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as file:
        file.execute(f"UPDATE tenants SET {damage} WHERE tenant_id = 'acme'")
    with pytest.raises(InvalidRecord):
        await store.find_lifecycle("acme")
    assert list(await store.blocked_tenants()) == [("acme", None), ("other", TERMINATED)]
    await store.close()
