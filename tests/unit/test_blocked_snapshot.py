"""The file of tenants that are not ACTIVE: over a restart, written soon, by one process; real files, time fed in."""

# ruff: noqa: ASYNC240 - small files of the test's own, looked at between the steps

import asyncio
import stat
import threading
from pathlib import Path

import pytest

from extauthz.providers import whole_file
from tests.blocked_life import Life, has, record, until

HOUR = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "extauthz.blocked"


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


async def test_a_snapshot_that_never_began_can_be_closed(path: Path) -> None:
    await Life(path).snapshot.close()


async def test_many_are_read_and_written_whole(path: Path) -> None:
    async with Life(path) as life:
        life.known.restore((f"t{number}", record(), 1.0) for number in range(20_000))
    async with Life(path) as life:
        assert len(life.known) == 20_000
