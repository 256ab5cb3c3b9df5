"""`extauthz breaker`, `cache`, `bypass` against a running service: what they change is seen everywhere an operator looks."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.served import TOKEN, Served, served

EMBEDDED = """
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "memory:"}
  events: {url: "none:"}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


async def run(replica: Served, *args: str, env: Mapping[str, str] | None = None) -> Said:
    """One command, as from a script: standard input is no terminal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "extauthz", *args),
        env=os.environ | {"EXTAUTHZ_ADMIN_URL": replica.admin_url, "EXTAUTHZ_ADMIN_TOKEN": TOKEN} | dict(env or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in out + err
    return Said(code=process.returncode or 0, out=out.decode(), err=err.decode())


async def listed(replica: Served, noun: str, by: str, name: str) -> dict[str, Any]:
    """The row of `name` in a list."""
    said = (await run(replica, noun, "list", "--output", "json")).json()
    (rows,) = said.values()
    return next(row for row in rows if row[by] == name)


async def trail(replica: Served, what: str) -> list[tuple[str, str, str]]:
    """From, to and why of the records of one kind."""
    said = (await run(replica, "tenant", "history", "_system", "--output", "json")).json()
    return [(row["from"], row["to"], row["reason"]) for row in said["history"] if row["what"] == what]


@pytest.fixture(name="replica")
async def running_service(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, EMBEDDED) as replica:
        yield replica


async def test_a_circuit_is_opened_and_closed(replica: Served) -> None:
    key = await replica.tenant("acme")
    opened = await run(replica, "breaker", "open", "billing", "--reason", "it is being moved")
    assert (opened.code, opened.out, opened.err) == (0, "billing: the circuit is open\n", "")
    row = await listed(replica, "breaker", "provider", "billing")
    assert row["state"] == "open"
    assert 0 < row["retry_in_ms"] <= 66_000
    assert await replica.circuit("billing") == "open"
    assert await replica.metric("provider_circuit_state", provider="billing") == 2
    assert (await replica.check(key)).answer.allowed
    closed = await run(replica, "breaker", "close", "billing", "--reason", "it has moved")
    assert (closed.code, closed.out, closed.err) == (0, "billing: the circuit is closed\n", "")
    assert (await listed(replica, "breaker", "provider", "billing"))["opened_for_ms"] is None
    assert await trail(replica, "circuit_state_changed") == [
        ("billing: closed", "billing: open", "it is being moved"),
        ("billing: open", "billing: closed", "it has moved"),
    ]


async def test_a_cache_is_cleared_for_one_tenant_and_for_all(replica: Served) -> None:
    for tenant in ("acme", "globex"):
        assert (await replica.check(await replica.tenant(tenant))).answer.allowed
    full = await listed(replica, "cache", "provider", "lifecycle")
    assert full["entries"] == 2
    one = await run(replica, "cache", "clear", "lifecycle", "--tenant", "acme", "--reason", "r")
    assert (one.code, one.out) == (0, "lifecycle: 1 answer cleared for acme\n")
    assert (await listed(replica, "cache", "provider", "lifecycle"))["entries"] == 1
    unsure = await run(replica, "cache", "clear", "lifecycle", "--reason", "r")
    assert unsure.code == 2
    assert "add --yes" in unsure.err
    assert (await listed(replica, "cache", "provider", "lifecycle"))["entries"] == 1
    everybody = await run(replica, "cache", "clear", "lifecycle", "--yes", "--reason", "r")
    assert (everybody.code, everybody.out) == (0, "lifecycle: 1 answer cleared for all tenants\n")
    assert (await listed(replica, "cache", "provider", "lifecycle"))["entries"] == 0


async def test_the_tables_show_every_provider(replica: Served) -> None:
    breakers = (await run(replica, "breaker", "list")).out
    caches = (await run(replica, "cache", "list")).out
    for provider in ("credentials", "lifecycle", "billing", "protection"):
        assert f"\n{provider} " in breakers
        assert f"\n{provider} " in caches


async def test_a_bypass_is_set_and_lifted(replica: Served) -> None:
    key = await replica.tenant("acme")
    await replica.admin("PUT", "/tenants/acme/billing", {"state": "SUSPENDED", "reason": "unpaid"})
    assert (await replica.check(key)).answer.http_status == 402
    begun = await run(replica, "bypass", "set", "billing", "--ttl", "15m", "--reason", "they did pay")
    assert begun.code == 0
    assert begun.out.startswith("billing: bypassed until 20")
    row = await listed(replica, "bypass", "gate", "billing")
    assert (row["active"], row["source"], row["reason"]) == (True, "operator", "they did pay")
    assert await replica.metric("gate_bypass_active", gate="billing") == 1
    assert (await replica.check(key)).answer.allowed
    ended = await run(replica, "bypass", "lift", "billing", "--reason", "billing is right again")
    assert (ended.code, ended.out, ended.err) == (0, "billing: not bypassed\n", "")
    assert (await replica.check(key)).answer.http_status == 402
    assert [why for _, _, why in await trail(replica, "gate_bypass_changed")] == [
        "they did pay",
        "billing is right again",
    ]


async def test_a_bypass_by_the_environment_is_shown_and_cannot_be_lifted(tmp_path: Path) -> None:
    async with served(tmp_path, EMBEDDED, {"BILLING_BYPASS": "true"}) as replica:
        row = await listed(replica, "bypass", "gate", "billing")
        assert (row["active"], row["until"], row["source"]) == (True, None, "environment")
        refused = await run(replica, "bypass", "lift", "billing", "--reason", "r")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("error: bypass_refused: billing is bypassed by BILLING_BYPASS in the environment")


async def test_limits_of_all_tenants_are_cleared_only_by_whoever_says_yes(replica: Served) -> None:
    unsure = await run(replica, "ratelimits", "clear", "--reason", "r")
    assert (unsure.code, unsure.out) == (2, "")
    assert "add --yes" in unsure.err
    sure = await run(replica, "ratelimits", "clear", "--yes", "--reason", "r")
    assert (sure.code, sure.out) == (0, "all tenants: rate-limit state is cleared\n")


@pytest.mark.parametrize("command", [["breaker", "list"], ["cache", "list"], ["bypass", "list"]], ids=" ".join)
async def test_a_wrong_token_is_told_with_the_remedy(replica: Served, command: list[str]) -> None:
    wrong = await run(replica, *command, env={"EXTAUTHZ_ADMIN_TOKEN": "wrong"})
    missing = await run(replica, *command, env={"EXTAUTHZ_ADMIN_TOKEN": ""})
    assert (wrong.code, missing.code) == (1, 1)
    assert wrong.err.startswith("error: the admin token is not the right one: set EXTAUTHZ_ADMIN_TOKEN")
    assert missing.err.startswith("error: the admin token is missing: set EXTAUTHZ_ADMIN_TOKEN")
