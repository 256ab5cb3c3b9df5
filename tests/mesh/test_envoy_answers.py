"""The tables of spec 3.1 and 3.6 through a real Envoy, row by row, as far as an API key reaches."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from extauthz.bootstrap import BootstrapOptions, to_yaml
from extauthz.demo.envoy import envoy
from extauthz.demo.stack import HOST, Stack, free_ports, running_stack
from extauthz.demo.upstream import echo_upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIGURATION = """\
server: {drain: 0s}
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "memory:"}
  events: {url: "memory:"}
routes:
  - {prefix: "/api/v1/runs", class: sdk, cost: 1}
  - {exact: "/only/here", class: public}
  - {regex: "/v[0-9]+/open", class: public, methods: [GET]}
  - {prefix: "/scoped", class: standard, scopes: [reports]}
plans:
  free: {name: Free, tier: FREE, limits: {rate: 6000, burst: 1000, max_requests_per_day: 100000, max_cost_per_day: 1000}}
  two-a-day: {name: Two a day, tier: FREE, limits: {max_requests_per_day: 2}}
  slow: {name: Slow, tier: FREE, limits: {rate: 3}}
  bursty: {name: Bursty, tier: FREE, limits: {burst: 2}}
  cheap: {name: Cheap, tier: FREE, limits: {max_cost_per_day: 2}}
