"""The file of tenants that are not ACTIVE, damaged, or where it can't be read or written: the service runs and tries again."""

# ruff: noqa: ASYNC240 - small files of the test's own, looked at between the steps

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from extauthz.providers import whole_file
from extauthz.providers.file_lock import FileLock
from tests.blocked_life import Life, has, record, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "extauthz.blocked"


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
        b'["a","SUSPENDED","COMPLETE",-1.7e308]',
        b'["a","SUSPENDED","COMPLETE",1e12]',
        b'["a","SUSPENDED","COMPLETE",-100000000000000000000000]',
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


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
async def test_whatever_keeps_it_from_being_written_does_not_end_the_writing(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    start = threading.Thread.start

    def none_left(_thread: threading.Thread) -> None:
        raise error

    async with Life(path) as life:
        monkeypatch.setattr(threading.Thread, "start", none_left)
        life.known.learned("a", record())
        await until(lambda: "cannot be written" in caplog.text)
        monkeypatch.setattr(threading.Thread, "start", start)
        await until(lambda: has(path, b'"a"'))


@pytest.mark.parametrize("left", [0, 1])  # the one that is left finds the file damaged
async def test_where_no_thread_is_to_be_had_the_service_starts_all_the_same(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    start, threads = threading.Thread.start, iter(range(left))
    path.write_bytes(b"not ours")

    def one_left(thread: threading.Thread) -> None:
        if next(threads, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one_left)
    async with Life(path) as life:
        assert "cannot be read from" in caplog.text
        monkeypatch.setattr(threading.Thread, "start", start)
        life.known.learned("a", record())
        await until(lambda: has(path, b'"a"'))


async def test_a_moment_long_before_the_calendar_began_is_taken_for_one(path: Path) -> None:
    async with Life(path, wall=100.0) as life:
        life.known.restore([("a", record(), 3600.0)])
    async with Life(path, wall=150.0) as life:
        assert life.age("a") == 3650
