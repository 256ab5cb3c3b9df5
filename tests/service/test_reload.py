"""`extauthz serve` whose configuration changes under it: a real process, a real file, real signals."""

import asyncio
import itertools
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import pytest_asyncio

from tests.served import Served, eventually, served, signalled

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROVIDERS: Final = """\
providers:
  credentials: {url: "sqlite:///state.db"}
  lifecycle: {url: "sqlite:///state.db"}
  billing: {url: "sqlite:///state.db"}
  protection: {snapshot: null}
  events: {url: "sqlite:///events.db"}
"""
RULES: Final = """\
plans:
  free: {name: Free, tier: FREE, limits: {rate: 600, burst: 100}}
default_plan: free
"""
names = (f"tenant-{number}" for number in itertools.count())


@dataclass
class Bench:
    """A replica and its file."""

    replica: Served
    file: Path

    async def last(self) -> dict[str, Any] | None:
        """What `/health` says of the last reload."""
        status, content = await self.replica.admin("GET", "/health")
        assert status == 200
        found: dict[str, Any] | None = content["last_reload"]
        return found

    async def reloads(self, result: str) -> float:
        return await self.replica.metric("config_reloads_total", result=result)

    async def after(self, change: Callable[[], object]) -> dict[str, Any]:
        """What the reload came to that `change` brought about."""
        before = await self.last()
        change()

        async def reloaded() -> bool:
            return await self.last() != before

        await eventually(reloaded)
        found = await self.last()
        assert found is not None
        return found

    async def write(self, text: str, *, at_once: bool = False) -> dict[str, Any]:
        """Save as an editor does, by renaming; what the reload came to. With `at_once` a signal says so."""

        def save() -> None:
            new = self.file.with_suffix(".new")
            new.write_text(text)
            new.rename(self.file)
            if at_once:
                self.hang_up()

        return await self.after(save)

    def hang_up(self) -> None:
        self.replica.process.send_signal(signal.SIGHUP)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="started")
