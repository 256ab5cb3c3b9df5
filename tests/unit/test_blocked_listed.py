"""What a list may do to the set of those who are not ACTIVE: fill it, clear it, but push nobody out of it."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from extauthz.changes.blocked import BlockedTenants
from extauthz.changes.blocked_sweep import BlockedSweep
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.testing import in_virtual_time
from extauthz.testing.clock import FakeClock

Page = Sequence[tuple[str, LifecycleRecord | None]]


def record(state: str = "TERMINATED") -> LifecycleRecord:
    return LifecycleRecord(state=LifecycleState(state), onboarding=Onboarding.COMPLETE)


class Many:
    """Lists what it has."""

    def __init__(self, *ids: str) -> None:
        self.ids = sorted(ids)

    async def blocked_tenants(self, after: str = "", limit: int = 1000) -> Page:
        return [(tenant_id, record()) for tenant_id in self.ids if tenant_id > after][:limit]


async def swept(known: BlockedTenants, page: Page) -> None:
    """One comparison with a store that has this and nobody else."""
    with known.sweeping() as sweep:
        sweep.found(page)
        await sweep.finish(None)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@in_virtual_time
async def test_where_there_are_too_many_a_list_pushes_nobody_out_that_was_asked_for_and_changes_nothing_again() -> None:
    known = BlockedTenants(clock=asyncio.get_running_loop().time, most=2000)
    sweep = BlockedSweep(store=Many(*(f"a{number:05}" for number in range(3000)), "zz"), known=known, most=2000)
    with structlog.testing.capture_logs() as logs:
        sweep.start()
        await asyncio.sleep(2)
        known.learned("zz", record("SUSPENDED"))
        changes = known.changes
        for _ in range(3):
            known.doubt()
            await asyncio.sleep(2)
    await sweep.close()
    assert (len(known), known.changes) == (2000, changes)
    assert "zz" in known
    assert [line["event"] for line in logs] == ["blocked_tenants_too_many"]


async def test_of_whom_only_a_list_told_goes_first(clock: FakeClock) -> None:
    known = BlockedTenants(clock=clock, most=3)
    known.learned("asked-for", record())
    await swept(known, [("asked-for", record()), ("b", record()), ("c", record()), ("d", record())])
    for tenant_id in ("new", "newer"):
        known.learned(tenant_id, record())
    assert [tenant_id for tenant_id, _ in known.kept()] == ["asked-for", "new", "newer"]


async def test_a_list_renews_age_and_state_of_those_who_are_in(clock: FakeClock) -> None:
    known = BlockedTenants(clock=clock, most=2)
    known.learned("a", record("SUSPENDED"))
    known.learned("b", record())
    clock.advance(100)
    changes = known.changes
    await swept(known, [("a", record()), ("b", record())])
    assert known.changes == changes + 1
    assert {tenant_id: (blocked.record.state, blocked.at) for tenant_id, blocked in known.kept()} == {
        "a": (LifecycleState.TERMINATED, clock()),
        "b": (LifecycleState.TERMINATED, clock()),
    }


async def test_who_leaves_by_a_list_is_told_and_nobody_else(clock: FakeClock) -> None:
    left: list[str] = []
    known = BlockedTenants(clock=clock, most=100, left=left.append)
    for tenant_id in ("listed", "not-listed", "unreadable", "listed-as-active", "changed"):
        known.learned(tenant_id, record())
    known.learned("changed", record("ACTIVE"))
    assert left == []
    await swept(known, [("listed", record()), ("unreadable", None), ("listed-as-active", record("ACTIVE"))])
    assert sorted(left) == ["listed-as-active", "not-listed"]
    assert sorted(tenant_id for tenant_id, _ in known.kept()) == ["listed", "unreadable"]


async def test_who_leaves_by_a_list_needs_nobody_to_hear_it(clock: FakeClock) -> None:
    known = BlockedTenants(clock=clock, most=100)
    known.learned("a", record())
    await swept(known, [])
    assert len(known) == 0
