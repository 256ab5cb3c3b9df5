"""Two whole services on one SQLite file: what is changed through one's admin port holds in the other, and 200 means so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from extauthz import config, wiring
from extauthz.demo.stack import HOST, free_ports
from extauthz.providers.sqlite import SqliteStore

TOKEN = "a-token-for-tests"
CONFIGURATION = """\
server: {drain: 0s}
providers:
  credentials: {url: "sqlite:///state.db", cache: {ttl: 1h}}
  lifecycle: {url: "sqlite:///state.db", cache: {ttl: 1h}}
  billing: {url: "sqlite:///state.db", cache: {ttl: 1h}}
  protection: {snapshot: null}
  events: {url: "none:"}
plans:
  free: {name: Free, tier: FREE, limits: {}}
default_plan: free
"""
PATIENCE = 20.0


@dataclass(frozen=True)
class Port:
    """The admin port of one service."""

    http: aiohttp.ClientSession
    number: int

    async def post(self, path: str, body: object) -> tuple[int, dict[str, Any]]:
        url, headers = f"http://{HOST}:{self.number}{path}", {"authorization": f"Bearer {TOKEN}"}
        async with self.http.post(url, data=orjson.dumps(body), headers=headers) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def move(self, to: str) -> tuple[int, dict[str, Any]]:
        return await self.post("/tenants/acme/lifecycle", {"to": to, "reason": "test"})

    async def reason(self) -> str:
        """Why a request of the tenant would be denied; `none` where it would not."""
        asked = {"tenant": "acme", "method": "POST", "path": "/api/v1/runs"}
        reason: str = (await self.post("/check", asked))[1]["reason"]
        return reason

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.reason() != wanted:  # noqa: ASYNC110 - the service is asked over HTTP
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Port]:
    """A service over the files of `folder`."""
    file = folder / "extauthz.yaml"
    file.write_text(CONFIGURATION.replace("///state.db", f"///{folder / 'state.db'}"))
    ports = free_ports()
    flags = {"server.listen": f"{HOST}:{ports.checks}", "admin.listen": f"{HOST}:{ports.admin}"}
    loaded = config.load(file, {}, flags)
    env = {"EXTAUTHZ_ADMIN_TOKEN": TOKEN, "EXTAUTHZ_PEPPER": "p" * 32}
    async with wiring.service(loaded.config, env), aiohttp.ClientSession() as http:
        yield Port(http, ports.admin)


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Port, Port]]:
    """Two services, and a tenant that both have in their caches."""
    async with serving(tmp_path) as one, serving(tmp_path) as two:
        new = {"id": "acme", "onboarding": "COMPLETE", "billing_state": "ACTIVE", "reason": "test"}
        assert (await one.post("/tenants", new))[0] == 201
        for port in (one, two):
            await port.until("none")
        yield one, two


async def test_a_change_through_one_service_holds_in_the_other(both: tuple[Port, Port]) -> None:
    one, two = both
    await one.move("SUSPENDED")
    await two.until("suspended")
    await two.move("ACTIVE")
    await one.until("none")


async def test_offboard_006_200_means_that_every_service_blocks_the_tenant(both: tuple[Port, Port]) -> None:
    one, two = both
    assert await one.move("TERMINATED") == (200, {"from": "ACTIVE", "to": "TERMINATED", "revoked_keys": 0})
    assert await two.reason() == await one.reason() == "terminated"


async def test_offboard_006_202_names_who_has_not_confirmed(both: tuple[Port, Port], tmp_path: Path) -> None:
    one, two = both
    store = SqliteStore(tmp_path / "state.db")
    await store.renew_lease("ghost", 0, 60)
    done = {"to": "TERMINATED", "revoked_keys": 0}
    assert await one.move("TERMINATED") == (202, {"from": "ACTIVE", **done, "pending_replicas": ["ghost"]})
    assert await two.reason() == "terminated"
    await store.end_lease("ghost")
    assert await one.move("TERMINATED") == (200, {"from": "TERMINATED", **done})
    await store.close()


async def test_offboard_006_a_service_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as one:
        async with serving(tmp_path):
            pass
        store = SqliteStore(tmp_path / "state.db")
        assert len(await store.replicas_behind(1 << 40)) == 1
        await store.close()
        assert await one.reason() == "tenant_unknown"