async def a_replica(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("reload")
    async with served(folder, PROVIDERS + RULES, {"EXTAUTHZ_GATES__PROTECTION__ACTIONS__COST": "warn"}) as replica:
        yield Bench(replica=replica, file=folder / "extauthz.yaml")


@pytest_asyncio.fixture(loop_scope="module", name="bench")
async def at_the_beginning(started: Bench) -> AsyncIterator[Bench]:
    """With the configuration it was started with."""
    yield started
    if started.file.is_symlink() or started.file.read_text() != PROVIDERS + RULES:
        assert (await started.write(PROVIDERS + RULES, at_once=True))["result"] == "success"


async def test_a_changed_file_changes_gates_routes_plans_and_limits_for_the_next_check(bench: Bench) -> None:
    replica = bench.replica
    key = await replica.tenant(next(names))
    first = (await replica.check(key)).answer
    assert first.to_client["x-ratelimit-limit"].startswith("600,")
    assert "ratelimit" not in first.to_client
    came_to = await bench.write(
        PROVIDERS + "plans: {free: {name: Free, tier: FREE, limits: {rate: 1200}}}\n"
        "gates: {lifecycle: {mode: shadow}, protection: {draft_headers: true}, auth: {strip_authorization: true}}\n"
        "routes: [{prefix: /api/v1/open, class: public}]\n"
    )
    assert (came_to["result"], came_to["error"], came_to["needs_restart"]) == ("success", None, [])
    then = (await replica.check(key)).answer
    assert then.to_client["x-ratelimit-limit"].startswith("1200,")
    assert "ratelimit" in then.to_client
    assert "authorization" in then.removed
    assert then.metadata["lifecycle"]["mode"] == "shadow"  # type: ignore[index]  # the oracle's plain object
    assert (await replica.check("", path="/api/v1/open/x")).answer.allowed
    _, shown = await replica.admin("GET", "/config")
    assert shown["gates"]["lifecycle"]["mode"] == "shadow"
    assert shown["plans"]["free"]["limits"] == {"rate": 1200}
    assert shown["gates"]["protection"]["actions"]["cost"] == "warn"  # the environment still comes before the file
    _, tenant = await replica.admin("GET", f"/tenants/{first.headers['x-tenant-id']}")
    assert tenant["limits"]["rate"] == 1200

    async def recorded() -> bool:
        with closing(sqlite3.connect(bench.file.parent / "events.db")) as events:
            rows = events.execute("SELECT payload FROM events WHERE event_type = 'config_reloaded'").fetchall()
        return any("gates.lifecycle.mode" in orjson.loads(payload).get("changed", ()) for (payload,) in rows)

    await eventually(recorded)


async def test_sighup_reloads_at_once_and_once(bench: Bench) -> None:
    before = await bench.reloads("success")

    def change() -> None:
        bench.file.write_text(PROVIDERS + RULES.replace("600", "700"))
        bench.hang_up()

    assert (await bench.after(change))["result"] == "success"
    assert (await bench.replica.admin("GET", "/config"))[1]["plans"]["free"]["limits"]["rate"] == 700
    await asyncio.sleep(1.2)  # two looks at the file
    assert await bench.reloads("success") == before + 1


async def test_broken_configuration_on_reload_the_old_one_stays_the_error_is_counted_and_named(bench: Bench) -> None:
    replica = bench.replica
    key = await replica.tenant(next(names))
    failed, config = await bench.reloads("failure"), (await replica.admin("GET", "/config"))[1]
    broken = PROVIDERS + RULES.replace("600", "900") + "gates: {billing: {mode: banana}}\nroutes: [{exact: /x}]\n"
    came_to = await bench.write(broken)
    assert came_to["result"] == "failure"
    line = len(broken.splitlines())
    assert came_to["error"] == f"2 faults: {bench.file}:{line - 1}, {bench.file}:{line}; see the log"
    assert await bench.reloads("failure") == failed + 1
    assert (await replica.admin("GET", "/config"))[1] == config  # not even what was valid in it
    assert (await replica.check(key)).answer.to_client["x-ratelimit-limit"].startswith("600,")
    (told,) = [line for line in replica.log if line["event"] == "config_not_reloaded"]
    assert f"{bench.file}:{line - 1}: gates.billing.mode: " in told["detail"]
    assert f"{bench.file}:{line}: routes[0].class: " in told["detail"]
    bench.hang_up()  # again: counted again, and still nothing has changed

    async def counted() -> bool:
        return await bench.reloads("failure") == failed + 2

    await eventually(counted)
    repaired = await bench.write(PROVIDERS + RULES.replace("600", "900"))
    assert (repaired["result"], repaired["error"]) == ("success", None)
    assert (await replica.check(key)).answer.to_client["x-ratelimit-limit"].startswith("900,")


async def test_health_and_log_and_events_show_no_secret_of_a_broken_file(bench: Bench) -> None:
    replica, told = bench.replica, len(bench.replica.log)
    broken = 'providers: {lifecycle: "postgresql://u:hunter2@h/db", "redis://u:hunter2@h": 1}\nadmin: hunter2\n' + RULES
    assert (await bench.write(broken))["error"] == f"3 faults: {bench.file}:1, {bench.file}:2; see the log"

    async def recorded() -> bool:
        with closing(sqlite3.connect(bench.file.parent / "events.db")) as events:
            rows = events.execute("SELECT payload FROM events WHERE event_type = 'config_reloaded'").fetchall()
        assert b"hunter2" not in b"".join(
            payload if isinstance(payload, bytes) else payload.encode() for (payload,) in rows
        )
        return any(
            "providers.lifecycle: must hold keys" in str(orjson.loads(payload).get("error")) for (payload,) in rows
        )

    await eventually(recorded)
    assert "hunter2" not in repr(replica.log[told:])


async def test_a_pipe_in_the_place_of_the_file_holds_nothing_up(bench: Bench) -> None:
    def pipe() -> None:
        bench.file.unlink()
        os.mkfifo(bench.file)

    assert (await bench.after(pipe))["result"] == "failure"
    repaired = await bench.write(PROVIDERS + RULES.replace("600", "660"), at_once=True)
    assert repaired["result"] == "success"
    assert (await bench.replica.admin("GET", "/config"))[1]["plans"]["free"]["limits"]["rate"] == 660


@pytest.mark.parametrize("content", [None, "", "# all commented out\n", "plans: [", "\x00"])
async def test_a_file_that_is_gone_empty_or_no_yaml_changes_nothing(bench: Bench, content: str | None) -> None:
    config = (await bench.replica.admin("GET", "/config"))[1]
    came_to = await (bench.after(bench.file.unlink) if content is None else bench.write(content))
    assert came_to["result"] == "failure"
    assert str(bench.file) in came_to["error"]
    assert (await bench.replica.admin("GET", "/config"))[1] == config
    bench.file.touch()


async def test_half_a_write_is_waited_out(bench: Bench) -> None:
    failed = await bench.reloads("failure")
    text = PROVIDERS + RULES.replace("600", "800")

    async def slowly() -> None:
        for end in range(0, len(text), 40):
            bench.file.write_text(text[:end])
            await asyncio.sleep(0.1)
        bench.file.write_text(text)

    before = await bench.last()
    await slowly()

    async def reloaded() -> bool:
        return await bench.last() != before

    await eventually(reloaded)
    assert (await bench.replica.admin("GET", "/config"))[1]["plans"]["free"]["limits"]["rate"] == 800
    assert await bench.reloads("failure") == failed


async def test_what_needs_a_restart_is_named_and_not_applied(bench: Bench) -> None:
    told = len(_attention(bench))
    other = PROVIDERS.replace('lifecycle: {url: "sqlite:///state.db"}', 'lifecycle: {url: "memory:", timeout: 300ms}')
    came_to = await bench.write(f"server: {{budget: 700ms}}\n{other}{RULES.replace('600', '650')}")
    assert came_to["result"] == "success"
    assert came_to["needs_restart"] == ["server.budget", "providers.lifecycle.url", "providers.lifecycle.timeout"]
    assert _attention(bench)[told:] == [
        "needs a restart: server.budget, providers.lifecycle.url, providers.lifecycle.timeout"
    ]
    _, shown = await bench.replica.admin("GET", "/config")
    assert shown["providers"]["lifecycle"]["url"] == "sqlite:///state.db"
    assert shown["plans"]["free"]["limits"]["rate"] == 650


def _attention(bench: Bench) -> list[str]:
    return [line["detail"] for line in bench.replica.log if line["event"] == "attention"]


async def test_a_mounted_configmap_is_swapped_as_a_whole(bench: Bench) -> None:
    folder = bench.file.parent

    def mount(text: str, version: str) -> None:
        (folder / version).mkdir()
        (folder / version / bench.file.name).write_text(text)
        (folder / "..data_tmp").symlink_to(version)
        (folder / "..data_tmp").rename(folder / "..data")

    def link() -> None:
        mount(PROVIDERS + RULES.replace("600", "610"), "..1")
        bench.file.unlink()
        bench.file.symlink_to(f"..data/{bench.file.name}")

    await bench.after(link)
    await bench.after(lambda: mount(PROVIDERS + RULES.replace("600", "620"), "..2"))
    assert (await bench.replica.admin("GET", "/config"))[1]["plans"]["free"]["limits"]["rate"] == 620


async def test_a_plan_that_is_gone_is_a_fallback_for_those_who_have_it_and_is_named(bench: Bench) -> None:
    replica, name = bench.replica, next(names)
    await bench.write(PROVIDERS + RULES.replace("plans:", "plans:\n  pro: {name: Pro, tier: PRO, limits: {rate: 5}}"))
    key = await replica.tenant(name)
    assert (await replica.admin("PUT", f"/tenants/{name}/billing", {"plan": "pro", "reason": "paid"}))[0] == 200
    assert (await replica.check(key)).answer.headers["x-tenant-plan"] == "pro"
    told = len(_attention(bench))
    await bench.write(PROVIDERS + RULES)
    assert [line for line in _attention(bench)[told:] if line.startswith("plans that are gone: pro;")]
    answer = (await replica.check(key)).answer
    assert answer.allowed
    assert answer.headers["x-extauthz-degraded"] == "billing"
    status, _ = await replica.admin("PUT", f"/tenants/{name}/billing", {"plan": "pro", "reason": "paid"})
    assert status == 400


async def test_a_flood_of_sighups_under_load_fails_no_check(bench: Bench) -> None:
    key = await bench.replica.tenant(next(names))
    before = await bench.reloads("success")
    sent = asyncio.create_task(_flood(bench))
    while not sent.done():
        assert (await bench.replica.check(key, path="/api/v1/auth/refresh")).answer.allowed
    await asyncio.sleep(0.5)
    assert before + 1 <= await bench.reloads("success") <= before + 100
    assert bench.replica.process.returncode is None


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_a_signal_at_the_very_end_does_not_spoil_it(tmp_path: Path, number: signal.Signals) -> None:
    async with served(tmp_path, PROVIDERS + RULES) as replica:
        replica.process.send_signal(signal.SIGTERM)
        while replica.process.returncode is None:
            signalled(replica.process, number)
            await asyncio.sleep(0.005)
    assert replica.process.returncode == 0
    assert replica.log[-1]["event"] == "ended"


async def _flood(bench: Bench) -> None:
    for _ in range(300):
        bench.hang_up()
        await asyncio.sleep(0.005)
