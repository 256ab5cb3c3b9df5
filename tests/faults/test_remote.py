"""A provider over gRPC that freezes or is killed, behind a whole service: in time, degraded and said so, well again after it.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.remote_bench import another_process
from tests.served import Served, eventually, served

GRACE = 0.025
"""Seconds beyond a provider's deadline in which the answer is there (spec section 9)."""

CALLERS = 8

CONFIGURATION = """\
providers:
  credentials: {{url: "sqlite:///credentials.db"}}
  lifecycle: {{url: "{url}", cache: {{ttl: 50ms}}, breaker: {{reset: 2s}}}}
  billing: {{url: "{url}", cache: {{ttl: 50ms, plan_ttl: 50ms}}, breaker: {{reset: 2s}}}}
  protection: {{url: "{url}", breaker: {{reset: 2s}}}}
  events: {{url: "none:"}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
default_plan: big
"""


FILE = "state.db"


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, Served]]:
    """A provider server in a process of its own, its port, and a service that has it for all but credentials."""
    async with another_process(folder / FILE) as (process, port):
        url = f"grpc://127.0.0.1:{port}"
        async with served(folder, CONFIGURATION.format(url=url)) as replica:
            yield process, port, replica


async def checks(replica: Served, keys: list[str], rounds: int) -> float:
    """The seconds of the slowest of checks that were all allowed, so many at once as there are keys."""
    times: list[float] = []
    for _ in range(rounds):
        done = await asyncio.gather(*(replica.check(key) for key in keys))
        assert all(each.answer.allowed for each in done)
        times += [each.seconds for each in done]
    return max(times)


async def degraded(replica: Served, key: str) -> str:
    return (await replica.check(key)).answer.headers.get("x-extauthz-degraded", "")


async def keys_of(replica: Served) -> list[str]:
    keys = [await replica.tenant(f"t{number}") for number in range(CALLERS)]
    await checks(replica, keys, 3)  # warm: the connection is there, keys are cached
    return keys


async def well_again(replica: Served, keys: list[str]) -> None:
    async def fresh() -> bool:
        return not await degraded(replica, keys[0])

    # Reset + 10 %, one try, gRPC's own backoff, and the look of a slow machine. A try that comes before gRPC's costs another.
    assert await eventually(fresh) <= 2 * (2.0 * 1.1 + 0.5) + 0.5
    for provider in ("lifecycle", "billing", "protection"):
        assert await replica.circuit(provider) == "closed"
    assert await checks(replica, keys, 3) <= 0.1


async def test_a_frozen_provider_costs_its_deadline_until_the_circuit_opens_and_nothing_then(tmp_path: Path) -> None:
    async with behind(tmp_path) as (process, _, replica):
        keys = await keys_of(replica)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.1)  # what was cached is no longer fresh
            slowest = await checks(replica, keys, 6)
            assert slowest <= 0.5 + GRACE + 0.1 + GRACE  # lifecycle's deadline, then the charge's
            assert await checks(replica, keys, 5) <= 0.05
            assert await degraded(replica, keys[0]) == "lifecycle,billing,protection"
            assert await replica.circuit("lifecycle") == "open"
        finally:
            os.kill(process.pid, signal.SIGCONT)
        await well_again(replica, keys)


async def test_a_killed_provider_costs_nothing_and_its_successor_is_found(tmp_path: Path) -> None:
    async with behind(tmp_path) as (process, port, replica):
        keys = await keys_of(replica)
        process.kill()
        await process.wait()
        await asyncio.sleep(0.1)  # what was cached is no longer fresh
        assert await checks(replica, keys, 6) <= 0.1
        assert await degraded(replica, keys[0]) == "lifecycle,billing,protection"
        async with another_process(tmp_path / FILE, port):
            await well_again(replica, keys)
