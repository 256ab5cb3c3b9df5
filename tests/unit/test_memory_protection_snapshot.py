"""Day counts of `memory:` and the file that brings them over a restart; real files, the provider's time fed in."""

# ruff: noqa: ASYNC240 - small files of the test's own, looked at between the steps

import asyncio
import errno
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from extauthz.errors import IdempotencyConflict
from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, Usage
from extauthz.providers.file_lock import FileLock
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.providers.memory_protection_snapshot import ProtectionSnapshot
from extauthz.testing.contracts_protection import MicroTime

SECOND = 1_000_000
DAY = 86_400 * SECOND
NOON = 1_767_268_800 * SECOND
SOON = 0.005
NEVER = 3_600.0


class Life:
    """One run of the service: a provider and its snapshot, from start to close."""

    def __init__(self, path: Path, *, wall: int = NOON, every: float = NEVER) -> None:
        self.time = MicroTime(mono=10**9, wall=wall)
        self.provider = MemoryProtection(clock=self.time.clock, wall=self.time.wall_clock)
        self.snapshot = ProtectionSnapshot(path, self.provider, every=every)

    async def __aenter__(self) -> Self:
        await self.snapshot.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.snapshot.close()

    async def charge(self, tenant: str = "acme", cost: int = 5, limits: Limits | None = None) -> bool:
        asked = Charge(tenant_id=tenant, limits=limits or Limits(), blocking=frozenset(CHARGED), cost=cost)
        return (await self.provider.charge(asked)).charged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "protection.counts"


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a writing."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a file can't set an event
            await asyncio.sleep(0.002)


def has(path: Path, text: bytes) -> bool:
    return path.exists() and text in path.read_bytes()


async def test_requests_cost_and_keys_of_today_survive_a_restart(path: Path) -> None:
    async with Life(path) as life:
        for _ in range(3):
            await life.charge()
        await life.charge("globex", 7)
        await life.provider.record_usage("acme", 100, "run-1")
    async with Life(path, wall=NOON + 3_600 * SECOND) as life:
        assert await life.provider.usage("acme") == Usage(requests_today=3, cost_today=115)
        assert await life.provider.usage("globex") == Usage(requests_today=1, cost_today=7)
        assert await life.provider.record_usage("acme", 100, "run-1") == Usage(requests_today=3, cost_today=115)
        with pytest.raises(IdempotencyConflict):
            await life.provider.record_usage("acme", 101, "run-1")
        assert not await life.charge(limits=Limits(max_requests_per_day=3))
        assert await life.charge(limits=Limits(max_requests_per_day=4))


async def test_rate_and_burst_are_not_in_it(path: Path) -> None:
    limits = Limits(rate=1, burst=1)
    async with Life(path) as life:
        assert await life.charge(limits=limits)
        assert not await life.charge(limits=limits)
    async with Life(path) as life:
        assert await life.charge(limits=limits)


@pytest.mark.parametrize("days", [1, 2, -1])
async def test_counts_of_another_day_are_dropped(path: Path, days: int) -> None:
    async with Life(path) as life:
        await life.charge()
    async with Life(path, wall=NOON + days * DAY) as life:
        assert await life.provider.usage("acme") == Usage(requests_today=0, cost_today=0)


async def test_keys_hold_to_the_end_of_the_next_day(path: Path) -> None:
    async with Life(path) as life:
        await life.provider.record_usage("acme", 100, "run-1")
    async with Life(path, wall=NOON + DAY) as life:
        assert await life.provider.record_usage("acme", 100, "run-1") == Usage(requests_today=0, cost_today=0)
        await life.charge()
    async with Life(path, wall=NOON + 2 * DAY) as life:
        assert await life.provider.record_usage("acme", 100, "run-1") == Usage(requests_today=0, cost_today=100)


