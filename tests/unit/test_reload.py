"""Reading the configuration again: what is taken over, what is not, and what is told of it."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from extauthz.config import (
    Config,
    Content,
    InvalidConfig,
    Loaded,
    Origin,
    Problem,
    WatchedFile,
    differences,
    is_reloaded,
    load,
    read_content,
    taken_over,
)
from extauthz.errors import ConfigError
from extauthz.model.event import EventType, Severity
from extauthz.server.check import Checker
from extauthz.telemetry.metrics import Metrics
from extauthz.testing.clock import WALL_START, FakeClock, FakeWallClock, in_virtual_time
from extauthz.testing.fakes import RecordingSink
from extauthz.testing.stage import Stage
from extauthz.wiring.aside import aside
from extauthz.wiring.live import NAMED, Live, Prepared, prepared
from extauthz.wiring.reload import PATIENCE, ConfigSource, Reloader
from extauthz.wiring.watching import watching

PLANS = "plans: {free: {name: Free, tier: FREE, limits: {rate: 60}}, pro: {name: Pro, tier: PRO}}\n"


def configured(text: str, folder: Path) -> Config:
    file = folder / "one.yaml"
    file.write_text(text)
    return load(file).config


# What is different


def test_differences_are_named_by_their_paths(tmp_path: Path) -> None:
    before = configured(PLANS, tmp_path)
    text = PLANS.replace("rate: 60", "rate: 61, burst: 5").replace(", pro: {name: Pro, tier: PRO}", "")
    after = configured(
        text + "routes: [{exact: /x, class: public}]\n"
        "gates: {billing: {mode: shadow}, auth: {strip_authorization: true}}\n"
        "server: {budget: 2s}\nproviders: {lifecycle: {url: 'memory:', breaker: {reset: 1s}}}\n",
        tmp_path,
    )
    assert set(differences(before, after)) == {
        "server.budget",
        "providers.lifecycle.url",
        "providers.lifecycle.breaker.reset",
        "gates.billing.mode",
        "gates.auth.strip_authorization",
        "routes",
        "plans.free.limits.rate",
        "plans.free.limits.burst",
        "plans.pro",
    }
    assert differences(before, before) == ()


def test_gates_routes_plans_and_limits_are_taken_over_and_nothing_else(tmp_path: Path) -> None:
    before = configured(PLANS, tmp_path)
    after = configured(
        PLANS.replace("60", "7") + "gates: {lifecycle: {mode: off}, protection: {draft_headers: true}}\n"
        "server: {budget: 2s}\nadmin: {hosts: [a.example]}\ndefault_plan: pro\n",
        tmp_path,
    )
    both = taken_over(before, after)
    assert (both.server, both.admin, both.providers) == (before.server, before.admin, before.providers)
    assert (both.gates, both.routes, both.plans, both.default_plan) == (after.gates, after.routes, after.plans, "pro")
    assert [path for path in differences(both, after) if is_reloaded(path)] == []


@pytest.mark.parametrize(
    ("path", "reloaded"),
    [
        ("gates.billing.mode", True),
        ("gates.auth.strip_authorization", True),
        ("gates.auth.methods", False),
        ("plans.free", True),
        ("default_plan", True),
        ("default_planet", False),
        ("routes", True),
        ("server.listen", False),
        ("providers.billing.cache.ttl", False),
    ],
)
def test_which_paths_a_reload_takes_over(path: str, *, reloaded: bool) -> None:
    assert is_reloaded(path) is reloaded


def test_a_file_that_became_empty_is_no_configuration(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    for text in ("", "# nothing\n", "{}"):
        file.write_text(text)
        assert load(file).config == Config()
        with pytest.raises(InvalidConfig, match=r"c\.yaml: is empty"):
            load(file, may_be_empty=False)
    assert load(None, may_be_empty=False).config == Config()


# Taking over


def wrong_mode(line: int) -> Problem:
    path, origin = ("gates", "billing", "mode"), Origin(name="c.yaml", line=line)
    return Problem(text="must be one of enforce, shadow, off", path=path, origin=origin)


@dataclass
class Bench:
    """A live configuration, and what it told."""

    live: Live
    stage: Stage
    metrics: Metrics
    sink: RecordingSink
    forgotten: list[str] = field(default_factory=list)

    def counted(self, result: str) -> float:
        found = self.metrics.registry.get_sample_value("config_reloads_total", {"result": result})
        assert found is not None
        return found

    def plan(self, rate: int) -> Config:
        """The defaults, with another rate."""
        return load(None, {"EXTAUTHZ_PLANS__FREE__LIMITS__RATE": str(rate)}).config


@pytest.fixture(name="bench")
def a_bench() -> Bench:
    stage, metrics, sink = Stage(FakeClock()), Metrics(), RecordingSink()
    forgotten: list[str] = []
    checker = Checker(decider=stage.pipeline, observer=metrics, clock=stage.clock)
    live = Live(
        Config(),
        stage.pipeline,
        checker,
        forget_refused=lambda: forgotten.append("all"),
        metrics=metrics,
        events=sink,
        wall=FakeWallClock(),
    )
    return Bench(live=live, stage=stage, metrics=metrics, sink=sink, forgotten=forgotten)


def test_what_was_taken_over_is_in_force_and_told(bench: Bench) -> None:
    bench.live.take(prepared(bench.live.config, bench.plan(7)))
    assert bench.live.config.plans["free"].limits.rate == bench.live.plans.default.limits.rate == 7
    assert bench.forgotten == ["all"]
    last = bench.live.last
    assert last is not None
    assert (last.at, last.result, last.error, last.needs_restart) == (WALL_START, "success", None, ())
    (event,) = bench.sink.events
    assert (event.type, event.tenant_id, event.severity) == (EventType.CONFIG_RELOADED, "_system", Severity.INFO)
    assert event.payload["changed"] == ["plans.free.limits.rate"]
    assert (bench.counted("success"), bench.counted("failure")) == (1, 0)


def test_what_needs_a_restart_is_named_once_per_reload_and_not_in_force(bench: Bench) -> None:
    env = {"EXTAUTHZ_PROVIDERS__LIFECYCLE__URL": "memory:", "EXTAUTHZ_SERVER__BUDGET": "2s"}
    with capture_logs() as log:
        bench.live.take(prepared(bench.live.config, load(None, env).config))
    assert bench.live.config == Config()
    assert bench.live.last is not None
    assert bench.live.last.needs_restart == ("server.budget", "providers.lifecycle.url")
    assert bench.sink.events == []
    told = [line["detail"] for line in log if line["log_level"] == "warning"]
    assert told == ["needs a restart: server.budget, providers.lifecycle.url"]


def test_plans_that_are_gone_are_named(bench: Bench, tmp_path: Path) -> None:
    bench.live.take(prepared(bench.live.config, configured(PLANS, tmp_path)))
    only_pro = configured("plans: {pro: {name: Pro, tier: PRO}}\ndefault_plan: pro\n", tmp_path)
    with capture_logs() as log:
        bench.live.take(prepared(bench.live.config, only_pro))
    assert bench.sink.events[-1].payload["plans_gone"] == ["free"]
    assert log[-1]["detail"].startswith("plans that are gone: free; ")


def test_an_unchanged_configuration_is_a_success_that_changes_nothing(bench: Bench) -> None:
    before = bench.live.config
    bench.live.take(prepared(before, Config()))
    assert bench.live.config is before
    assert bench.sink.events == []
    assert bench.forgotten == []
    assert bench.counted("success") == 1


def test_broken_configuration_on_reload_the_old_one_stays_the_error_is_counted_and_named(
    bench: Bench,
) -> None:
    before = bench.live.config
    with capture_logs() as log:
        bench.live.refuse(InvalidConfig(wrong_mode(line) for line in (3, 7)))
    assert bench.live.config is before
    last = bench.live.last
    assert last is not None
    assert last.result == "failure"
    assert last.error == "2 faults: c.yaml:3, c.yaml:7; see the log"  # anybody may ask /health
    (event,) = bench.sink.events
    told = (
        "the configuration has 2 errors:\n"
        "  c.yaml:3: gates.billing.mode: must be one of enforce, shadow, off\n"
        "  c.yaml:7: gates.billing.mode: must be one of enforce, shadow, off"
    )
    assert (event.severity, event.payload["error"]) == (Severity.ERROR, told)
    assert (bench.counted("success"), bench.counted("failure")) == (0, 1)
    assert [(line["event"], line["detail"]) for line in log] == [("config_not_reloaded", told)]


def test_what_is_told_of_a_failure_masks_what_has_the_form_of_a_secret(bench: Bench) -> None:
    with capture_logs() as log:
        bench.live.refuse(ConfigError("postgresql://u:hunter2@h/db: no"))
    assert bench.live.last is not None
    assert bench.live.last.error == "the configuration could not be read; see the log"
    assert "hunter2" not in repr((bench.live.last, bench.sink.events, log))


def test_a_long_list_of_changes_is_cut(bench: Bench, tmp_path: Path) -> None:
    many = "".join(f"  p{number}: {{name: P, tier: PRO}}\n" for number in range(NAMED + 5))
    bench.live.take(prepared(bench.live.config, configured(f"plans:\n{many}default_plan: p0\n", tmp_path)))
    changed = bench.sink.events[0].payload["changed"]
    assert isinstance(changed, list)
    assert (len(changed), changed[-1]) == (NAMED + 1, "and 7 more")


# When


Outcome = Config | Exception


@dataclass
class Readings:
    """What reading the configuration gives, one after the other, and when it was read (seconds on the loop)."""

    outcomes: list[Outcome]
    seconds: float = 0.0
    began: list[float] = field(default_factory=list)
    under_way: int = 0

    def load(self, _content: Content | None) -> Loaded:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return Loaded(config=outcome, sources={})

    async def aside(self, work: Callable[[], Prepared]) -> Prepared:
        self.began.append(asyncio.get_running_loop().time())
        self.under_way += 1
        assert self.under_way == 1
        try:
            await asyncio.sleep(self.seconds)
            return work()
        finally:
            self.under_way -= 1


@asynccontextmanager
async def reloading(bench: Bench, readings: Readings) -> AsyncIterator[asyncio.Event]:
    wanted = asyncio.Event()
    reloader = Reloader(ConfigSource(load=readings.load), bench.live, wanted, do_aside=readings.aside)
    task = asyncio.create_task(reloader.run())
    yield wanted
    task.cancel()


@in_virtual_time
async def test_reloads_come_one_after_the_other_and_a_flood_of_requests_is_one_more(bench: Bench) -> None:
    readings = Readings([bench.plan(1), bench.plan(2)], seconds=1.0)
    async with reloading(bench, readings) as wanted:
        for _ in range(100):
            wanted.set()
            await asyncio.sleep(0.005)
        await asyncio.sleep(10)
    assert len(readings.began) == 2
    assert bench.live.plans.default.limits.rate == 2
    assert bench.counted("success") == 2


@in_virtual_time
async def test_after_a_failure_the_next_one_is_taken(bench: Bench) -> None:
    readings = Readings([InvalidConfig([]), bench.plan(2)])
    async with reloading(bench, readings) as wanted:
        wanted.set()
        await asyncio.sleep(1)
        assert bench.live.last is not None
        assert bench.live.last.result == "failure"
        wanted.set()
        await asyncio.sleep(1)
    assert bench.live.last.result == "success"
    assert bench.live.plans.default.limits.rate == 2


@in_virtual_time
async def test_a_reload_takes_the_file_as_read(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("")
    watched = WatchedFile(file)
    file.write_text(PLANS)
    readings, wanted = Readings([load(file).config]), asyncio.Event()
    source = ConfigSource(load=readings.load, watched=watched)
    task = asyncio.create_task(Reloader(source, bench.live, wanted, do_aside=readings.aside).run())
    wanted.set()
    await asyncio.sleep(1)
    task.cancel()
    assert bench.live.plans.plans.keys() == {"free", "pro"}
    assert [watched.look() for _ in range(3)] == [False, False, False]


@in_virtual_time
async def test_whatever_goes_wrong_is_a_failure_without_its_text(bench: Bench) -> None:
    async with reloading(bench, Readings([RuntimeError("a secret")])) as wanted:
        wanted.set()
        await asyncio.sleep(1)
    assert bench.sink.events[0].payload["error"] == "the configuration could not be read (RuntimeError)"
    assert "secret" not in repr(bench.live.last)
    assert bench.live.config == Config()


@in_virtual_time
async def test_a_reload_that_takes_too_long_is_given_up_and_the_next_one_begins_afresh(bench: Bench) -> None:
    readings = Readings([bench.plan(2)], seconds=1e6)
    async with reloading(bench, readings) as wanted:
        wanted.set()
        await asyncio.sleep(PATIENCE + 1)
        assert bench.sink.events[0].payload["error"] == "the configuration could not be read within 10 s"
        assert bench.counted("failure") == 1
        readings.seconds = 0.0
        wanted.set()
        await asyncio.sleep(1)
    assert bench.live.plans.default.limits.rate == 2


async def test_garbage_is_collected_while_a_file_is_read_that_hangs(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, go, hangs = tmp_path / "c.yaml", threading.Event(), threading.Event()
    file.write_text(PLANS)

    def hang(path: Path) -> Content:
        hangs.set()
        assert go.wait(10)
        return read_content(path)

    monkeypatch.setattr("extauthz.wiring.reload.read_content", hang)
    collected: list[bool] = []

    def loaded(content: Content | None) -> Loaded:
        collected.append(gc.isenabled())
        return load(content)

    wanted = asyncio.Event()
    task = asyncio.create_task(Reloader(ConfigSource(load=loaded, file=file), bench.live, wanted).run())
    wanted.set()
    assert await asyncio.to_thread(hangs.wait, 10)
    assert gc.isenabled()
    go.set()
    async with asyncio.timeout(10):
        while bench.live.last is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    task.cancel()
    assert collected == [False]
    assert gc.isenabled()
    assert bench.live.plans.plans.keys() == {"free", "pro"}


# A file that others change


def replaced(file: Path, text: str) -> None:
    """As an editor saves: another file takes the name."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def rewritten(file: Path, text: str) -> None:
    file.write_text(text)


