"""Tenants into a running service and out of it again, with the service killed in between."""

import asyncio
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from extauthz.demo.stack import HOST, free_ports

ENV = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")} | {
    "EXTAUTHZ_ADMIN_TOKEN": "t0ken",
    "EXTAUTHZ_SERVER__LISTEN": f"{HOST}:0",
    "EXTAUTHZ_SERVER__DRAIN": "0s",
    "EXTAUTHZ_PROVIDERS__EVENTS__URL": "none:",
    "LOG_FORMAT": "json",
}
NAMES = ['"quoted"', "a,b", "two\nlines", "=1+1", "+x", "-x", "@x", " spaced ", "Zoë \U0001f600", "\u2028"]
MANY = 30_000
PAGE = Path(__file__).parents[2] / "docs" / "import.md"
STATES = itertools.cycle(["ACTIVE", "SUSPENDED", "TERMINATED", "ARCHIVED"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that can be killed and started again at the same place."""

    folder: Path
    port: int

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self._start()
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def _start(self) -> asyncio.subprocess.Process:
        process = await _spawn(self.folder, "serve", "--admin-listen", f"{HOST}:{self.port}")
        assert process.stderr is not None
        while True:
            line = await process.stderr.readline()  # where the log goes
            assert line, "the service ended before it served"
            if b'"serving"' in line:
                return process

    async def first_tenant(self) -> None:
        """Wait until there is a tenant."""
        headers = {"authorization": f"Bearer {ENV['EXTAUTHZ_ADMIN_TOKEN']}"}
        tenants: list[object] = []
        async with asyncio.timeout(60), aiohttp.ClientSession(headers=headers) as http:
            while not tenants:
                async with http.get(f"http://{HOST}:{self.port}/tenants?limit=1") as answer:
                    tenants = (await answer.json())["tenants"]

    async def begin(self, *args: str) -> asyncio.subprocess.Process:
        return await _spawn(self.folder, *args, "--admin", f"http://{HOST}:{self.port}")

    async def run(self, *args: str, stdin: bytes | None = None, code: int = 0) -> str:
        process = await self.begin(*args)
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        assert process.returncode == code, err.decode()
        assert b"Traceback" not in err
        return (out if code == 0 else err).decode()


async def _spawn(folder: Path, *args: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "extauthz", *args)
    return await asyncio.create_subprocess_exec(*command, cwd=folder, env=ENV, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.fixture(name="service")
def a_service(tmp_path: Path) -> Service:
    return Service(folder=tmp_path, port=free_ports().admin)


def lines(count: int) -> bytes:
    return b"".join(b'{"id": "t%07d", "plan": "free", "onboarding": "COMPLETE"}\n' % number for number in range(count))


async def test_export_and_import_again_gives_the_same_tenants_in_either_form(tmp_path: Path) -> None:
    rows = [
        {"id": f"t{number}", "name": name, "lifecycle": next(STATES), "billing_state": "PAST_DUE", "plan": "free"}
        for number, name in enumerate(NAMES)
    ] + [{"id": "plain"}]
    given = "".join(json.dumps(row) + "\n" for row in rows).encode()
    exports: list[bytes] = []
    for form, source in (("csv", given), ("jsonl", None), ("csv", None)):
        folder = tmp_path / str(len(exports))
        folder.mkdir()
        service = Service(folder=folder, port=free_ports().admin)
        async with service.running():
            before = source if source is not None else exports[-1]
            imported = await service.run("tenant", "import", "-", "--output", "json", stdin=before)
            assert json.loads(imported) == {"created": len(rows), "existing": 0, "kept": 0}
            exports.append((await service.run("tenant", "export", "--format", form)).encode())
    assert exports[0] == exports[2]
    assert [json.loads(line)["name"] for line in exports[1].splitlines()] == ["plain", *NAMES]


async def test_the_files_that_the_page_shows_are_taken_by_a_service_with_the_defaults(service: Service) -> None:
    blocks = PAGE.read_text().split("```\n")[1::2]
    csv, jsonl = (next(block for block in blocks if block.startswith(begin)) for begin in ("id,name", '{"id"'))
    (body,) = re.findall(r"-d '(.*)'", PAGE.read_text())
    async with service.running():
        assert await service.run("tenant", "import", "-", stdin=csv.encode()) == "2 created, 0 there already\n"
        assert await service.run("tenant", "import", "-", stdin=jsonl.encode()) == "0 created, 2 there already\n"
        tenants = "".join(json.dumps(each) + "\n" for each in json.loads(body)["tenants"])
        assert await service.run("tenant", "import", "-", stdin=tenants.encode()) == "2 created, 0 there already\n"


async def test_an_import_goes_on_although_a_tenant_was_suspended_since(service: Service) -> None:
    (service.folder / "t.jsonl").write_bytes(lines(1500))
    async with service.running():
        await service.run("tenant", "import", "-", stdin=lines(1200))
        await service.run("tenant", "suspend", "t0000007", "--reason", "fraud")
        for _ in range(2):
            stopped = await service.run("tenant", "import", "t.jsonl", code=1)
            assert "line 8: tenant 't0000007' is there already and is not the same" in stopped
            assert "--on-conflict keep leaves those that are there as they are and adds the others" in stopped
        went_on = await service.run("tenant", "import", "t.jsonl", "--on-conflict", "keep", "--output", "json")
        outcome = json.loads(went_on)
        assert (outcome["kept"], outcome["created"] + outcome["existing"]) == (1, 1499)
        assert "SUSPENDED" in await service.run("tenant", "get", "t0000007", "--fresh")
        assert "t0001499" in await service.run("tenant", "get", "t0001499")


async def test_a_service_killed_in_the_middle_and_started_again_loses_nothing(service: Service) -> None:
    (service.folder / "t.jsonl").write_bytes(lines(MANY))
    async with service.running() as process:
        importing = await service.begin("tenant", "import", "t.jsonl", "--output", "json")
        await service.first_tenant()
        process.kill()
    async with service.running():
        out, err = await asyncio.wait_for(importing.communicate(), 120)
        assert importing.returncode == 0, err.decode()
        outcome = json.loads(out)
        assert outcome["created"] + outcome["existing"] == MANY
        again = json.loads(await service.run("tenant", "import", "t.jsonl", "--output", "json"))
        assert again == {"created": 0, "existing": MANY, "kept": 0}


async def test_an_import_that_was_interrupted_goes_on_where_it_stopped(service: Service) -> None:
    (service.folder / "t.jsonl").write_bytes(lines(MANY))
    async with service.running():
        importing = await service.begin("tenant", "import", "t.jsonl")
        await service.first_tenant()
        importing.send_signal(signal.SIGINT)
        _, err = await importing.communicate()
        assert importing.returncode == 1
        assert b"error: interrupted; " in err
        again = json.loads(await service.run("tenant", "import", "t.jsonl", "--output", "json"))
        assert again["created"] > 0
        assert again["existing"] > 0
        assert again["created"] + again["existing"] == MANY


async def test_usage_and_limits_from_the_command_line(service: Service) -> None:
    async with service.running():
        await service.run("tenant", "create", "acme", "--onboarding", "COMPLETE", "--reason", "r")
        report = ("usage", "report", "acme", "--cost", "1.25", "--idempotency-key", "run-17")
        for _ in range(2):
            assert await service.run(*report) == "acme: cost today 1.25\n"
        assert "1.25 of 5" in await service.run("tenant", "get", "acme")
        cleared = await service.run("ratelimits", "clear", "--tenant", "acme", "--reason", "test over")
        assert cleared == "acme: rate-limit state is cleared\n"
        assert "0 of 5" in await service.run("tenant", "get", "acme")
        assert "test over" in await service.run("tenant", "history", "acme")
        refused = await service.run("usage", "report", "acme", "--cost", "-1", "--idempotency-key", "k", code=1)
        assert "cost: must lie between 0 and 1,000,000,000" in refused
