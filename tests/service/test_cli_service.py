"""The command line against a running service: the first steps of the README, and the way to the end of a tenant."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ENV = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")} | {
    "EXTAUTHZ_ADMIN_TOKEN": "t0ken",
    "EXTAUTHZ_SERVER__LISTEN": "127.0.0.1:0",
    "EXTAUTHZ_ADMIN__LISTEN": "127.0.0.1:0",
    "EXTAUTHZ_SERVER__DRAIN": "0s",
    "LOG_FORMAT": "json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service, and commands that talk to it."""

    admin: str
    folder: Path

    async def run(self, *args: str) -> Said:
        process = await start(self.folder, *args, "--admin", self.admin)
        out, err = await process.communicate()
        assert b"Traceback" not in out + err
        return Said(code=process.returncode or 0, out=out.decode(), err=err.decode())


async def start(folder: Path, *args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "extauthz",
        *args,
        cwd=folder,
        env=ENV,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def line_with(process: asyncio.subprocess.Process, text: bytes) -> bytes:
    """The next line of a service's log with `text` in it."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while text not in (line := await process.stderr.readline()):
            assert line, "the service ended"
    return line


@pytest.fixture(name="service")
async def running_service(tmp_path: Path) -> AsyncIterator[Service]:
    process = await start(tmp_path, "serve")
    assert process.stderr is not None
    admin = ""
    while not admin:
        line = await process.stderr.readline()  # where the log goes
        assert line, "the service ended before it served"
        admin = json.loads(line).get("admin", "") if line.startswith(b"{") else ""
    yield Service(admin=f"http://{admin}", folder=tmp_path)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0


async def test_the_first_steps_of_the_readme(service: Service) -> None:
    created = await service.run("tenant", "create", "acme", "--onboarding", "COMPLETE", "--reason", "new customer")
    assert (created.code, created.err) == (0, "")
    issued = await service.run("key", "create", "acme", "--reason", "first key")
    assert issued.code == 0
    assert issued.out.startswith("exak_")
    checked = await service.run("check", "--tenant", "acme", "--method", "POST", "--path", "/api/v1/runs")
    assert checked.code == 0
    again = await service.run("tenant", "create", "acme", "--reason", "twice")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("error: already_exists: ")


async def test_offboard_001_to_005_from_the_command_line(service: Service) -> None:
    assert (await service.run("tenant", "create", "acme", "--onboarding", "COMPLETE", "--reason", "r")).code == 0
    assert (await service.run("key", "create", "acme", "--expires-in", "90d", "--reason", "r")).code == 0
    early = await service.run("tenant", "archive", "acme", "--reason", "too early")
    assert early.code == 1
    assert early.err.startswith("error: invalid_transition: ")
    assert (await service.run("tenant", "suspend", "acme", "--reason", "r")).out == "acme: ACTIVE -> SUSPENDED\n"
    denied = await service.run("check", "--tenant", "acme", "--path", "/api/v1/runs", "--output", "json")
    assert denied.code == 1
    assert json.loads(denied.out)["reason"] == "suspended"
    assert (await service.run("tenant", "resume", "acme", "--reason", "r")).code == 0
    ended = await service.run("tenant", "terminate", "acme", "--reason", "contract ended")
    assert ended.out == "acme: ACTIVE -> TERMINATED, 1 key revoked\n"
    back = await service.run("tenant", "resume", "acme", "--reason", "oh no")
    assert back.code == 1
    refused = await service.run("key", "create", "acme", "--reason", "r")
    assert refused.err.startswith("error: tenant_not_active: ")
    assert (await service.run("tenant", "archive", "acme", "--reason", "r")).out == "acme: TERMINATED -> ARCHIVED\n"
    trail = json.loads((await service.run("tenant", "history", "acme", "--output", "json")).out)
    assert "contract ended" in {record["reason"] for record in trail["history"]}


async def test_billing_keys_and_lists(service: Service) -> None:
    assert (await service.run("tenant", "create", "acme", "--reason", "r")).code == 0
    assert (await service.run("tenant", "onboarding", "acme", "--reason", "done")).code == 0
    back = await service.run("tenant", "onboarding", "acme", "PENDING", "--reason", "back")
    assert (back.code, back.out) == (1, "")
    unpaid = await service.run("tenant", "billing", "acme", "--state", "SUSPENDED", "--reason", "unpaid")
    assert "SUSPENDED" in unpaid.out
    unknown = await service.run("tenant", "billing", "acme", "--plan", "gold", "--reason", "r")
    assert unknown.err.startswith("error: invalid_request: plan: the configuration has no such plan; it has free")
    issued = json.loads(
        (await service.run("key", "create", "acme", "--scope", "a", "--reason", "r", "--output", "json")).out
    )
    assert (await service.run("key", "revoke", "acme", issued["key_id"], "--reason", "r")).code == 0
    (key,) = json.loads((await service.run("key", "list", "acme", "--output", "json")).out)["keys"]
    assert key["key_id"] == issued["key_id"]
    assert key["revoked_at"] is not None
    listed = json.loads((await service.run("tenant", "list", "--output", "json")).out)
    assert [tenant["id"] for tenant in listed["tenants"]] == ["acme"]
    assert (await service.run("key", "create", "--operator", "--reason", "on-call")).code == 0
    fresh = await service.run("tenant", "get", "acme", "--fresh", "--output", "json")
    assert json.loads(fresh.out)["lifecycle"]["source"] == "provider"


async def test_wrong_tokens_and_unknown_tenants(service: Service) -> None:
    wrong = await service.run("tenant", "list", "--token", "wrong")
    assert wrong.code == 1
    assert wrong.err.startswith("error: the admin token is not the right one")
    unknown = await service.run("tenant", "get", "nobody")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.startswith("error: not_found: ")


@pytest.mark.parametrize("second", [("serve",), ("provider", "serve", "--listen", "127.0.0.1:0")], ids=" ".join)
async def test_two_services_in_one_folder_do_not_share_their_day_counts_and_the_second_says_so(
    tmp_path: Path, second: tuple[str, ...]
) -> None:
    first = await start(tmp_path, "serve")
    await line_with(first, b'"serving"')
    other = await start(tmp_path, *second)
    assert b"extauthz.counts" in await line_with(other, b"kept by another process")
    first.send_signal(signal.SIGTERM)
    await first.communicate()
    assert first.returncode == 0
    await line_with(other, b"taken over")
    other.send_signal(signal.SIGTERM)
    await other.communicate()
    assert other.returncode == 0
