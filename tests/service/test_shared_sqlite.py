"""Two real processes on one SQLite file: what one changes, the other's caches have within a second (OFFBOARD-006)."""

import asyncio
import os
import signal
import sqlite3
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import orjson
import pytest

from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_ACTOR, SYSTEM_TENANT, KeyUse
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers.sqlite_events import SqliteEvents
from tests.replica import Replica

ACME = "acme"
ROOT = Path(__file__).parents[2]
WITHIN = 1.0
"""Seconds in which a change is seen by every process."""
PATIENCE = 20.0


class Other:
    """A replica in another process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def read(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().strip()

    async def does(self, command: str, argument: str = ACME) -> object:
        """What it answers to one of `tests.replica.COMMANDS`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command} {argument}\n".encode())
        answer: object = orjson.loads(await self.read())
        return answer


@asynccontextmanager
async def another(path: Path) -> AsyncIterator[Other]:
    command = (sys.executable, "-m", "tests.replica", str(path), "other")
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    other = Other(process)
    try:
        assert await other.read() == "ready"
        yield other
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            await process.wait()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Replica]:
    """One replica in this process, and a tenant that both know."""
    async with Replica(tmp_path / "state.db", "here").running() as replica:
        await replica.create(ACME)
        yield replica


@pytest.fixture
async def other(here: Replica) -> AsyncIterator[Other]:
    async with another(here.store.path) as process:
        yield process


