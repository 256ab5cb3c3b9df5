"""The file of tenants that are not ACTIVE: over a restart, whatever happens to it; real files, time fed in."""

# ruff: noqa: ASYNC240 - small files of the test's own, looked at between the steps

import asyncio
import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from extauthz.changes.blocked import BlockedTenants
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.providers import whole_file
from extauthz.providers.blocked_snapshot import BlockedSnapshot
from extauthz.providers.file_lock import FileLock
from extauthz.testing import FakeClock, FakeWallClock

HOUR = 3600.0


def record(state: str = "TERMINATED", onboarding: str = "COMPLETE") -> LifecycleRecord:
    return LifecycleRecord(state=LifecycleState(state), onboarding=Onboarding(onboarding))


class Life:
    """One run of a service, from start to close; it begins at `wall`."""

    def __init__(self, path: Path, *, wall: float = 1_767_268_800.0, every: float = 0.001, again: float = 0.01) -> None:
        self.clock = FakeClock()
        self.wall = FakeWallClock(wall, clock=self.clock)
        self.known = BlockedTenants(clock=self.clock, most=100_000)
        self.snapshot = BlockedSnapshot(path, self.known, clock=self.clock, wall=self.wall, every=every, again=again)

    async def __aenter__(self) -> Self:
        await self.snapshot.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.snapshot.close()

    def states(self) -> dict[str, str]:
        return {tenant_id: blocked.record.state.value for tenant_id, blocked in self.known.kept()}

    def age(self, tenant_id: str) -> float:
        recalled = self.known.recall(tenant_id)
        assert recalled is not None
        return round(recalled.age, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "extauthz.blocked"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a file can't set an event
            await asyncio.sleep(0.002)


def has(path: Path, text: bytes) -> bool:
    return path.exists() and text in path.read_bytes()


async def test_who_is_not_active_is_known_after_a_restart_with_state_and_onboarding(path: Path) -> None:
    given = {"a": record("SUSPENDED"), "b": record("TERMINATED"), "c": record("ARCHIVED", "PENDING"), "ü ": record()}
    async with Life(path) as life:
        for tenant_id, each in given.items():
            life.known.learned(tenant_id, each)
        life.known.learned("active", record("ACTIVE"))
    async with Life(path) as life:
        assert {tenant_id: blocked.record for tenant_id, blocked in life.known.kept()} == given


async def test_a_change_is_written_at_once_and_not_only_at_the_end(path: Path) -> None:
    async with Life(path) as life:
        life.known.learned("a", record())
        await until(lambda: has(path, b'"a","TERMINATED"'))
        life.known.learned("a", record("ARCHIVED"))
        await until(lambda: has(path, b'"a","ARCHIVED"'))
        life.known.learned("a", record("ACTIVE"))
        await until(lambda: not has(path, b'"a"'))


async def test_many_changes_are_few_writings(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    replace = whole_file.replace

    def counted(file: Path, parts: list[bytes]) -> None:
        written.append(file)
        replace(file, parts)

    monkeypatch.setattr(whole_file, "replace", counted)
    async with Life(path, every=0.05) as life:
        for number in range(3_000):
            life.known.learned(f"t{number}", record())
            if number % 100 == 0:
                await asyncio.sleep(0)
        await until(lambda: has(path, b'"t2999"'))
    assert len(written) <= 5


async def test_while_the_disk_is_slow_nothing_else_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    replace = whole_file.replace
    monkeypatch.setattr(whole_file, "replace", lambda *given: (let_go.wait(20), replace(*given)))
    async with Life(path) as life:
        life.known.learned("a", record())
        await asyncio.sleep(0.02)
        life.known.learned("b", record())
        assert life.known.recall("b") is not None
        assert not path.exists()
        let_go.set()
        await until(lambda: has(path, b'"b"'))


async def test_the_file_is_of_nobody_else_and_leaves_no_draft(path: Path) -> None:
    async with Life(path) as life:
        life.known.learned("a", record())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in path.parent.iterdir()) == ["extauthz.blocked", "extauthz.blocked.lock"]


async def test_nothing_is_written_where_nobody_is_out(path: Path) -> None:
    async with Life(path) as life:
        life.known.learned("a", record("ACTIVE"))
    assert not list(path.parent.iterdir())


async def test_what_is_merely_heard_again_is_not_written(path: Path) -> None:
    async with Life(path) as life:
        life.known.learned("a", record())
        await until(path.exists)
        before = path.stat().st_ino
        life.known.learned("a", record())
        await asyncio.sleep(0.03)
    assert path.stat().st_ino == before


async def test_the_age_goes_on_over_a_restart(path: Path) -> None:
    async with Life(path, wall=1_000_000.0) as life:
        life.clock.advance(10)
        life.known.learned("a", record())
        life.clock.advance(5)
        life.known.learned("b", record())
    async with Life(path, wall=1_000_015.0 + HOUR) as life:
        assert (life.age("a"), life.age("b")) == (HOUR + 5, HOUR)
        life.clock.advance(60)
        assert life.age("b") == HOUR + 60


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_the_wall_clock_jumps_an_hour_either_way_nobody_comes_in_and_ages_do_not_notice(
    path: Path, jump: float
) -> None:
    async with Life(path) as life:
        life.known.learned("a", record())
        life.wall.advance(jump)
        life.clock.advance(30)
        assert life.age("a") == 30
        life.known.learned("b", record())
        end = life.wall()
    async with Life(path, wall=end) as life:
        assert (life.age("a"), life.age("b")) == (30, 0)
    async with Life(path, wall=end + jump) as life:  # between two runs nothing can tell a jump from time that passed
        assert sorted(life.states()) == ["a", "b"]
        assert life.age("b") == max(0.0, jump)


async def test_a_second_process_reads_and_does_not_write_until_the_first_has_ended(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Life(path) as first:
        first.known.learned("a", record())
        await until(lambda: has(path, b'"a"'))
        async with Life(path) as second:
            assert second.states() == {"a": "TERMINATED"}
            second.known.learned("b", record())
            await until(lambda: "another process" in caplog.text)
            await asyncio.sleep(0.05)
            assert not has(path, b'"b"')
            await first.snapshot.close()
            await until(lambda: has(path, b'"b"'))
            assert has(path, b'"a"')
    assert caplog.text.count("another process") == 1


def damaged_ways() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "empty": lambda _: b"",
        "half": lambda data: data[: len(data) // 2],
        "a bit flipped": lambda data: data.replace(b"TERMINATED", b"TERMINATEE", 1),
        "another program's": lambda _: b"\x7fELF" + bytes(range(256)) * 50,
        "a file of day counts": lambda data: data.replace(b"extauthz-blocked-1", b"extauthz-protection-1"),
        "of a later version": lambda data: data.replace(b"extauthz-blocked-1", b"extauthz-blocked-2"),
        "JSON of another shape": lambda _: b'{"a": 1}\n{"b": 2}\n3\n',
        "too large": lambda data: data + b" " * (whole_file._LARGEST + 1),
    }


@pytest.mark.parametrize("way", damaged_ways())
async def test_a_file_that_cannot_be_used_is_moved_aside_with_a_warning_and_the_service_runs(
    path: Path, caplog: pytest.LogCaptureFixture, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_file, "_LARGEST", 100_000)
    async with Life(path) as life:
        life.known.learned("a", record())
    spoilt = damaged_ways()[way](path.read_bytes())
    path.write_bytes(spoilt)
    async with Life(path) as life:
        assert not life.states()
        assert "cannot be used" in caplog.text
        assert path.with_name("extauthz.blocked.damaged").read_bytes() == spoilt
        life.known.learned("b", record())
        await until(lambda: has(path, b'"b"'))


@pytest.mark.parametrize(
    "row",
    [
        b'["a","BANANA","COMPLETE",1.0]',
        b'["a","SUSPENDED","SOMEHOW",1.0]',
        b'["a","SUSPENDED","COMPLETE","yesterday"]',
        b'[7,"SUSPENDED","COMPLETE",1.0]',
        b'["a","SUSPENDED"]',
        b"7",
    ],
)
async def test_a_row_that_cannot_be_read_is_a_damaged_file(
    path: Path, caplog: pytest.LogCaptureFixture, row: bytes
) -> None:
    whole_file.replace(path, [b'["extauthz-blocked-1"]\n', row + b"\n"])
    async with Life(path) as life:
        assert not life.states()
        assert "a row of it cannot be read" in caplog.text


async def test_a_path_that_cannot_be_read_is_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir()
    async with Life(path) as life:
        life.known.learned("a", record())
        await until(lambda: "cannot be written" in caplog.text)
    assert "cannot be read" in caplog.text


async def test_a_file_that_cannot_be_written_is_one_warning_and_is_tried_again(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    replace = whole_file.replace

    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_file, "replace", full)
    async with Life(path) as life:
        life.known.learned("a", record())
        await until(lambda: "No space left" in caplog.text)
        life.known.learned("b", record())
        await asyncio.sleep(0.05)
        assert caplog.text.count("cannot be written") == 1
        monkeypatch.setattr(whole_file, "replace", replace)
        await until(lambda: has(path, b'"b"'))
        await until(lambda: "again" in caplog.records[-1].getMessage())


async def test_a_folder_that_is_not_there_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Life(tmp_path / "missing" / "extauthz.blocked") as life:
        life.known.learned("a", record())
        await until(lambda: "cannot be written" in caplog.text)


async def test_a_disk_that_hangs_keeps_neither_the_start_nor_the_end(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr("extauthz.providers.blocked_snapshot.PATIENCE", 0.05)
    monkeypatch.setattr(whole_file, "read", lambda _path: (let_go.wait(20), b"")[1])
    monkeypatch.setattr(whole_file, "replace", lambda *_given: let_go.wait(20))
    async with Life(path) as life:
        assert "cannot be read" in caplog.text
        life.known.learned("a", record())
        await asyncio.sleep(0.02)
    let_go.set()


async def test_drafts_of_processes_that_crashed_are_dropped(path: Path) -> None:
    draft = path.with_name("extauthz.blocked.123.new")
    draft.write_bytes(b"half")
    async with Life(path) as life:
        life.known.learned("a", record())
    assert not draft.exists()


async def test_a_file_system_without_locks_is_written_all_the_same(path: Path) -> None:
    def no_locks(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    life = Life(path)
    life.snapshot._lock = FileLock(path, no_locks)
    async with life:
        life.known.learned("a", record())
    assert has(path, b'"a"')


async def test_a_snapshot_that_never_began_can_be_closed(path: Path) -> None:
    await Life(path).snapshot.close()


async def test_many_are_read_and_written_whole(path: Path) -> None:
    async with Life(path) as life:
        life.known.restore((f"t{number}", record(), 1.0) for number in range(20_000))
    async with Life(path) as life:
        assert len(life.known) == 20_000