async def test_it_is_written_while_the_service_runs(path: Path) -> None:
    async with Life(path, every=SOON) as life:
        await life.charge()
        await until(lambda: has(path, b'["acme",1,5]'))
        await life.charge()
        await until(lambda: has(path, b'["acme",2,10]'))
        await life.provider.clear("acme")
        await until(lambda: not has(path, b"acme"))


async def test_nothing_is_written_while_nothing_changes(path: Path) -> None:
    async with Life(path, every=SOON) as life:
        await life.charge()
        await until(lambda: has(path, b"acme"))
        before = path.stat().st_ino
        for _ in range(10):
            await life.provider.usage("acme")
            await asyncio.sleep(SOON)
        assert path.stat().st_ino == before  # a writing is another file in the same place
    assert path.stat().st_ino == before


async def test_only_the_owner_can_read_it_and_no_draft_is_left(path: Path) -> None:
    for name in (f"{path.name}.{os.getpid()}.new", f"{path.name}.7.new"):
        draft = path.with_name(name)
        draft.write_text("left by a crash, for everybody to read")
        draft.chmod(0o666)
    others = path.with_name(path.name + ".2.8.new")
    others.write_text("the draft of protection.counts.2")
    async with Life(path) as life:
        await life.charge()
    lock = path.with_name(path.name + ".lock")
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, lock)] == [0o600, 0o600]
    assert set(path.parent.iterdir()) == {path, lock, others}


async def whole_file(path: Path) -> bytes:
    async with Life(path) as life:
        for number in range(20):
            await life.charge(f"t{number}")
        await life.provider.record_usage("acme", 100, "run-1")
    return path.read_bytes()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "without its last line": lambda whole: whole[: whole.rstrip().rfind(b"\n") + 1],
    "a bit turned": lambda whole: whole.replace(b'"t7",1', b'"t7",3'),
    "zeros": lambda whole: bytes(len(whole)),
    "another program's": lambda _whole: b"SQLite format 3\x00" + bytes(100),
    "another JSON": lambda _whole: b"[1]\n2\n",
    "an object": lambda _whole: b"{}\n2\n",
    "a later format": lambda whole: whole.replace(b"protection-1", b"protection-2"),
    "not UTF-8": lambda _whole: b"\xff\xfe\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_or_foreign_file_is_moved_aside_and_told_and_never_fatal(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = DAMAGES[damage](await whole_file(path))
    path.write_bytes(damaged)
    async with Life(path) as life:
        assert await life.provider.usage("t1") == Usage(requests_today=0, cost_today=0)
        await life.charge()
    assert path.with_name(path.name + ".damaged").read_bytes() == damaged
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "damaged" in caplog.text
    async with Life(path) as life:
        assert await life.provider.usage("acme") == Usage(requests_today=1, cost_today=5)


async def test_a_place_that_cannot_be_written_is_told_once_and_tried_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = path.parent / "later"
    async with Life(folder / "counts", every=SOON) as life:
        await life.charge()
        for _ in range(10):
            await asyncio.sleep(SOON)
        folder.mkdir()
        await until(lambda: has(folder / "counts", b"acme"))
        await until(lambda: "again" in caplog.messages[-1])
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


async def test_a_folder_in_its_place_does_not_keep_the_service_from_running(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    async with Life(path) as life:
        assert await life.charge()
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.ERROR]


async def test_many_tenants_come_back_and_others_run_in_between(path: Path) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Life(path) as life:
        for number in range(5_000):
            await life.charge(f"t{number}")
        for number in range(2_500):
            await life.provider.record_usage("acme", 1, f"run-{number}")
        running = asyncio.ensure_future(others())
        await life.snapshot.close()
    assert turns >= 5 + 3  # a turn for each thousand rows at least
    running.cancel()
    async with Life(path) as life:
        assert life.provider.tenants == 5_001
        assert await life.provider.usage("t4999") == Usage(requests_today=1, cost_today=5)
        assert await life.provider.record_usage("acme", 1, "run-2499") == Usage(requests_today=0, cost_today=2_500)


