"""An operator closes a circuit, clears a cache, sets a bypass while the database hangs: done within a second, and logged."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, shared
from tests.served import eventually, served


@pytest.fixture
def frozen_later() -> Iterator[PostgresServer]:
    """The server, thawed at the end whatever happens."""
    try:
        yield shared()
    finally:
        shared().thaw()


async def test_an_operator_is_served_within_a_second_while_the_database_hangs(
    tmp_path: Path, frozen_later: PostgresServer
) -> None:
    with shared().database() as url:
        configuration = f"""
providers:
  credentials: {{url: "memory:"}}
  lifecycle: {{url: "{url}", breaker: {{failures: 3, window: 10s, reset: 1h}}, cache: {{ttl: 100ms}}}}
  billing: {{url: "{url}"}}
  events: {{url: "none:"}}
"""
        async with served(tmp_path, configuration) as replica:
            key = await replica.tenant("acme")
            await replica.check(key)
            frozen_later.freeze()

            async def opened() -> bool:
                assert (await replica.check(key)).answer.allowed
                return await replica.circuit("lifecycle") == "open"

            await eventually(opened, 30.0)
            deeds: list[tuple[str, str, dict[str, object]]] = [
                ("POST", "/breakers/lifecycle/close", {"reason": "try it"}),
                ("DELETE", "/caches/billing", {"reason": "stale"}),
                ("PUT", "/bypass/lifecycle", {"ttl": "10m", "reason": "go on"}),
                ("DELETE", "/bypass/lifecycle", {"reason": "decide again"}),
            ]
            for method, path, body in deeds:
                started = time.monotonic()
                status, _ = await replica.admin(method, path, body)
                assert (status, time.monotonic() - started < 1.0) == (200, True), path
            await eventually(opened, 30.0)  # by the rule, for it still fails
            frozen_later.thaw()
            logged = [line["reason"] for line in replica.log if line["event"] == "audit_record"]
            assert logged == ["try it", "stale", "go on", "decide again"]

            assert (await replica.admin("GET", "/tenants/acme?fresh=1"))[0] == 503
            await replica.admin("POST", "/breakers/lifecycle/close", {"reason": "the database is back"})
            await replica.admin("POST", "/breakers/billing/close", {"reason": "the database is back"})

            async def fresh() -> bool:
                return (await replica.admin("GET", "/tenants/acme?fresh=1"))[0] == 200

            await eventually(fresh, 20.0)