default_plan: free
"""
RUNS, THINGS = "/api/v1/runs", "/api/v1/things"
ids = (f"tenant-{number}" for number in itertools.count())


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def why(self) -> tuple[int, str, str]:
        return self.status, self.headers.get("x-extauthz-gate", ""), self.headers.get("x-extauthz-reason", "")

    def arrived(self, name: str) -> list[str]:
        """Every value of a header that reached the upstream."""
        return [value for key, value in self.body["arrived"]["headers"] if key.lower() == name]


@dataclass
class Mesh:
    stack: Stack
    keys: dict[str, str] = field(default_factory=dict)

    async def tenant(
        self,
        *,
        plan: str | None = None,
        onboarding: str = "COMPLETE",
        billing: str = "ACTIVE",
        lifecycle: tuple[str, ...] = (),
        scopes: tuple[str, ...] = (),
    ) -> str:
        name = next(ids)
        made = {"id": name, "onboarding": onboarding, "billing_state": billing, "reason": "test"}
        await self.stack.admin("POST", "/tenants", made | ({"plan": plan} if plan else {}))
        key = await self.stack.admin("POST", f"/tenants/{name}/keys", {"scopes": list(scopes), "reason": "test"})
        self.keys[name] = key["key"]
        for state in lifecycle:
            await self.stack.admin("POST", f"/tenants/{name}/lifecycle", {"to": state, "reason": "test"})
        return name

    async def operator(self) -> str:
        key = await self.stack.admin("POST", "/operators/keys", {"reason": "test"})
        self.keys["_system"] = key["key"]
        return "_system"

    async def ask(self, who: str | None, method: str = "GET", path: str = THINGS, **more: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if who is not None:
            headers["x-api-key"] = self.keys[who]
        url = URL(self.stack.edge_url + path, encoded=True)
        async with self.stack.http.request(method, url, headers=headers) as answer:
            raw = await answer.read()
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return Answer(answer.status, answer.headers, orjson.loads(raw) if is_json and raw else {})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    directory = tmp_path_factory.mktemp("mesh")
    async with running_stack(CONFIGURATION, directory, free_ports(), check_timeout=0.2) as stack:
        yield Mesh(stack)


async def test_the_first_request_after_start_is_answered_within_envoys_default_of_200_ms(tmp_path: Path) -> None:
    async with running_stack(CONFIGURATION, tmp_path, free_ports(), check_timeout=0.2) as stack:
        fresh = Mesh(stack)
        name = await fresh.tenant()
        assert (await fresh.ask(name, "POST", RUNS)).status == 200


# 3.1, route classes


@pytest.mark.parametrize(
    "path", ["/health", "/health/x", "/metrics", "/docs", "/openapi.json", "/redoc", "/api/v1/auth/login"]
)
async def test_public_needs_no_credential_and_keeps_the_clients_own(mesh: Mesh, path: str) -> None:
    answer = await mesh.ask(None, path=path, x_api_key="mine", authorization="Bearer mine")
    assert answer.status == 200
    assert answer.arrived("x-api-key") == ["mine"]
    assert answer.arrived("authorization") == ["Bearer mine"]


@pytest.mark.parametrize(
    "path",
    [
        "/healthz-admin",
        "/api/v1/auth",
        "/only/here/below",
        "/v1/open/x",
        "/health/../api/v1/things",
        "/",
        "/api/v1/auth/refresh;x=1",
    ],
)
async def test_what_only_looks_public_needs_a_credential(mesh: Mesh, path: str) -> None:
    assert (await mesh.ask(None, path=path)).why == (401, "auth", "missing_credentials")


async def test_configured_routes_come_first(mesh: Mesh) -> None:
    assert (await mesh.ask(None, path="/only/here")).status == 200
    assert (await mesh.ask(None, path="/v12/open")).status == 200
    assert (await mesh.ask(None, "POST", "/v12/open")).status == 401


async def test_refresh_passes_while_suspended_and_not_when_terminated(mesh: Mesh) -> None:
    suspended = await mesh.tenant(lifecycle=("SUSPENDED",), billing="SUSPENDED")
    assert (await mesh.ask(suspended, "POST", "/api/v1/auth/refresh")).status == 200
    assert (await mesh.ask(None, "POST", "/api/v1/auth/refresh")).status == 401


async def test_billing_001_onboarding_is_never_stopped_by_billing_but_by_lifecycle(mesh: Mesh) -> None:
    pending = await mesh.tenant(onboarding="PENDING", billing="SUSPENDED")
    assert (await mesh.ask(pending, "POST", "/api/v1/onboarding/profile")).status == 200
    assert (await mesh.ask(pending, "POST", RUNS)).status == 200
    paused = await mesh.tenant(lifecycle=("SUSPENDED",))
    assert (await mesh.ask(paused, path="/api/v1/onboarding/profile")).why == (403, "lifecycle", "suspended")
    early = await mesh.tenant(onboarding="PENDING", lifecycle=("SUSPENDED",))
    assert (await mesh.ask(early)).why == (403, "lifecycle", "suspended")


@pytest.mark.parametrize("path", ["/fdr", "/fdr/x", "/founder", "/founder/x"])
async def test_operator_paths_want_an_operator(mesh: Mesh, path: str) -> None:
    answer = await mesh.ask(await mesh.operator(), path=path)
    assert answer.status == 200
    assert answer.arrived("x-auth-method") == ["api_key"]
    assert answer.arrived("x-tenant-id") == []
    assert (await mesh.ask(await mesh.tenant(), path=path)).why == (403, "auth", "operator_required")


@pytest.mark.parametrize("path", [RUNS, "/api/v1/runtime/x", "/api/v1/skills/x", "/api/v1/agents/x"])
async def test_offboard_006_sdk_is_blocked_while_suspended_reads_too(mesh: Mesh, path: str) -> None:
    assert (await mesh.ask(await mesh.tenant(lifecycle=("SUSPENDED",)), path=path)).why == (
        403,
        "lifecycle",
        "suspended",
    )
    unpaid = await mesh.tenant(billing="SUSPENDED")
    assert (await mesh.ask(unpaid, path=path)).why == (402, "billing", "suspended")
    assert (await mesh.ask(await mesh.tenant(), path=path)).status == 200


@pytest.mark.parametrize(
    ("method", "reads"), [("GET", True), ("HEAD", True), ("OPTIONS", True), ("POST", False), ("DELETE", False)]
)
async def test_standard_tells_reads_from_writes(mesh: Mesh, method: str, *, reads: bool) -> None:
    paused = await mesh.tenant(lifecycle=("SUSPENDED",))
    assert (await mesh.ask(paused, method)).status == (200 if reads else 403)
    unpaid = await mesh.tenant(billing="SUSPENDED")
    assert (await mesh.ask(unpaid, method)).status == (200 if reads else 402)


# The path rule


@pytest.mark.parametrize("path", ["/health/..%3b/api/v1/runs", "/a/%2e%2e;x/b", "/a%252fb"])
async def test_an_ambiguous_path_is_400(mesh: Mesh, path: str) -> None:
    answer = await mesh.ask(None, path=path)
    assert answer.why == (400, "request", "path")
    assert answer.body["error"] == "malformed_request"


@pytest.mark.parametrize("path", ["/api%2fv1%2fruns", "/a%5cb", "/a%00b"])
async def test_escaped_separators_are_400_whoever_sees_them_first(mesh: Mesh, path: str) -> None:
    assert (await mesh.ask(await mesh.tenant(), path=path)).status == 400


# 3.6, denials


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "exak_nonsense"},
        {"x-api-key": ""},
        {"authorization": "Bearer exak_nonsense"},
        {"authorization": "Bearer  exak_" + "a" * 24 + "_" + "a" * 52},
        {"x-api-key": "exak_" + "a" * 24 + "_" + "a" * 52},
    ],
)
async def test_what_does_not_verify_is_401(mesh: Mesh, headers: dict[str, str]) -> None:
    async with mesh.stack.http.get(mesh.stack.edge_url + THINGS, headers=headers) as answer:
        assert answer.status == 401
        assert answer.headers["x-extauthz-reason"] == "invalid_credentials"
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        body = orjson.loads(await answer.read())
    assert body["error"] == "unauthenticated"
    assert body["request_id"]


async def test_nothing_presented_is_401_without_an_error_in_the_challenge(mesh: Mesh) -> None:
    for basic in ({}, {"authorization": "Basic dXNlcjpwYXNz"}):
        answer = await mesh.ask(None, **basic)
        assert answer.why == (401, "auth", "missing_credentials")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/json"


async def test_revoked_and_terminated_keys_are_401(mesh: Mesh) -> None:
    name = await mesh.tenant()
    assert (await mesh.ask(name)).status == 200
    key_id = (await mesh.stack.admin("GET", f"/tenants/{name}/keys"))["keys"][0]["key_id"]
    await mesh.stack.admin("DELETE", f"/tenants/{name}/keys/{key_id}", {"reason": "test"})
    assert (await mesh.ask(name)).why == (401, "auth", "invalid_credentials")
    gone = await mesh.tenant(lifecycle=("TERMINATED", "ARCHIVED"))
    assert (await mesh.ask(gone)).why == (401, "auth", "invalid_credentials")


async def test_two_keys_of_different_tenants_are_401_and_of_one_tenant_pass(mesh: Mesh) -> None:
    one, other = await mesh.tenant(), await mesh.tenant()
    both = await mesh.ask(one, authorization=f"Bearer {mesh.keys[other]}")
    assert both.why == (401, "auth", "invalid_credentials")
    same = await mesh.ask(one, authorization=f"Bearer {mesh.keys[one]}")
    assert same.status == 200
    assert same.arrived("authorization") == same.arrived("x-api-key") == []


async def test_a_scope_that_is_missing_is_403(mesh: Mesh) -> None:
    assert (await mesh.ask(await mesh.tenant(), path="/scoped/x")).why == (403, "auth", "insufficient_scope")
    assert (await mesh.ask(await mesh.tenant(scopes=("reports",)), path="/scoped/x")).status == 200


async def test_lifecycle_denials_say_the_state_and_where_it_would_pass(mesh: Mesh) -> None:
    answer = await mesh.ask(await mesh.tenant(lifecycle=("SUSPENDED",)), "POST")
    assert answer.why == (403, "lifecycle", "suspended")
    assert answer.body["error"] == "lifecycle_blocked"
    assert answer.body["state"] == "SUSPENDED"
    assert answer.body["allowed_states"] == ["ACTIVE"]
    assert answer.body["message"]


async def test_no_such_tenant_is_403(mesh: Mesh) -> None:
    answer = await mesh.ask(await mesh.operator())
    assert answer.why == (403, "lifecycle", "tenant_unknown")
    assert answer.body["error"] == "tenant_unknown"


async def test_billing_suspended_is_402(mesh: Mesh) -> None:
    answer = await mesh.ask(await mesh.tenant(billing="SUSPENDED"), "POST")
    assert answer.why == (402, "billing", "suspended")
    assert answer.body["error"] == "billing_suspended"
    assert answer.body["billing_state"] == "SUSPENDED"
    assert answer.body["next_action"] == "contact_support"


async def test_the_day_quota_is_402_for_writes_and_counts_reads(mesh: Mesh) -> None:
    name = await mesh.tenant(plan="two-a-day")
    assert [(await mesh.ask(name)).status, (await mesh.ask(name, "POST")).status] == [200, 200]
    answer = await mesh.ask(name, "POST")
    assert answer.why == (402, "billing", "max_requests_per_day")
    told = {
        key: answer.body[key] for key in ("error", "limit", "current_value", "allowed_value", "plan", "billing_state")
    }
    assert told == {
        "error": "limit_exceeded",
        "limit": "max_requests_per_day",
        "current_value": 2,
        "allowed_value": 2,
        "plan": "two-a-day",
        "billing_state": "ACTIVE",
    }
    assert 1 <= int(answer.headers["retry-after"]) <= 86_400
    assert (await mesh.ask(name)).status == 200  # reads count and are not denied


async def test_rate_is_429_with_the_headers_of_the_limit(mesh: Mesh) -> None:
    name = await mesh.tenant(plan="slow")
    first = await mesh.ask(name)
    assert first.headers["x-ratelimit-limit"] == "3, 3;w=60"
    assert first.headers["x-ratelimit-remaining"] == "2"
    assert 1 <= int(first.headers["x-ratelimit-reset"]) <= 20
    await mesh.ask(name)
    await mesh.ask(name)
    used = (await mesh.stack.admin("GET", f"/tenants/{name}"))["usage"]
    answer = await mesh.ask(name)
    assert answer.why == (429, "protection", "rate")
    assert answer.body["error"] == "rate_limited"
    assert answer.body["dimension"] == "rate"
    assert 0 < answer.body["retry_after_ms"] <= 20_000
    assert int(answer.headers["retry-after"]) == -(-answer.body["retry_after_ms"] // 1000)
    assert answer.headers["x-envoy-ratelimited"] == "true"
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert (await mesh.stack.admin("GET", f"/tenants/{name}"))["usage"] == used  # a denied request consumed nothing


async def test_burst_is_throttled_with_503(mesh: Mesh) -> None:
    name = await mesh.tenant(plan="bursty")
    answers = [await mesh.ask(name) for _ in range(10)]
    denied = next(answer for answer in answers if answer.status != 200)
    assert denied.why == (503, "protection", "burst")
    assert denied.headers["retry-after"] == "1"
    assert denied.headers["x-envoy-ratelimited"] == "true"


async def test_cost_is_429_until_the_next_day(mesh: Mesh) -> None:
    name = await mesh.tenant(plan="cheap")
    assert [(await mesh.ask(name, "POST", RUNS)).status for _ in range(2)] == [200, 200]
    answer = await mesh.ask(name, "POST", RUNS)
    assert answer.why == (429, "protection", "cost")
    assert answer.body["error"] == "cost_limit_exceeded"
    assert (answer.body["current_value"], answer.body["allowed_value"]) == ("2", "2")
    assert (await mesh.ask(name, "POST")).status == 200  # what costs nothing goes on


# 3.6, allows


async def test_the_upstream_learns_who_calls_and_never_from_the_client(mesh: Mesh) -> None:
    name = await mesh.tenant()
    lies = {
        "x_tenant_id": "evil",
        "x_tenant_plan": "evil",
        "x_tenant_anything": "evil",
        "x_extauthz_degraded": "evil",
        "x_extauthz_foo": "evil",
        "x_auth_subject": "evil",
        "x_envoy_auth_failure_mode_allowed": "true",
    }
    answer = await mesh.ask(name, "POST", RUNS, **lies)
    assert answer.status == 200
    expected = {
        "x-tenant-id": name,
        "x-tenant-plan": "free",
        "x-tenant-lifecycle": "ACTIVE",
        "x-tenant-billing": "ACTIVE",
        "x-auth-method": "api_key",
        "x-auth-subject": mesh.keys[name].removeprefix("exak_")[:16],
    }
    assert {header: answer.arrived(header) for header in expected} == {key: [value] for key, value in expected.items()}
    assert "evil" not in str(answer.body)
    assert answer.arrived("x-envoy-auth-failure-mode-allowed") == answer.arrived("x-api-key") == []


async def test_on_public_paths_too_nobody_says_who_they_are(mesh: Mesh) -> None:
    answer = await mesh.ask(None, path="/health", x_tenant_id="evil", x_auth_method="evil", x_extauthz_foo="evil")
    assert answer.status == 200
    assert "evil" not in str(answer.body)


async def test_authorization_of_somebody_else_reaches_the_upstream(mesh: Mesh) -> None:
    answer = await mesh.ask(await mesh.tenant(), authorization="Basic dXNlcjpwYXNz")
    assert answer.arrived("authorization") == ["Basic dXNlcjpwYXNz"]


async def test_past_due_passes_and_the_client_is_told(mesh: Mesh) -> None:
    answer = await mesh.ask(await mesh.tenant(billing="PAST_DUE"), "POST", RUNS)
    assert (answer.status, answer.headers["x-billing-warning"]) == (200, "past_due")


async def test_underscores_in_header_names_are_refused_by_envoy(mesh: Mesh) -> None:
    async with mesh.stack.http.get(mesh.stack.edge_url + "/health", headers={"x_tenant_id": "evil"}) as answer:
        assert answer.status == 400


async def test_a_preflight_needs_no_key(mesh: Mesh) -> None:
    headers = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    async with mesh.stack.http.options(mesh.stack.edge_url + THINGS, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_the_access_log_says_what_was_decided(mesh: Mesh) -> None:
    name = await mesh.tenant()
    await mesh.ask(name, path="/logged/allow")
    await mesh.ask(None, path="/logged/deny")
    lines: dict[str, dict[str, Any]] = {}
    while len(lines) < 2:
        text = mesh.stack.envoy_log.read_text()
        lines = {
            line["path"]: line
            for line in map(orjson.loads, filter(is_json, text.splitlines()))
            if "logged" in str(line["path"])
        }
        await mesh.ask(None, path="/health")
    allow, deny = lines["/logged/allow"], lines["/logged/deny"]
    assert (allow["decision"], allow["gate"], allow["reason"], allow["tenant_id"]) == ("allow", "none", "none", name)
    assert (deny["decision"], deny["gate"], deny["reason"]) == ("deny", "auth", "missing_credentials")
    assert allow["decision_id"] != deny["decision_id"]


def is_json(line: str) -> bool:
    return line.startswith("{")


# gRPC callers


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("missing", grpc.StatusCode.UNAUTHENTICATED),
        ("invalid", grpc.StatusCode.UNAUTHENTICATED),
        ("suspended", grpc.StatusCode.PERMISSION_DENIED),
        ("unpaid", grpc.StatusCode.PERMISSION_DENIED),
        ("quota", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("rate", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("burst", grpc.StatusCode.UNAVAILABLE),
        ("path", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_grpc_caller_gets_the_grpc_status_of_the_row(mesh: Mesh, case: str, code: grpc.StatusCode) -> None:
    names = {
        "suspended": {"lifecycle": ("SUSPENDED",)},
        "unpaid": {"billing": "SUSPENDED"},
        "quota": {"plan": "two-a-day"},
        "rate": {"plan": "slow"},
        "burst": {"plan": "bursty"},
    }
    key = {"missing": None, "invalid": "exak_no", "path": None}.get(case, "")
    if key == "":
        key = mesh.keys[await mesh.tenant(**names[case])]  # type: ignore[arg-type]  # each row has its own arguments
    method = "/a/..%3by/Call" if case == "path" else "/pkg.Service/Call"
    codes = [await call(mesh, method, key) for _ in range(8)]
    assert codes[-1] is code


async def call(mesh: Mesh, method: str, key: str | None) -> grpc.StatusCode:
    metadata = (("x-api-key", key),) if key is not None else ()
    async with grpc.aio.insecure_channel(f"{HOST}:{mesh.stack.ports.edge}") as channel:
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        try:
            await stub(b"", metadata=metadata, timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


# Under load, and without the service


async def test_many_callers_at_once_get_exactly_the_limit(mesh: Mesh) -> None:
    name = await mesh.tenant(plan="slow")
    started = time.monotonic()
    answers = await asyncio.gather(*(mesh.ask(name) for _ in range(60)))
    elapsed = time.monotonic() - started
    passed = sum(answer.status == 200 for answer in answers)
    assert 3 <= passed <= 3 + elapsed * 3 / 60
    usage = (await mesh.stack.admin("GET", f"/tenants/{name}"))["usage"]
    assert usage == {"requests_today": passed, "cost_today": "0"}


async def test_a_service_that_cannot_be_asked_lets_nothing_through(tmp_path: Path) -> None:
    ports = free_ports()
    options = BootstrapOptions(
        listen=f"{HOST}:{ports.edge}",
        admin=f"{HOST}:{ports.envoy_admin}",
        checks=(f"{HOST}:{ports.checks}",),
        upstream=f"{HOST}:{ports.upstream}",
    )
    admin_url = f"http://{HOST}:{ports.envoy_admin}"
    async with (
        echo_upstream(HOST, ports.upstream),
        envoy(to_yaml(options), admin_url, tmp_path, await_healthy=False),
        aiohttp.ClientSession() as http,
        http.get(f"http://{HOST}:{ports.edge}/health") as answer,
    ):
        assert answer.status == 503
        assert b"arrived" not in await answer.read()
