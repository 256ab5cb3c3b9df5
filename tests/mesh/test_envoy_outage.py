"""Stores that are gone, through a real Envoy: auth never lets anybody in, gates do as they are told (spec sections 3.6 and 4)."""

from pathlib import Path

import orjson
import pytest

from extauthz.demo.stack import Stack, free_ports, running_stack

CONFIGURATION = """\
server: {{drain: 0s}}
providers:
  credentials: {{url: "{credentials}"}}
  lifecycle: {{url: "sqlite:///{directory}/lifecycle.db", cache: {{ttl: 1ms, max_stale: 0s}}}}
  billing: {{url: "memory:"}}
  events: {{url: "memory:"}}
gates:
  lifecycle: {{on_failure: {on_failure}}}
"""


async def a_key(stack: Stack) -> str:
    await stack.admin("POST", "/tenants", {"id": "acme", "onboarding": "COMPLETE", "reason": "test"})
    key: str = (await stack.admin("POST", "/tenants/acme/keys", {"reason": "test"}))["key"]
    return key


def lose(directory: Path, name: str) -> None:
    for file in directory.glob(f"{name}.db*"):
        if file.suffix != ".pepper":
            file.unlink()


async def answer(stack: Stack, key: str) -> tuple[int, str, str, dict[str, object]]:
    url = f"{stack.edge_url}/api/v1/things"
    async with stack.http.get(url, headers={"x-api-key": key}) as got:
        headers, body = got.headers, orjson.loads(await got.read())
        if got.status == 200:
            return 200, "", "", dict(body["arrived"]["headers"])
        assert int(headers["retry-after"]) >= 1
        return got.status, headers["x-extauthz-gate"], headers["x-extauthz-reason"], body


async def test_without_its_store_auth_is_503_and_a_forged_key_still_401(tmp_path: Path) -> None:
    text = CONFIGURATION.format(
        directory=tmp_path, credentials=f"sqlite:///{tmp_path}/credentials.db", on_failure="open"
    )
    async with running_stack(text, tmp_path, free_ports()) as stack:
        key = await a_key(stack)
        lose(tmp_path, "credentials")
        status, gate, reason, body = await answer(stack, key)
        assert (status, gate, reason, body["error"]) == (503, "auth", "provider_unavailable", "auth_unavailable")
        url = f"{stack.edge_url}/api/v1/things"
        async with stack.http.get(url, headers={"x-api-key": "exak_" + "a" * 24 + "_" + "a" * 52}) as forged:
            assert forged.status == 401


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_without_its_store_lifecycle_fails_as_it_is_set(tmp_path: Path, on_failure: str) -> None:
    text = CONFIGURATION.format(directory=tmp_path, credentials="memory:", on_failure=on_failure)
    async with running_stack(text, tmp_path, free_ports()) as stack:
        key = await a_key(stack)
        lose(tmp_path, "lifecycle")
        for _ in range(5):  # before and after the circuit opened
            status, gate, reason, body = await answer(stack, key)
            if on_failure == "open":
                assert status == 200
                assert (body["x-extauthz-degraded"], body["x-tenant-lifecycle"]) == ("lifecycle", "ACTIVE")
            else:
                assert (status, gate, reason) == (503, "lifecycle", "provider_unavailable")
                assert body["error"] == "gate_unavailable"
