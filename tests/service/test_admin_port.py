"""Spec section 7 over HTTP, on the real service in process."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from extauthz import config, wiring
from extauthz.demo.stack import HOST, free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "a-token-for-tests"
CONFIGURATION = """\
server: {drain: 0s}
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "memory:"}
  protection: {snapshot: null}
  events: {url: "memory:"}
routes: [{prefix: "/api/v1/runs", class: sdk, cost: 1}]
plans:
  free: {name: Free, tier: FREE, limits: {rate: 60, burst: 10, max_requests_per_day: 1000, max_cost_per_day: 5}}
  pro: {name: Pro, tier: PRO, limits: {rate: 6000}}
default_plan: free
"""
ids = (f"tenant-{number}" for number in itertools.count())


class Port:
    """The admin port, and how to call it."""

    def __init__(self, http: aiohttp.ClientSession, number: int) -> None:
        self.http = http
        self.number = number

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = TOKEN,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        given = {} if token is None else {"authorization": f"Bearer {token}"}
        data = body if isinstance(body, bytes | BytesIO) else None if body is None else orjson.dumps(body)
        url = f"http://{HOST}:{self.number}{path}"
        async with self.http.request(method, url, data=data, headers=given | (headers or {})) as answer:
            raw = await answer.read()
            is_json = answer.headers["content-type"].startswith("application/json")
            return answer.status, orjson.loads(raw) if is_json else {"text": raw.decode()}

    async def tenant(self, **more: object) -> str:
        name = next(ids)
        made = {"id": name, "onboarding": "COMPLETE", "billing_state": "ACTIVE", "reason": "test"} | more
        assert (await self.call("POST", "/tenants", made))[0] == 201
        return name


@asynccontextmanager
async def running(directory: Path, env: dict[str, str]) -> AsyncIterator[Port]:
    file = directory / "extauthz.yaml"
    file.write_text(CONFIGURATION)
    ports = free_ports()
    flags = {"server.listen": f"{HOST}:{ports.checks}", "admin.listen": f"{HOST}:{ports.admin}"}
    loaded = config.load(file, {}, flags)
    async with wiring.service(loaded.config, env), aiohttp.ClientSession() as http:
        yield Port(http, ports.admin)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Port]:
    async with running(tmp_path_factory.mktemp("admin"), {"EXTAUTHZ_ADMIN_TOKEN": TOKEN}) as started:
        yield started


# Who may


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/metrics"])
async def test_the_open_paths_need_no_token_and_take_any_host(port: Port, path: str) -> None:
    status, _ = await port.call("GET", path, token=None, headers={"host": "elsewhere.example"})
    assert status == 200


@pytest.mark.parametrize("path", ["/tenants", "/config", "/nowhere"])
async def test_everything_else_needs_the_token(port: Port, path: str) -> None:
    for token in (None, "wrong", "", "tökén"):
        status, body = await port.call("GET", path, token=token)
        assert (status, body["error"]) == (401, "unauthorized")


async def test_offboard_004_a_customers_key_moves_nobody(port: Port) -> None:
    name = await port.tenant()
    _, key = await port.call("POST", f"/tenants/{name}/keys", {"reason": "test"})
    move = {"to": "TERMINATED", "reason": "mine"}
    assert (await port.call("POST", f"/tenants/{name}/lifecycle", move, token=key["key"]))[0] == 401
    assert (await port.call("GET", f"/tenants/{name}"))[1]["lifecycle"]["state"] == "ACTIVE"


async def test_without_a_configured_token_nothing_but_the_open_paths(tmp_path: Path) -> None:
    async with running(tmp_path, {}) as closed:
        status, body = await closed.call("GET", "/tenants")
        assert (status, body["error"]) == (403, "admin_disabled")
        assert (await closed.call("GET", "/healthz", token=None))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9190", "", "[::", "127.0.0.1.evil.example"])
async def test_a_foreign_host_is_refused(port: Port, host: str) -> None:
    status, body = await port.call("GET", "/tenants", headers={"host": host})
    assert (status, body["error"]) == (403, "foreign_host")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://["])
async def test_a_foreign_origin_is_refused(port: Port, origin: str) -> None:
    status, body = await port.call("GET", "/tenants", headers={"origin": origin})
    assert (status, body["error"]) == (403, "foreign_origin")


async def test_this_machine_is_not_foreign(port: Port) -> None:
    for name in (f"localhost:{port.number}", "127.0.0.1", f"[::1]:{port.number}"):
        headers = {"host": name, "origin": f"http://{name}"}
        assert (await port.call("GET", "/tenants", headers=headers))[0] == 200


# Bad requests


@pytest.mark.parametrize("path", ["/tenants/x/lifecycle", "/operators/keys", "/check"])
async def test_get_on_a_change_is_405(port: Port, path: str) -> None:
    status, body = await port.call("GET", path)
    assert (status, body["error"]) == (405, "method_not_allowed")
    assert "POST" in body["detail"]


async def test_a_body_above_64_kib_is_413(port: Port) -> None:
    status, body = await port.call("POST", "/tenants", BytesIO(b'{"reason": "' + b"x" * 10_000_000 + b'"}'))
    assert (status, body["error"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "there is no body; send"),
        (b"{", "JSON"),
        (b"[]", "body"),
        (b"\xff", "JSON"),
        (b"[" * 60_000, "JSON"),
        ({"to": "banana", "reason": "x"}, "to:"),
        ({"to": "SUSPENDED"}, "reason:"),
        ({"to": "SUSPENDED", "reason": "  "}, "reason:"),
        ({"to": "SUSPENDED", "reason": "x", "force": True}, "force:"),
    ],
)
async def test_a_body_that_is_not_valid_is_400_and_names_the_field(port: Port, body: object, told: str) -> None:
    name = await port.tenant()
    status, answer = await port.call("POST", f"/tenants/{name}/lifecycle", body)
    assert (status, answer["error"]) == (400, "invalid_request")
    assert told in answer["detail"]


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "%00", "a%20b", "_system", "-x", "x" * 129, "a'or'1"])
async def test_an_id_that_is_none_is_400(port: Port, name: str) -> None:
    async with port.http.get(
        URL(f"http://{HOST}:{port.number}/tenants/{name}", encoded=True),
        headers={"authorization": f"Bearer {TOKEN}"},
    ) as answer:
        assert answer.status in {400, 404}
        assert orjson.loads(await answer.read())["error"] in {"invalid_request", "not_found"}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=../x"])
async def test_a_parameter_that_is_not_valid_is_400(port: Port, query: str) -> None:
    assert (await port.call("GET", f"/tenants?{query}"))[0] == 400
    assert (await port.call("GET", f"/tenants/{await port.tenant()}?fresh=yes"))[0] == 400


@pytest.mark.parametrize(
    ("method", "call", "told"),
    [
        ("DELETE", "/ratelimits?tenat=x", "unknown parameter 'tenat'; did you mean tenant?"),
        ("DELETE", "/ratelimits?Tenant=x", "unknown parameter 'Tenant'; did you mean tenant?"),
        ("DELETE", "/ratelimits?tenat", "unknown parameter 'tenat'; did you mean tenant?"),
        ("DELETE", "/ratelimits?tenant=a&tenant=b", "parameter tenant is there more than once"),
        ("GET", "/tenants?page=2", "unknown parameter 'page'; it takes after, limit, billing"),
        ("GET", "/tenants?limit=1&pretty", "unknown parameter 'pretty'"),
        ("GET", "/tenants/x?refresh=1", "did you mean fresh?"),
        ("POST", "/tenants?dry_run=1", "unknown parameter 'dry_run'; it takes none"),
        ("POST", "/tenants/import?dry_run=1", "it takes none"),
        ("POST", "/check?tenant=x", "it takes none"),
        ("POST", "/usage?tenant=x", "it takes none"),
        ("GET", "/config?section=x", "it takes none"),
        ("GET", "/metrics?name=x", "it takes none"),
        ("GET", "/healthz?x", "it takes none"),
        ("GET", f"/config?{'x' * 1000}=1", f"unknown parameter '{'x' * 64}'; it"),
    ],
)
async def test_a_parameter_that_the_call_does_not_take_is_400_and_nothing_is_done(
    port: Port, method: str, call: str, told: str
) -> None:
    name = await port.tenant()
    await port.call("POST", "/usage", {"tenant": name, "cost": "1", "idempotency_key": "k"})
    body = {"reason": "mistyped"} if method == "DELETE" else {"id": "mistyped", "reason": "mistyped"}
    status, answer = await port.call(method, call, body if method != "GET" else None)
    assert (status, answer["error"]) == (400, "invalid_request")
    assert told in answer["detail"]
    assert (await port.call("GET", f"/tenants/{name}"))[1]["usage"]["cost_today"] == "1"
    assert (await port.call("GET", "/tenants/mistyped"))[0] == 404


async def test_a_wrong_path_token_or_method_is_told_before_a_wrong_parameter(port: Port) -> None:
    assert (await port.call("GET", "/nowhere?x=1"))[0] == 404
    assert (await port.call("PUT", "/tenants?x=1"))[0] == 405
    assert (await port.call("GET", "/tenants?x=1", token=None))[0] == 401


async def test_a_call_may_end_in_a_question_mark(port: Port) -> None:
    assert (await port.call("GET", "/tenants?"))[0] == 200


@pytest.mark.parametrize(
    "sent", [b"GET /tenants HTTP/1.1\r\nhost: x", b"POST /tenants HTTP/1.1\r\nhost: localhost\r\n"]
)
async def test_a_client_that_sends_too_slowly_is_cut_off(port: Port, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, port.number)
    writer.write(sent)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


async def test_a_body_that_does_not_come_is_408(port: Port) -> None:
    reader, writer = await asyncio.open_connection(HOST, port.number)
    head = f"POST /tenants HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 9\r\n\r\n{{"
    writer.write(head.encode())
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
    writer.close()


# Tenants


async def test_a_tenant_is_created_and_shown(port: Port) -> None:
    name = next(ids)
    made = {
        "id": name,
        "name": "Acme",
        "plan": "pro",
        "onboarding": "COMPLETE",
        "billing_state": "ACTIVE",
        "reason": "new",
    }
    status, body = await port.call("POST", "/tenants", made)
    assert status == 201
    for part in ("lifecycle", "billing"):
        assert body[part].pop("age_ms") >= 0
        assert body[part].pop("source") in {"cache", "provider"}
    assert body == {
        "id": name,
        "name": "Acme",
        "onboarding": "COMPLETE",
        "lifecycle": {"state": "ACTIVE"},
        "billing": {"state": "ACTIVE", "plan": "pro"},
        "limits": {"rate": 6000, "burst": None, "max_requests_per_day": None, "max_cost_per_day": None},
        "usage": {"requests_today": 0, "cost_today": "0"},
    }
    assert (await port.call("POST", "/tenants", made))[0] == 409
    status, fresh = await port.call("GET", f"/tenants/{name}?fresh=1")
    assert (status, fresh["lifecycle"]["source"], fresh["billing"]["source"]) == (200, "provider", "provider")


async def test_a_new_tenant_is_pending_on_trial_and_on_the_default_plan(port: Port) -> None:
    status, body = await port.call("POST", "/tenants", {"id": next(ids), "reason": "x"})
    assert (status, body["onboarding"], body["billing"]["state"], body["billing"]["plan"]) == (
        201,
        "PENDING",
        "TRIAL",
        "free",
    )
    assert body["limits"] == {"rate": 60, "burst": 10, "max_requests_per_day": 1000, "max_cost_per_day": "5"}


async def test_tenants_are_listed_page_by_page(port: Port) -> None:
    made = {await port.tenant() for _ in range(3)}
    seen: list[str] = []
    after = ""
    while True:
        _, page = await port.call("GET", f"/tenants?limit=2&after={after}")
        seen += [tenant["id"] for tenant in page["tenants"]]
        after = page["next"]
        if after is None:
            break
    assert made <= set(seen)
    assert seen == sorted(set(seen))


async def test_who_is_not_there_is_404(port: Port) -> None:
    for method, path, body in (
        ("GET", "/tenants/nobody", None),
        ("GET", "/tenants/nobody/history", None),
        ("GET", "/tenants/nobody/keys", None),
        ("PUT", "/tenants/nobody/billing", {"state": "ACTIVE", "reason": "x"}),
        ("PUT", "/tenants/nobody/onboarding", {"state": "COMPLETE", "reason": "x"}),
        ("POST", "/tenants/nobody/lifecycle", {"to": "SUSPENDED", "reason": "x"}),
        ("POST", "/tenants/nobody/keys", {"reason": "x"}),
        ("DELETE", "/tenants/nobody/keys/x", {"reason": "x"}),
        ("GET", "/no/such/path", None),
    ):
        status, answer = await port.call(method, path, body)
        assert (status, answer["error"]) == (404, "not_found"), (method, path)


async def test_onboarding_goes_one_way(port: Port) -> None:
    name = await port.tenant(onboarding="PENDING")
    path = f"/tenants/{name}/onboarding"
    status, body = await port.call("PUT", path, {"state": "COMPLETE", "reason": "done"})
    assert (status, body["onboarding"]) == (200, "COMPLETE")
    assert (await port.call("PUT", path, {"state": "PENDING", "reason": "back"}))[0] == 409


async def test_offboard_001_002_003_moves_follow_the_table(port: Port) -> None:
    name = await port.tenant()
    path = f"/tenants/{name}/lifecycle"
    status, body = await port.call("POST", path, {"to": "ARCHIVED", "reason": "x"})
    assert (status, body["error"]) == (409, "invalid_transition")
    assert (await port.call("POST", path, {"to": "ACTIVE", "reason": "x"})) == (
        200,
        {"from": "ACTIVE", "to": "ACTIVE", "revoked_keys": 0},
    )
    for _ in range(2):
        await port.call("POST", f"/tenants/{name}/keys", {"reason": "x"})
    status, body = await port.call("POST", path, {"to": "TERMINATED", "reason": "x"})
    assert (status, body) == (200, {"from": "ACTIVE", "to": "TERMINATED", "revoked_keys": 2})
    assert (await port.call("POST", path, {"to": "ACTIVE", "reason": "x"}))[0] == 409
    assert (await port.call("GET", f"/tenants/{name}"))[1]["lifecycle"]["state"] == "TERMINATED"


async def test_two_opposite_changes_at_once_are_serialised_and_both_audited(port: Port) -> None:
    name = await port.tenant()
    path = f"/tenants/{name}/lifecycle"
    moves = [{"to": state, "reason": state} for state in ("SUSPENDED", "TERMINATED")]
    answers = await asyncio.gather(*(port.call("POST", path, move) for move in moves))
    assert answers[0][1]["from"] == "ACTIVE" or answers[1][1]["from"] == "ACTIVE"
    _, history = await port.call("GET", f"/tenants/{name}/history")
    made = [record for record in history["history"] if record["from"] is not None]
    assert [record["from"] for record in made] == ["ACTIVE", *(record["to"] for record in made[:-1])]


async def test_offboard_010_history_says_who_why_from_to_when(port: Port) -> None:
    name = await port.tenant()
    reason = 'he said "no"\nand left; DROP TABLE tenants;--'
    headers = {"x-request-id": "req-1"}
    await port.call("POST", f"/tenants/{name}/lifecycle", {"to": "SUSPENDED", "reason": reason}, headers=headers)
    record = (await port.call("GET", f"/tenants/{name}/history"))[1]["history"][-1]
    assert record.pop("at").endswith("Z")
    assert record == {
        "what": "tenant_lifecycle_transition",
        "from": "ACTIVE",
        "to": "SUSPENDED",
        "actor": {"type": "human", "id": "admin"},
        "reason": reason,
        "request_id": "req-1",
    }


async def test_billing_is_set_in_part_or_whole_and_only_to_plans_there_are(port: Port) -> None:
    name = await port.tenant()
    path = f"/tenants/{name}/billing"
    _, body = await port.call("PUT", path, {"state": "SUSPENDED", "plan": "pro", "reason": "unpaid"})
    assert (body["billing"]["state"], body["billing"]["plan"], body["limits"]["rate"]) == ("SUSPENDED", "pro", 6000)
    _, body = await port.call("PUT", path, {"state": "ACTIVE", "reason": "paid"})
    assert (body["billing"]["state"], body["billing"]["plan"]) == ("ACTIVE", "pro")
    for wrong in ({"plan": "gold", "reason": "x"}, {"reason": "x"}):
        assert (await port.call("PUT", path, wrong))[0] == 400


# Keys


async def test_a_key_is_shown_once_and_can_be_revoked(port: Port) -> None:
    name = await port.tenant()
    status, made = await port.call(
        "POST", f"/tenants/{name}/keys", {"scopes": ["b", "a"], "expires_in": "90d", "reason": "ci"}
    )
    assert (status, set(made)) == (201, {"key_id", "key"})
    assert made["key"].startswith(f"exak_{made['key_id']}")
    _, listed = await port.call("GET", f"/tenants/{name}/keys")
    (shown,) = listed["keys"]
    assert made["key"].rpartition("_")[2] not in str(listed)
    assert (shown["scopes"], shown["revoked_at"], shown["last_used_at"]) == (["a", "b"], None, None)
    assert shown["mac_pepper"] == shown["hash_pepper"]
    path = f"/tenants/{name}/keys/{made['key_id']}"
    status, revoked = await port.call("DELETE", path, {"reason": "lost"})
    assert (status, revoked["revoked_at"] is None) == (200, False)
    assert (await port.call("DELETE", path, {"reason": "again"}))[1]["revoked_at"] == revoked["revoked_at"]


async def test_offboard_007_no_new_key_unless_active(port: Port) -> None:
    name = await port.tenant()
    await port.call("POST", f"/tenants/{name}/lifecycle", {"to": "SUSPENDED", "reason": "x"})
    status, body = await port.call("POST", f"/tenants/{name}/keys", {"reason": "x"})
    assert (status, body["error"]) == (409, "tenant_not_active")


@pytest.mark.parametrize("wrong", [{"scopes": ["a b"]}, {"scopes": [""]}, {"expires_in": "-1d"}, {"expires_in": 90}])
async def test_a_key_that_makes_no_sense_is_400(port: Port, wrong: dict[str, object]) -> None:
    assert (await port.call("POST", f"/tenants/{await port.tenant()}/keys", {"reason": "x"} | wrong))[0] == 400


async def test_an_operators_key_is_of_the_system(port: Port) -> None:
    status, made = await port.call("POST", "/operators/keys", {"expires_in": "1h", "reason": "x"})
    assert (status, made["key"][:5]) == (201, "exak_")
    _, listed = await port.call("GET", "/tenants/_system/keys")
    assert made["key_id"] in [key["key_id"] for key in listed["keys"]]
    status, revoked = await port.call("DELETE", f"/tenants/_system/keys/{made['key_id']}", {"reason": "left"})
    assert (status, revoked["revoked_at"] is None) == (200, False)
    assert (await port.call("POST", "/tenants/_system/keys", {"reason": "x"}))[0] == 400


# Usage and limits


async def test_cost_is_reported_once_per_key_and_shown_with_the_tenant(port: Port) -> None:
    name = await port.tenant()
    report = {"tenant": name, "cost": "1.25", "idempotency_key": "run-17"}
    for _ in range(2):
        assert await port.call("POST", "/usage", report) == (200, {"cost_today": "1.25"})
    assert await port.call("POST", "/usage", report | {"cost": 2, "idempotency_key": "b"}) == (
        200,
        {"cost_today": "3.25"},
    )
    assert (await port.call("GET", f"/tenants/{name}"))[1]["usage"] == {"requests_today": 0, "cost_today": "3.25"}
    status, body = await port.call("POST", "/usage", report | {"cost": "1.26"})
    assert (status, body["error"]) == (409, "idempotency_key_reused")


async def test_a_json_number_is_counted_as_it_was_written_or_refused(port: Port) -> None:
    name = await port.tenant()
    body = f'{{"tenant": "{name}", "idempotency_key": "k", "cost": '.encode()
    assert await port.call("POST", "/usage", body + b"0.1}") == (200, {"cost_today": "0.1"})
    for wrong in (b"0.30000000000000004}", b"1e2}", b"NaN}", b"-Infinity}", b"1e999999999999999999999}", b"-1}", b"[}"):
        assert (await port.call("POST", "/usage", body + wrong))[0] == 400, wrong
    assert (await port.call("POST", "/usage", b"[" * 60_000))[0] == 400
    assert (await port.call("POST", "/usage", b"\xff"))[0] == 400


async def test_what_a_limit_is_over_by_a_report_denies_the_next_request(port: Port) -> None:
    name = await port.tenant()
    await port.call("POST", "/usage", {"tenant": name, "cost": "5", "idempotency_key": "k"})
    _, decided = await port.call("POST", "/check", {"tenant": name, "method": "POST", "path": "/api/v1/runs"})
    assert (decided["decision"], decided["status"], decided["reason"]) == ("deny", 429, "cost")
    assert await port.call("DELETE", f"/ratelimits?tenant={name}", {"reason": "paid"}) == (
        200,
        {"tenant": name, "cleared": True},
    )
    _, decided = await port.call("POST", "/check", {"tenant": name, "method": "POST", "path": "/api/v1/runs"})
    assert decided["decision"] == "allow"


async def test_clearing_leaves_a_record_in_the_trail_of_whom_it_concerns(port: Port) -> None:
    name = await port.tenant()
    assert (await port.call("DELETE", f"/ratelimits?tenant={name}", {"reason": "one"}))[0] == 200
    assert await port.call("DELETE", "/ratelimits", {"reason": "all"}) == (200, {"tenant": None, "cleared": True})
    for whose, reason in ((name, "one"), ("_system", "all")):
        _, trail = await port.call("GET", f"/tenants/{whose}/history")
        last = trail["history"][-1]
        assert (last["what"], last["to"], last["reason"]) == ("rate_limit_reset", "cleared", reason)


async def test_clearing_and_usage_of_nobody_and_without_what_they_need(port: Port) -> None:
    assert (await port.call("DELETE", "/ratelimits?tenant=nobody", {"reason": "x"}))[0] == 404
    assert (await port.call("DELETE", "/ratelimits?tenant=../x", {"reason": "x"}))[0] == 400
    assert (await port.call("DELETE", "/ratelimits", {}))[0] == 400
    assert (await port.call("POST", "/usage", {"tenant": "nobody", "cost": "1", "idempotency_key": "k"}))[0] == 404
    assert (await port.call("POST", "/usage", {"tenant": await port.tenant(), "cost": "1"}))[0] == 400
    assert (await port.call("DELETE", "/ratelimits", {"reason": "x"}, token=None))[0] == 401
    assert (await port.call("POST", "/usage", {}, token=None))[0] == 401


# Import


async def test_tenants_come_in_batches_and_go_out_in_pages_as_the_same(port: Port) -> None:
    one, two = next(ids), next(ids)
    full = {
        "id": one,
        "name": 'a "b",\nc',
        "plan": "pro",
        "onboarding": "COMPLETE",
        "lifecycle": "SUSPENDED",
        "billing_state": "PAST_DUE",
        "created_at": "2020-01-31T12:00:00.250000Z",
    }
    batch = {"reason": "moved", "tenants": [full, {"id": two}]}
    assert await port.call("POST", "/tenants/import", batch) == (200, {"created": 2, "existing": 0, "kept": []})
    assert await port.call("POST", "/tenants/import", batch) == (200, {"created": 0, "existing": 2, "kept": []})
    _, page = await port.call("GET", "/tenants?billing=1&limit=1000")
    shown = {tenant["id"]: tenant for tenant in page["tenants"]}
    assert shown[one] == full
    assert shown[two].pop("created_at").endswith("Z")
    assert shown[two] == {
        "id": two,
        "name": two,
        "plan": None,
        "onboarding": "PENDING",
        "lifecycle": "ACTIVE",
        "billing_state": "TRIAL",
    }
    assert (await port.call("GET", f"/tenants/{one}"))[1]["lifecycle"]["state"] == "SUSPENDED"
    (first, *_) = (await port.call("GET", f"/tenants/{one}/history"))[1]["history"]
    assert (first["from"], first["to"], first["reason"]) == (None, "SUSPENDED", "moved")


async def test_a_tenant_that_was_asked_for_before_it_came_is_known_at_once(port: Port) -> None:
    name = next(ids)
    assert (await port.call("GET", f"/tenants/{name}"))[0] == 404
    await port.call("POST", "/tenants/import", {"reason": "r", "tenants": [{"id": name}]})
    assert (await port.call("GET", f"/tenants/{name}"))[0] == 200


async def test_who_is_there_and_differs_is_named_and_nothing_is_written(port: Port) -> None:
    there, new = await port.tenant(), next(ids)
    batch = {"reason": "r", "tenants": [{"id": new}, {"id": there, "name": "Other"}]}
    status, body = await port.call("POST", "/tenants/import", batch)
    assert (status, body["error"], body["ids"]) == (409, "already_exists", [there])
    assert (await port.call("GET", f"/tenants/{new}"))[0] == 404
    keep = batch | {"on_conflict": "keep"}
    assert await port.call("POST", "/tenants/import", keep) == (200, {"created": 1, "existing": 0, "kept": [there]})
    assert (await port.call("GET", f"/tenants/{new}"))[0] == 200
    assert (await port.call("GET", f"/tenants/{there}"))[1]["name"] == there
    assert (await port.call("POST", "/tenants/import", batch | {"on_conflict": "replace"}))[0] == 400


@pytest.mark.parametrize(
    ("tenants", "told"),
    [
        ([], "tenants"),
        ([{"id": "a"}] * 2, "more than once: a"),
        ([{"id": "a", "plan": "gold"}, {"id": "b", "plan": "pro"}], "no plan gold; it has free, pro"),
        ([{"id": "a"}, {"id": "b/c"}], "tenants.1.id"),
        ([{"id": "a", "lifecycle": "GONE"}], "tenants.0.lifecycle"),
        ([{"id": "a", "billing": "TRIAL"}], "tenants.0.billing"),
        ([{"id": str(number)} for number in range(1001)], "tenants"),
    ],
)
async def test_a_batch_that_is_not_valid_is_400_and_says_where(port: Port, tenants: list[object], told: str) -> None:
    status, body = await port.call("POST", "/tenants/import", {"reason": "r", "tenants": tenants})
    assert (status, body["error"]) == (400, "invalid_request")
    assert told in body["detail"]
    assert (await port.call("GET", "/tenants/a"))[0] == 404


async def test_a_tenant_may_be_called_as_a_call_is(port: Port) -> None:
    for name in ("import", "export"):
        await port.call("POST", "/tenants", {"id": name, "reason": "r"})
        assert (await port.call("GET", f"/tenants/{name}"))[1]["id"] == name
    assert (await port.call("GET", "/tenants?billing=yes"))[0] == 400


# Explanations, configuration, health


async def test_check_explains_and_charges_nothing(port: Port) -> None:
    name = await port.tenant(billing_state="SUSPENDED")
    asked = {"tenant": name, "method": "POST", "path": "/api/v1/runs"}
    status, body = await port.call("POST", "/check", asked)
    assert (status, body["decision"], body["status"], body["gate"], body["reason"]) == (
        200,
        "deny",
        402,
        "billing",
        "suspended",
    )
    assert [step["gate"] for step in body["steps"]] == ["auth", "lifecycle", "billing", "protection"]
    fine = await port.tenant()
    status, body = await port.call("POST", "/check", {"tenant": fine, "method": "post", "path": "/api/v1/runs"})
    assert (body["decision"], body["status"], body["class"]) == ("allow", 200, "sdk")
    assert (await port.call("GET", f"/tenants/{fine}"))[1]["usage"] == {"requests_today": 0, "cost_today": "0"}
    status, body = await port.call("POST", "/check", {"tenant": "nobody", "path": "/x"})
    assert (body["status"], body["reason"]) == (403, "tenant_unknown")


async def test_config_is_shown_without_secrets(port: Port) -> None:
    status, body = await port.call("GET", "/config")
    assert (status, body["default_plan"]) == (200, "free")
    assert TOKEN not in str(body)


async def test_health_names_every_provider(port: Port) -> None:
    _, body = await port.call("GET", "/health", token=None)
    assert body["status"] == "ok"
    assert set(body["components"]) == {"credentials", "lifecycle", "billing", "protection", "events"}
    assert set(body["components"]["lifecycle"]) == {"status", "breaker", "last_error", "latency_ms"}


async def test_metrics_count_what_was_done_in_either_format(port: Port) -> None:
    name = await port.tenant()
    await port.call("POST", f"/tenants/{name}/lifecycle", {"to": "SUSPENDED", "reason": "x"})
    _, plain = await port.call("GET", "/metrics", token=None)
    assert f'lifecycle_transitions_total{{from="ACTIVE",tenant_id="{name}",to="SUSPENDED"}} 1.0' in plain["text"]
    _, open_metrics = await port.call("GET", "/metrics", token=None, headers={"accept": "application/openmetrics-text"})
    assert open_metrics["text"].endswith("# EOF\n")
