"""Recovery by an operator (spec section 7): breakers, caches and bypasses of a running service, over HTTP and gRPC."""

import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.served import Served, eventually, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMBEDDED = """
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "memory:"}
  events: {url: "none:"}
plans:
  free: {name: Free, tier: FREE, limits: {rate: 1000000, burst: 1000000, max_requests_per_day: 2}}
default_plan: free
"""
DOWN: dict[str, object] = {"reason": "it is down"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(tmp_path_factory.mktemp("operator"), EMBEDDED) as started:
        yield started


async def mode(replica: Served, key: str, gate: str) -> tuple[bool, Any, Any]:
    """Whether a check is let through, with verdict and mode of one gate, as Envoy's access log has them."""
    answer = (await replica.check(key)).answer
    step: Any = answer.metadata[gate]
    return answer.allowed, step["verdict"], step["mode"]


async def trail(replica: Served, whose: str = "_system") -> list[tuple[str, str | None, str, str]]:
    _, content = await replica.admin("GET", f"/tenants/{whose}/history")
    return [(record["actor"]["id"], record["from"], record["to"], record["reason"]) for record in content["history"]]


# Breakers


async def test_every_breaker_is_listed(replica: Served) -> None:
    status, content = await replica.admin("GET", "/breakers")
    assert status == 200
    assert list(content) == ["breakers"]
    assert [breaker["provider"] for breaker in content["breakers"]] == [
        "credentials", "lifecycle", "billing", "protection",
    ]  # fmt: skip
    shown = {"provider": "lifecycle", "state": "closed", "failures": 0, "opened_for_ms": None, "retry_in_ms": None}
    assert content["breakers"][1] == shown


async def test_a_circuit_is_opened_and_closed_by_hand_and_shown_everywhere(replica: Served) -> None:
    await replica.tenant("circuit")
    assert await replica.admin("POST", "/breakers/billing/open", DOWN) == (
        200,
        {"provider": "billing", "state": "open"},
    )
    row = (await replica.admin("GET", "/breakers"))[1]["breakers"][2]
    assert (row["state"], row["opened_for_ms"] < 5_000, 40_000 < row["retry_in_ms"] <= 66_000) == ("open", True, True)
    _, health = await replica.admin("GET", "/health")
    assert (health["status"], health["opened_by_hand"]) == ("degraded", ["billing"])
    assert await replica.metric("provider_circuit_state", provider="billing") == 2

    status, body = await replica.admin("GET", "/tenants/circuit?fresh=1")
    assert (status, body["error"], body["provider"], body["reason"]) == (
        503, "provider_unavailable", "billing", "circuit_open",
    )  # fmt: skip
    assert "POST /breakers/billing/close" in body["detail"]
    assert 0 < body["retry_in_ms"] <= 66_000

    closed = await replica.admin("POST", "/breakers/billing/close", {"reason": "it is back"})
    assert closed == (200, {"provider": "billing", "state": "closed"})
    assert (await replica.admin("GET", "/tenants/circuit?fresh=1"))[0] == 200
    assert (await replica.admin("GET", "/health"))[1]["opened_by_hand"] == []
    assert (await trail(replica))[-2:] == [
        ("admin", "billing: closed", "billing: open", "it is down"),
        ("admin", "billing: open", "billing: closed", "it is back"),
    ]


async def test_a_fresh_look_up_fills_the_cache(replica: Served) -> None:
    await replica.tenant("looked-up")
    await replica.admin("DELETE", "/caches/lifecycle?tenant=looked-up", DOWN)
    assert (await replica.admin("GET", "/tenants/looked-up?fresh=1"))[1]["lifecycle"]["source"] == "provider"
    assert (await replica.admin("GET", "/tenants/looked-up"))[1]["lifecycle"]["source"] == "cache"


# Caches


async def test_every_cache_is_listed_with_its_size_and_hit_rate(replica: Served) -> None:
    key = await replica.tenant("cached")
    for _ in range(2):
        await replica.check(key, method="GET", path="/x")
    _, content = await replica.admin("GET", "/caches")
    caches = {(cache["provider"], cache["operation"]): cache for cache in content["caches"]}
    assert list(caches) == [
        ("credentials", "find_key"),
        ("credentials", "refused"),
        ("lifecycle", "find_lifecycle"),
        ("billing", "find_billing"),
        ("protection", "refused"),
    ]
    cache = caches["lifecycle", "find_lifecycle"]
    assert list(cache) == [
        "provider", "operation", "entries", "max_entries", "in_flight", "hits", "misses", "stale", "hit_rate",
    ]  # fmt: skip
    assert (cache["entries"] > 0, cache["hits"] > 0, 0 < cache["hit_rate"] <= 1) == (True, True, True)


async def test_a_cache_is_cleared_of_one_tenant_or_of_all(replica: Served) -> None:
    key = await replica.tenant("cleared")
    await replica.check(key)
    one = {"provider": "credentials", "tenant": "cleared", "cleared": 1, "kept": 0}
    assert await replica.admin("DELETE", "/caches/credentials?tenant=cleared", DOWN) == (200, one)
    assert (await trail(replica, "cleared"))[-1] == ("admin", None, "credentials: 1 cleared, 0 kept", "it is down")
    status, everything = await replica.admin("DELETE", "/caches/lifecycle", DOWN)
    assert (status, everything["tenant"], everything["cleared"] > 0) == (200, None, True)
    assert (await replica.check(key)).answer.allowed


async def test_clearing_brings_no_terminated_tenant_back_while_nobody_can_be_asked(replica: Served) -> None:
    key = await replica.tenant("ended")
    operator = await replica.tenant("going-on")
    await replica.admin("POST", "/tenants/ended/lifecycle", {"to": "SUSPENDED", "reason": "test"})
    await replica.check(key)
    await replica.admin("POST", "/breakers/lifecycle/open", DOWN)
    try:
        _, done = await replica.admin("DELETE", "/caches/lifecycle?tenant=ended", DOWN)
        assert (done["cleared"], done["kept"]) == (1, 1)
        answer = (await replica.check(key)).answer
        assert (answer.allowed, answer.http_status, answer.body["reason"]) == (False, 403, "suspended")
        assert (await replica.check(operator)).answer.allowed
    finally:
        await replica.admin("POST", "/breakers/lifecycle/close", DOWN)


# Bypass


async def test_a_bypassed_gate_lets_through_and_says_so_until_it_is_lifted(replica: Served) -> None:
    key = await replica.tenant("unpaid")
    await replica.admin("PUT", "/tenants/unpaid/billing", {"state": "SUSPENDED", "reason": "test"})
    assert await mode(replica, key, "billing") == (False, "deny", "enforce")

    before = time.time()
    status, made = await replica.admin("PUT", "/bypass/billing", {"ttl": "15m", "reason": 'a "quote"\nand a line'})
    assert (status, made["gate"], made["active"], list(made)) == (200, "billing", True, ["gate", "active", "until"])
    assert await mode(replica, key, "billing") == (True, "skip", "bypass")
    answer = (await replica.check(key)).answer
    assert (answer.metadata["degraded"], "x-extauthz-degraded" in answer.headers) == ("", False)

    row = (await replica.admin("GET", "/bypass"))[1]["bypass"][1]
    assert list(row) == ["gate", "active", "until", "reason", "source", "since"]
    assert (row["active"], row["reason"], row["source"]) == (True, 'a "quote"\nand a line', "operator")
    assert before - 1 <= _seconds(row["until"]) - 900 <= time.time() + 1
    _, health = await replica.admin("GET", "/health")
    assert (health["status"], list(health["bypassed"])) == ("ok", ["billing"])
    assert await replica.metric("gate_bypass_active", gate="billing") == 1

    lifted = await replica.admin("DELETE", "/bypass/billing", {"reason": "paid"})
    assert lifted == (200, {"gate": "billing", "active": False, "until": None})
    assert await mode(replica, key, "billing") == (False, "deny", "enforce")
    assert await replica.metric("gate_bypass_active", gate="billing") == 0
    assert (await replica.admin("GET", "/health"))[1]["bypassed"] == {}
    assert [record[3] for record in (await trail(replica))[-2:]] == ['a "quote"\nand a line', "paid"]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_a_bypass_ends_by_itself_without_any_traffic(replica: Served) -> None:
    await replica.admin("PUT", "/bypass/lifecycle", {"ttl": "300ms", "reason": "a moment"})
    assert await replica.metric("gate_bypass_active", gate="lifecycle") == 1

    async def over() -> bool:
        return await replica.metric("gate_bypass_active", gate="lifecycle") == 0

    assert await eventually(over, 5.0) >= 0.1
    assert (await trail(replica))[-1] == ("extauthz", "lifecycle: active", "lifecycle: inactive", "its time is over")


async def test_protection_bypassed_neither_counts_the_day_quota_nor_enforces_it(replica: Served) -> None:
    key = await replica.tenant("busy")
    for _ in range(2):
        assert (await replica.check(key)).answer.allowed
    assert (await replica.check(key)).answer.http_status == 402
    await replica.admin("PUT", "/bypass/protection", {"ttl": "1m", "reason": "test"})
    for _ in range(3):
        answer = (await replica.check(key)).answer
        assert (answer.allowed, "x-ratelimit-limit" in answer.to_client) == (True, False)
    assert (await replica.admin("GET", "/tenants/busy"))[1]["usage"]["requests_today"] == 2
    await replica.admin("DELETE", "/bypass/protection", {"reason": "test"})
    assert (await replica.check(key)).answer.http_status == 402


async def test_billing_bypassed_counts_the_quota_and_does_not_enforce_it(replica: Served) -> None:
    key = await replica.tenant("counted")
    await replica.admin("PUT", "/bypass/billing", {"ttl": "1m", "reason": "test"})
    for _ in range(3):
        assert (await replica.check(key)).answer.allowed
    assert (await replica.admin("GET", "/tenants/counted"))[1]["usage"]["requests_today"] == 3
    await replica.admin("DELETE", "/bypass/billing", {"reason": "test"})
    assert (await replica.check(key)).answer.http_status == 402


async def test_what_the_environment_bypasses_is_shown_warned_of_and_not_lifted(tmp_path: Path) -> None:
    async with served(tmp_path, EMBEDDED, {"LIFECYCLE_BYPASS": "1", "BILLING_BYPASS": "false"}) as replica:
        key = await replica.tenant("acme")
        await replica.admin("POST", "/tenants/acme/lifecycle", {"to": "SUSPENDED", "reason": "test"})
        assert await mode(replica, key, "lifecycle") == (True, "skip", "bypass")
        row = (await replica.admin("GET", "/bypass"))[1]["bypass"][0]
        assert (row["active"], row["until"], row["source"]) == (True, None, "environment")
        assert await replica.metric("gate_bypass_active", gate="lifecycle") == 1
        assert (await replica.admin("GET", "/health"))[1]["bypassed"] == {"lifecycle": None}
        for method, body in (("DELETE", DOWN), ("PUT", {"ttl": "1m", "reason": "x"})):
            status, refused = await replica.admin(method, "/bypass/lifecycle", body)
            assert (status, refused["error"]) == (409, "bypass_refused")
            assert "LIFECYCLE_BYPASS in the environment" in refused["detail"]
        reason = "LIFECYCLE_BYPASS is set in the environment"
        assert await trail(replica) == [("extauthz", "lifecycle: inactive", "lifecycle: active", reason)]
        attention = [line["detail"] for line in replica.log if line["event"] == "attention"]
        assert any("the lifecycle gate is bypassed" in detail for detail in attention)


async def test_a_bypass_that_ended_with_the_process_has_its_end_in_the_trail(tmp_path: Path) -> None:
    kept = EMBEDDED.replace("memory:", "sqlite:///state.db")
    async with served(tmp_path, kept) as first:
        await first.admin("PUT", "/bypass/billing", {"ttl": "15m", "reason": "it is down"})
    async with served(tmp_path, kept) as second:
        assert not any(row["active"] for row in (await second.admin("GET", "/bypass"))[1]["bypass"])
        last = (await trail(second))[-1]
        assert last == ("extauthz", "billing: active", "billing: inactive", "the process ended")
