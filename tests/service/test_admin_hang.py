"""The admin port while a backend hangs or fails: every answer comes, in bounded time, and says what is known."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from extauthz.admin import AdminAccess, AdminServer, AdminServices, build_app
from extauthz.errors import InvalidRecord, ProviderBusy, ProviderError, SchemaMismatch
from extauthz.model.decision import FallbackReason, Source
from extauthz.model.lifecycle import LifecycleRecord, Tenant
from extauthz.ports import Fetched, Unavailable
from extauthz.providers.memory import MemoryStore
from extauthz.testing.fakes import FakeLookup
from tests.back_office import ACTIVE, Hung, Office, Raising

TOKEN = "t0ken"
SHORT = 0.05
GENEROUS = 5.0
"""Seconds that no answer may take here; a hung backend without a bound takes for ever."""


class Calls:
    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self.http = http
        self.port = port

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        data = None if body is None else orjson.dumps(body)
        url = f"http://127.0.0.1:{self.port}{path}"
        async with asyncio.timeout(GENEROUS), self.http.request(method, url, data=data) as answer:
            return answer.status, orjson.loads(await answer.read())


@asynccontextmanager
async def listening(services: AdminServices) -> AsyncIterator[Calls]:
    server = AdminServer(build_app(services, AdminAccess(token=TOKEN, hosts=frozenset({"127.0.0.1"}))), "127.0.0.1", 0)
    await server.start()
    try:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {TOKEN}"}) as http:
            yield Calls(http, server.port)
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/tenants", None),
        ("GET", "/tenants?billing=1", None),
        ("POST", "/tenants", {"id": "new", "reason": "r"}),
        ("POST", "/tenants/import", {"tenants": [{"id": "new"}], "reason": "r"}),
        ("PUT", "/tenants/acme/onboarding", {"state": "COMPLETE", "reason": "r"}),
        ("GET", "/tenants/acme/history", None),
        ("PUT", "/tenants/acme/billing", {"state": "ACTIVE", "reason": "r"}),
        ("GET", "/tenants/acme/keys", None),
        ("POST", "/tenants/acme/keys", {"reason": "r"}),
        ("DELETE", "/tenants/acme/keys/abc", {"reason": "r"}),
        ("POST", "/operators/keys", {"reason": "r"}),
    ],
)
async def test_a_store_that_hangs_is_503_in_bounded_time(method: str, path: str, body: object) -> None:
    hung = Hung()
    services = Office(store=hung).services(answer_timeout=SHORT)
    async with listening(services) as call:
        status, answer = await call(method, path, body)
    assert (status, answer["error"]) == (503, "provider_unavailable")
    assert hung.asked


async def test_the_open_paths_do_not_wait_for_anybody() -> None:
    services = Office(store=Hung()).services(answer_timeout=SHORT)
    async with listening(services) as call:
        assert (await call("GET", "/healthz"))[0] == 200


class SlowMove(MemoryStore):
    """A move that takes longer than other calls may, as one does that waits for replicas."""

    async def get_tenant(self, tenant_id: str) -> Tenant | None:
        await asyncio.sleep(4 * SHORT)
        return await super().get_tenant(tenant_id)

    async def transition(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(4 * SHORT)
        return await super().transition(*args, **kwargs)


async def test_offboard_006_a_move_may_take_longer_because_replicas_confirm_it() -> None:
    office = Office(store=SlowMove(), forgotten=Accepting())
    services = office.services(answer_timeout=SHORT)
    async with listening(services) as call:
        assert (await call("POST", "/tenants/import", {"tenants": [{"id": "acme"}], "reason": "r"}))[0] == 200
        assert (await call("POST", "/tenants/acme/lifecycle", {"to": "SUSPENDED", "reason": "r"}))[0] == 200


class Accepting:
    """A cache that takes whatever it is told."""

    def put(self, key: str, value: object) -> None:
        """Fine."""

    def forget(self, key: str) -> None:
        """Fine."""


# What is shown beside


UNKNOWN = {"requests_today": None, "cost_today": None}


async def test_a_tenant_is_shown_although_name_and_usage_hang() -> None:
    services = Office(store=Hung()).services(protection=Hung(), provider_timeout=SHORT)
    async with listening(services) as call:
        status, shown = await call("GET", "/tenants/acme")
    assert (status, shown["name"], shown["usage"]) == (200, None, UNKNOWN)
    assert (shown["lifecycle"]["state"], shown["billing"]["plan"]) == ("ACTIVE", "free")


@pytest.mark.parametrize("error", [ProviderError("gone"), InvalidRecord("bad row"), KeyError("a third party's")])
async def test_a_tenant_is_shown_although_name_and_usage_fail(error: Exception) -> None:
    services = Office(store=Raising(error)).services(protection=Raising(error))
    async with listening(services) as call:
        status, shown = await call("GET", "/tenants/acme")
        assert (status, shown["name"], shown["usage"]) == (200, None, UNKNOWN)
        assert (await call("GET", "/tenants/nobody"))[0] == 404


async def test_look_ups_without_an_answer_show_what_was_known_last_and_fresh_ones_are_503() -> None:
    lifecycle = FakeLookup[str, LifecycleRecord]({})
    last: Fetched[object] = Fetched(value=ACTIVE, source=Source.STALE, age=7.0)
    async with listening(Office().services(lifecycle=lifecycle)) as call:
        lifecycle.outage = Unavailable(FallbackReason.TIMEOUT, last)
        status, shown = await call("GET", "/tenants/acme")
        assert (status, shown["lifecycle"]) == (200, {"state": "ACTIVE", "source": "stale", "age_ms": 7000})
        lifecycle.outage = Unavailable(FallbackReason.TIMEOUT)
        status, shown = await call("GET", "/tenants/acme")
        assert (status, shown["lifecycle"]) == (200, {"state": None, "source": "default", "age_ms": None})
        status, body = await call("GET", "/tenants/acme?fresh=1")
        assert (status, body["error"]) == (503, "provider_unavailable")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProviderError("gone"), 503, "provider_unavailable"),
        (ProviderBusy("all connections are in use"), 503, "provider_unavailable"),
        (SchemaMismatch("run `extauthz db upgrade`"), 503, "provider_unavailable"),
        (InvalidRecord("tenant 'x': 'banana' is no LifecycleState"), 500, "invalid_record"),
        (KeyError("a third party's secret"), 500, "internal"),
    ],
)
async def test_what_a_store_raises_is_told_by_its_kind(error: Exception, status: int, code: str) -> None:
    async with listening(Office(store=Raising(error)).services()) as call:
        answered, body = await call("GET", "/tenants")
    assert (answered, body["error"]) == (status, code)
    assert "secret" not in body["detail"]


# Usage and limits


REPORT = {"tenant": "acme", "cost": "1.25", "idempotency_key": "run-17"}


async def test_usage_with_the_provider_hung_is_503_and_with_it_gone_too() -> None:
    for protection in (Hung(), Raising(ProviderError("gone"))):
        services = Office().services(protection=protection, provider_timeout=SHORT)
        async with listening(services) as call:
            status, body = await call("POST", "/usage", REPORT)
        assert (status, body["error"]) == (503, "provider_unavailable")


async def test_usage_of_a_tenant_that_nobody_can_look_up_is_taken() -> None:
    lifecycle = FakeLookup[str, LifecycleRecord]({}, cached=False)
    lifecycle.outage = Unavailable(FallbackReason.TIMEOUT)
    async with listening(Office().services(lifecycle=lifecycle)) as call:
        assert await call("POST", "/usage", REPORT) == (200, {"cost_today": "1.25"})
        lifecycle.outage = None
        assert (await call("POST", "/usage", REPORT))[0] == 404
        lifecycle.values["acme"] = ACTIVE
        assert await call("POST", "/usage", REPORT) == (200, {"cost_today": "1.25"})


async def test_clearing_with_the_provider_gone_is_503_and_audited_all_the_same() -> None:
    async with listening(Office().services(protection=Raising(ProviderError("gone")))) as call:
        status, body = await call("DELETE", "/ratelimits?tenant=acme", {"reason": "r"})
        assert (status, body["error"]) == (503, "provider_unavailable")
        (record,) = (await call("GET", "/tenants/acme/history"))[1]["history"]
    assert (record["what"], record["to"]) == ("rate_limit_reset", "not_confirmed")