def remounted(file: Path, text: str) -> None:
    """As Kubernetes updates a ConfigMap: the file is a link into `..data`, itself a link that is swapped."""
    folder = file.parent
    fresh = folder / f"..{len(list(folder.iterdir()))}"
    fresh.mkdir()
    (fresh / file.name).write_text(text)
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").rename(folder / "..data")
    if not file.exists():
        file.symlink_to(f"..data/{file.name}")


@pytest.mark.parametrize("change", [replaced, rewritten, remounted])
def test_a_changed_file_is_told_of_once_and_only_when_it_has_come_to_rest(
    tmp_path: Path, change: Callable[[Path, str], None]
) -> None:
    file = tmp_path / "c.yaml"
    change(file, "one")
    watched = WatchedFile(file)
    assert not watched.look()
    change(file, "another")
    assert [watched.look() for _ in range(3)] == [False, True, False]


def test_what_is_still_being_written_is_waited_out(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    watched = WatchedFile(file)
    for text in ("", "half", "half and half"):
        file.write_text(text)
        assert not watched.look()
    assert watched.look()


def test_what_was_read_meanwhile_is_no_news(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    watched = WatchedFile(file)
    file.write_text("another")
    watched.reading()
    assert [watched.look() for _ in range(3)] == [False, False, False]


def test_a_file_that_is_gone_is_a_change_and_so_is_its_return(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    watched = WatchedFile(file)
    file.unlink()
    assert [watched.look() for _ in range(3)] == [False, True, False]
    file.write_text("one")
    assert [watched.look() for _ in range(3)] == [False, True, False]


async def test_changes_are_told_on_the_loop_until_nobody_listens(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    changed = asyncio.Event()
    with watching(WatchedFile(file), 0.005, changed.set):
        file.write_text("two")
        async with asyncio.timeout(10):
            await changed.wait()
    changed.clear()
    for thread in threading.enumerate():
        if thread.name == "config-file":
            await asyncio.to_thread(thread.join, 10)
    file.write_text("three")
    await asyncio.sleep(0)
    assert not changed.is_set()


# Slow work


async def test_aside_gives_what_the_work_gives_or_raises() -> None:
    def fail() -> int:
        raise ValueError("wrong")

    assert await aside(threading.get_ident) != threading.get_ident()
    with pytest.raises(ValueError, match="wrong"):
        await aside(fail)


async def test_nobody_waits_for_slow_work_that_is_no_longer_wanted() -> None:
    go = threading.Event()
    work: Awaitable[bool] = aside(lambda: go.wait(10))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work, 0.01)
    go.set()
    await asyncio.sleep(0.05)  # what comes after all disturbs nobody