async def test_what_comes_while_it_is_written_for_the_last_time_is_written_too(path: Path) -> None:
    async with Life(path) as life:
        for number in range(5_000):
            await life.charge(f"t{number}")
        closing = asyncio.ensure_future(life.snapshot.close())
        for _ in range(6):  # the first slice is made by now
            await asyncio.sleep(0)
        await life.charge("t0")
        await closing
    async with Life(path) as life:
        assert await life.provider.usage("t0") == Usage(requests_today=2, cost_today=10)


async def test_counts_that_came_before_the_file_was_read_add_up(path: Path) -> None:
    async with Life(path) as life:
        await life.charge()
    again = Life(path)
    await again.charge()
    async with again:
        assert await again.provider.usage("acme") == Usage(requests_today=2, cost_today=10)


async def test_closing_one_that_was_never_started_writes_nothing(path: Path) -> None:
    life = Life(path)
    await life.charge()
    await life.snapshot.close()
    assert not path.exists()


# Two processes on one file


async def test_two_on_one_file_do_not_overwrite_each_others_counts_and_the_second_is_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Life(path, every=SOON) as first:
        await first.charge(cost=1)
        await until(lambda: has(path, b'["acme",1,1]'))
        async with Life(path, every=SOON) as second:
            assert await second.provider.usage("acme") == Usage(requests_today=0, cost_today=0)
            await second.charge(cost=100)
            for _ in range(10):
                await asyncio.sleep(SOON)
            await first.charge(cost=1)
            await until(lambda: has(path, b'["acme",2,2]'))
        assert has(path, b'["acme",2,2]')  # nor when it ends
    assert [record.levelno for record in caplog.records] == [logging.WARNING]  # once
    assert "another process" in caplog.text
    async with Life(path) as life:
        assert await life.provider.usage("acme") == Usage(requests_today=2, cost_today=2)


async def test_the_second_takes_over_when_the_first_ends_and_adds_its_counts(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Life(path) as first:
        await first.charge(cost=1)
        await first.provider.record_usage("acme", 10, "run-1")
        second = Life(path, every=SOON)
        await second.snapshot.start()
        await second.charge(cost=100)
    await until(lambda: has(path, b'["acme",2,111]'))
    assert "taken over" in caplog.text
    assert await second.provider.record_usage("acme", 10, "run-1") == Usage(requests_today=2, cost_today=111)
    await second.snapshot.close()


async def test_the_second_takes_over_although_it_has_counted_nothing(path: Path) -> None:
    async with Life(path) as first:
        await first.charge()
        second = Life(path, every=SOON)
        await second.snapshot.start()
    await until(lambda: second.provider.tenants == 1)
    assert await second.provider.usage("acme") == Usage(requests_today=1, cost_today=5)
    await second.snapshot.close()


KEEPS_THE_LOCK = """
import sys, time
from pathlib import Path
from extauthz.providers.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
time.sleep(60)
"""


async def test_a_process_that_is_killed_leaves_a_lock_file_and_no_lock(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KEEPS_THE_LOCK, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"True\n"
    lock = FileLock(path)
    assert not lock.take()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert path.with_name(path.name + ".lock").exists()
    assert lock.take()
    assert lock.take()
    lock.give_back()


async def test_counts_are_kept_on_a_file_system_that_has_no_locks(path: Path) -> None:
    def no_locks(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    lock = FileLock(path, no_locks)
    assert lock.take()
    lock.give_back()


async def test_where_no_lock_can_be_made_counts_are_read_and_not_written(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Life(path) as life:
        await life.charge()
    lock, before = path.with_name(path.name + ".lock"), path.read_bytes()
    lock.unlink()
    lock.mkdir()
    async with Life(path) as life:
        assert await life.provider.usage("acme") == Usage(requests_today=1, cost_today=5)
        await life.charge()
    assert path.read_bytes() == before
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    lock.rmdir()
    async with Life(path) as life:
        assert await life.provider.usage("acme") == Usage(requests_today=1, cost_today=5)
