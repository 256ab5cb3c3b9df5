"""`extauthz provider serve` in a process of its own, and replicas that have nothing but it."""

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.served import Served, _running, eventually, provided, served

BACKENDS = """\
providers:
  credentials: {url: "sqlite:///state.db"}
  lifecycle: {url: "sqlite:///state.db"}
  billing: {url: "sqlite:///state.db"}
  events: {url: "sqlite:///events.db"}
"""

REPLICA = """\
providers:
  credentials: {{url: "grpc://{address}"}}
  lifecycle: {{url: "grpc://{address}", cache: {{ttl: 1h}}}}
  billing: {{url: "grpc://{address}", cache: {{ttl: 1h}}}}
  protection: {{url: "grpc://{address}"}}
  events: {{url: "grpc://{address}"}}
"""


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made


async def reason_at(replica: Served, key: str) -> str:
    answer = (await replica.check(key)).answer
    return "allowed" if answer.allowed else str(answer.body["reason"])


async def test_replicas_run_on_nothing_but_a_provider_server(tmp_path: Path) -> None:
    async with provided(tmp_path, BACKENDS) as address:
        text = REPLICA.format(address=address)
        async with (
            served(folder(tmp_path, "one"), text) as one,
            served(folder(tmp_path, "two"), text) as two,
        ):
            key = await one.tenant("acme")
            assert await reason_at(two, key) == "allowed"
            done = await one.check(key)
            assert done.answer.to_client["x-ratelimit-remaining"] == "58"  # counted in one place
            status, usage = await two.admin(
                "POST", "/usage", {"tenant": "acme", "cost": "1.25", "idempotency_key": "k"}
            )
            assert (status, usage) == (200, {"cost_today": "1.25"})
            _, tenant = await one.admin("GET", "/tenants/acme")
            assert tenant["usage"] == {"requests_today": 2, "cost_today": "1.25"}

            await one.admin("PUT", "/tenants/acme/billing", {"state": "SUSPENDED", "reason": "unpaid"})

            async def suspended() -> bool:
                return await reason_at(two, key) == "suspended"

            assert await eventually(suspended) < 1.0
            status, moved = await one.admin("POST", "/tenants/acme/lifecycle", {"to": "TERMINATED", "reason": "over"})
            assert (status, moved["revoked_keys"]) == (200, 1)
            assert await reason_at(two, key) == "invalid_credentials"  # OFFBOARD-006: the very next check


async def test_only_what_was_asked_for_is_served_and_the_rest_cannot_be_changed_from_afar(tmp_path: Path) -> None:
    async with provided(tmp_path, BACKENDS, "--only", "billing") as address:
        async with grpc.aio.insecure_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            wanted = health_pb2.HealthCheckRequest(service="extauthz.provider.v1.BillingService")
            assert (await health.Check(wanted)).status == health_pb2.HealthCheckResponse.SERVING
            wanted = health_pb2.HealthCheckRequest(service="extauthz.provider.v1.LifecycleService")
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await health.Check(wanted)
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        text = f'providers: {{billing: {{url: "grpc://{address}"}}, lifecycle: {{url: "memory:"}}, credentials: {{url: "memory:"}}}}'
        async with served(folder(tmp_path, "one"), text) as replica:
            status, content = await replica.admin(
                "POST", "/tenants", {"id": "acme", "onboarding": "COMPLETE", "reason": "new"}
            )
            assert (status, content["billing"]["state"]) == (201, "TRIAL")  # the billing system says so itself
            status, content = await replica.admin("PUT", "/tenants/acme/billing", {"state": "ACTIVE", "reason": "paid"})
            assert (status, content["error"]) == (501, "not_supported")
            status, content = await replica.admin("POST", "/tenants", {"id": "b", "plan": "free", "reason": "new"})
            assert (status, content["error"]) == (501, "not_supported")
            assert "must be set there" in content["detail"]
            _, exported = await replica.admin("GET", "/tenants?billing=1")
            assert [tenant["id"] for tenant in exported["tenants"]] == ["acme", "b"]


async def test_a_server_that_is_read_only_is_enough_to_answer_checks_and_lets_nobody_change_anything(
    tmp_path: Path,
) -> None:
    async with (
        served(folder(tmp_path, "owner"), BACKENDS.replace("state.db", f"{tmp_path}/state.db")) as owner,
        provided(tmp_path, BACKENDS, "--read-only") as address,
        served(folder(tmp_path, "one"), REPLICA.format(address=address)) as one,
    ):
        key = await owner.tenant("acme")
        done = await one.check(key)
        assert done.answer.allowed
        assert done.answer.to_client["x-ratelimit-remaining"] == "59"
        suspended = {"to": "SUSPENDED", "reason": "unpaid"}
        for method, path, body in (
            ("POST", "/tenants", {"id": "globex", "reason": "new"}),
            ("POST", "/tenants/acme/lifecycle", suspended),
            ("POST", "/tenants/acme/keys", {"reason": "new"}),
            ("DELETE", "/ratelimits?tenant=acme", {"reason": "why not"}),
        ):
            status, content = await one.admin(method, path, body)
            assert (status, content["error"]) == (501, "not_supported"), path
        status, _ = await owner.admin("POST", "/tenants/acme/lifecycle", suspended)
        assert status in (200, 202)

        async def refused() -> bool:
            return await reason_at(one, key) == "suspended"

        assert await eventually(refused) < 2.0  # the change log is served all the same


async def test_a_server_that_others_can_reach_says_so_before_it_serves(tmp_path: Path) -> None:
    for number, (listen, told) in enumerate({"127.0.0.1:0": 0, "0.0.0.0:0": 1}.items()):
        command = ["provider", "serve", "--listen", listen]
        async with _running(folder(tmp_path, str(number)), BACKENDS, command, {}) as (_, log, _):
            assert [line["event"] for line in log][-1] == "serving"
            said = [line["detail"] for line in log if line["event"] == "attention"]
        assert len(said) == told
        assert all("issue keys" in each for each in said)