async def until(ask: Callable[[], Awaitable[object]], wanted: object) -> float:
    """Ask until the answer is `wanted`; how many seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        while await ask() != wanted:  # noqa: ASYNC110 - what is asked is in other processes
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def test_a_change_of_another_process_is_seen_within_a_second(here: Replica, other: Other) -> None:
    took: list[float] = []
    for command, state in [("suspend", "SUSPENDED"), ("activate", "ACTIVE")] * 3:
        await other.does(command)
        took.append(await until(lambda: here.state(ACME), state))
    assert statistics.median(took) < WITHIN


async def test_every_kind_of_change_is_seen(here: Replica, other: Other) -> None:
    assert await here.state("umbrella") is None
    assert await here.standing(ACME) == "ACTIVE"
    key_id = await here.issue(ACME)
    assert await here.live(key_id)
    await other.does("create", "umbrella")
    await other.does("suspend_billing")
    await other.does("revoke_all")
    await until(lambda: here.state("umbrella"), "ACTIVE")
    await until(lambda: here.standing(ACME), "SUSPENDED")
    await until(lambda: here.live(key_id), wanted=False)
    late = await other.does("issue")
    assert await here.live(str(late))


async def test_offboard_006_a_termination_is_reported_once_the_other_process_blocks_the_tenant(
    here: Replica, other: Other
) -> None:
    for number in range(5):
        tenant_id = f"t{number}"
        await here.create(tenant_id)
        assert await other.does("state", tenant_id) == "ACTIVE"  # fresh there for an hour
        assert await here.move(tenant_id, LifecycleState.TERMINATED) == ()
        assert await other.does("state", tenant_id) == "TERMINATED"


async def test_offboard_006_it_holds_the_other_way_round_and_for_both_at_once(here: Replica, other: Other) -> None:
    await here.create("umbrella")
    assert [await here.state(tenant_id) for tenant_id in (ACME, "umbrella")] == ["ACTIVE", "ACTIVE"]
    assert await other.does("state") == "ACTIVE"
    both = await asyncio.gather(here.move(ACME, LifecycleState.TERMINATED), other.does("terminate", "umbrella"))
    assert [list(pending) for pending in both if isinstance(pending, tuple | list)] == [[], []]
    assert await here.state("umbrella") == await other.does("state") == "TERMINATED"


async def test_offboard_006_a_process_that_does_not_answer_is_waited_for_as_long_as_its_lease_lives(
    here: Replica, other: Other
) -> None:
    await other.does("state")
    other.process.send_signal(signal.SIGSTOP)
    try:
        seen = await here.store.last_change()
        began = time.monotonic()
        assert await here.move(ACME, LifecycleState.TERMINATED) == ()
        assert time.monotonic() - began > WITHIN
        assert await here.store.replicas_behind(seen + 1) == ()
    finally:
        other.process.send_signal(signal.SIGCONT)
    await until(lambda: other.does("state"), "TERMINATED")


async def test_offboard_006_a_termination_is_blocked_everywhere_after_an_older_file_was_put_back(
    here: Replica, other: Other, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(here.store.path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    then = await here.store.last_change()
    for number in range(10):
        await here.create(f"t{number}")
    last = await here.store.last_change()
    await until(lambda: here.store.replicas_behind(last), ())
    assert await other.does("state") == "ACTIVE"
    for side in ("-wal", "-shm"):
        here.store.path.with_name(here.store.path.name + side).unlink(missing_ok=True)
    os.replace(copy, here.store.path)  # noqa: PTH105 - as `mv` does it
    await until(lambda: here.store.replicas_behind(then + 1), ("here", "other"))  # both count on from there
    assert await other.does("state") == "ACTIVE"
    assert await here.move(ACME, LifecycleState.TERMINATED) == ()
    assert await other.does("state") == "TERMINATED"


async def test_a_process_that_ends_is_not_waited_for(here: Replica) -> None:
    async with another(here.store.path) as gone:
        assert await gone.does("state") == "ACTIVE"
    assert await here.store.replicas_behind(1 << 40) == ("here",)


async def test_both_agree_after_both_have_changed_the_same_tenants(here: Replica, other: Other) -> None:
    ids = [f"t{number}" for number in range(10)]
    for tenant_id in ids:
        await here.create(tenant_id)

    async def theirs() -> None:
        for number, tenant_id in enumerate(ids * 3):
            await other.does("suspend" if number % 2 else "activate", tenant_id)

    async def ours() -> None:
        for number, tenant_id in enumerate(reversed(ids * 3)):
            await here.move(tenant_id, LifecycleState.ACTIVE if number % 3 else LifecycleState.SUSPENDED)
            await here.state(tenant_id)

    await asyncio.gather(theirs(), ours())
    for tenant_id in ids:
        record = await here.store.find_lifecycle(tenant_id)
        assert record is not None
        await until(partial(here.state, tenant_id), record.state.value)
        await until(partial(other.does, "state", tenant_id), record.state.value)


async def test_events_and_uses_of_keys_flush_no_cache(here: Replica, other: Other, tmp_path: Path) -> None:
    key_id = await here.issue(ACME)
    issued = await here.store.last_change()
    await until(lambda: here.store.replicas_behind(issued), ())
    assert (await here.state(ACME), await here.standing(ACME), await here.live(key_id)) == ("ACTIVE", "ACTIVE", True)
    asked = [each.stats().misses for each in (here.lifecycle, here.billing, here.credentials)]
    events = SqliteEvents(tmp_path / "events.db", max_size=1 << 30)
    await events.start()
    await events.append([an_event(number) for number in range(100)])
    await events.close()
    await here.store.record_uses([KeyUse(key_id=key_id, used_at=time.time())])
    await other.does("create", "later")  # once this is seen, whatever came before it was seen too
    before = await here.store.last_change()
    await until(lambda: here.store.replicas_behind(before), ())
    assert (await here.state(ACME), await here.standing(ACME), await here.live(key_id)) == ("ACTIVE", "ACTIVE", True)
    assert [each.stats().misses for each in (here.lifecycle, here.billing, here.credentials)] == asked


def an_event(number: int) -> Event:
    return Event(
        event_id=f"event-{number:03}",
        type=EventType.CONFIG_RELOADED,
        source=EventSource.SYSTEM,
        tenant_id=SYSTEM_TENANT,
        timestamp=time.time(),
        severity=Severity.INFO,
        actor=SYSTEM_ACTOR,
        request_id="",
        payload={},
    )
