"""What an operator's calls refuse (faults.md, "Admin"), and two at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.served import TOKEN, Served, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMBEDDED = """
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "memory:"}
  events: {url: "none:"}
"""
DOWN: dict[str, object] = {"reason": "it is down"}
CHANGES: list[tuple[str, str, dict[str, object]]] = [
    ("POST", "/breakers/billing/close", DOWN),
    ("DELETE", "/caches/billing", DOWN),
    ("PUT", "/bypass/billing", {"ttl": "1m", "reason": "x"}),
    ("DELETE", "/bypass/billing", DOWN),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with served(tmp_path_factory.mktemp("operator"), EMBEDDED) as started:
        yield started


async def trail(replica: Served, whose: str = "_system") -> list[tuple[str, str | None, str, str]]:
    _, content = await replica.admin("GET", f"/tenants/{whose}/history")
    return [(record["actor"]["id"], record["from"], record["to"], record["reason"]) for record in content["history"]]


@pytest.mark.parametrize(("method", "path", "body"), [*CHANGES, ("GET", "/breakers", {}), ("GET", "/caches", {})])
@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({}, 401, "unauthorized"),
        ({"authorization": "Bearer wrong"}, 401, "unauthorized"),
        ({"authorization": f"Bearer {TOKEN}", "host": "evil.example"}, 403, "foreign_host"),
        ({"authorization": f"Bearer {TOKEN}", "origin": "https://evil.example"}, 403, "foreign_origin"),
    ],
)
async def test_nobody_operates_it_without_the_token_or_from_elsewhere(
    replica: Served, method: str, path: str, body: dict[str, object], headers: dict[str, str], status: int, error: str
) -> None:
    async with replica.http.request(method, replica.admin_url + path, json=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]) == (status, error)
    assert not any(row["active"] for row in (await replica.admin("GET", "/bypass"))[1]["bypass"])


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_a_change_needs_a_reason_and_takes_nothing_else(
    replica: Served, method: str, path: str, body: dict[str, object]
) -> None:
    rest = {name: value for name, value in body.items() if name != "reason"}
    for wrong in (
        rest,
        rest | {"reason": " "},
        rest | {"reason": "a\0b"},
        rest | {"reason": 1},
        body | {"force": True},
    ):
        status, answer = await replica.admin(method, path, wrong)
        assert (status, answer["error"]) == (400, "invalid_request"), wrong
    status, answer = await replica.admin(method, f"{path}?tenat=x", body)
    assert (status, answer["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_a_change_without_a_body_is_told_what_to_send(
    replica: Served, method: str, path: str, body: dict[str, object]
) -> None:
    fields = ", ".join(f'"{name}": …' for name in body)
    told = {"error": "invalid_request", "detail": f"there is no body; send {{{fields}}}"}
    assert await replica.admin(method, path) == (400, told)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/breakers/banana/close", 404),
        ("POST", "/breakers/events/close", 404),
        ("POST", "/breakers/billing/half_open", 404),
        ("GET", "/breakers/billing/close", 405),
        ("PUT", "/breakers/billing/close", 405),
        ("DELETE", "/caches/banana", 404),
        ("GET", "/caches/billing", 405),
        ("DELETE", "/caches/billing?tenant=../x", 400),
        ("DELETE", "/caches/billing?tenant=", 400),
        ("DELETE", "/bypass/banana", 404),
        ("POST", "/bypass/billing", 405),
        ("DELETE", "/bypass/auth", 409),
    ],
)
async def test_what_is_not_there_is_not_set(replica: Served, method: str, path: str, status: int) -> None:
    assert (await replica.admin(method, path, DOWN))[0] == status


@pytest.mark.parametrize("ttl", ["24.1h", "2d", "0s", "-1m", "15", "", None, 900, 900.0, True, ["15m"], "1m;"])
async def test_a_bypass_has_a_time_of_at_most_a_day(replica: Served, ttl: object) -> None:
    status, answer = await replica.admin("PUT", "/bypass/billing", {"ttl": ttl, "reason": "x"})
    assert (status, answer["error"], answer["detail"].startswith("ttl:")) == (400, "invalid_request", True)
    assert (await replica.admin("PUT", "/bypass/billing", {"reason": "x"}))[0] == 400


async def test_a_bypass_may_last_a_whole_day(replica: Served) -> None:
    assert (await replica.admin("PUT", "/bypass/billing", {"ttl": "24h", "reason": "x"}))[0] == 200
    assert (await replica.admin("DELETE", "/bypass/billing", DOWN))[0] == 200


async def test_auth_has_no_bypass(replica: Served) -> None:
    status, answer = await replica.admin("PUT", "/bypass/auth", {"ttl": "1m", "reason": "x"})
    assert (status, answer["error"]) == (409, "bypass_refused")
    assert "there is no bypass for auth" in answer["detail"]


async def test_two_opposite_changes_at_once_are_one_after_the_other_and_both_audited(replica: Served) -> None:
    known = len(await trail(replica))
    await asyncio.gather(
        replica.admin("PUT", "/bypass/billing", {"ttl": "1m", "reason": "on"}),
        replica.admin("DELETE", "/bypass/billing", {"reason": "off"}),
        replica.admin("POST", "/breakers/protection/open", {"reason": "open"}),
        replica.admin("POST", "/breakers/protection/close", {"reason": "close"}),
    )
    records = (await trail(replica))[known:]
    assert sorted(record[3] for record in records) == ["close", "off", "on", "open"]
    for what in ("billing", "protection"):
        first, second = (record for record in records if what in record[2])
        assert second[1] == first[2] or first[1] == first[2]  # or the first of the two found nothing to undo
    await replica.admin("DELETE", "/bypass/billing", DOWN)
    await replica.admin("POST", "/breakers/protection/close", DOWN)
