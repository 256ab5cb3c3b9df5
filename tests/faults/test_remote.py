"""A provider over gRPC that freezes or is killed, behind a whole service: in time, degraded and said so, well again after it.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.outage import checks, configuration, degraded, in_time, keys_of
from tests.pace import SLACK
from tests.remote_bench import another_process
from tests.served import Served, eventually, served

FILE = "state.db"


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, Served]]:
    """A provider server in a process of its own, its port, and a service that has it for all but credentials."""
    async with another_process(folder / FILE) as (process, port):
        url = f"grpc://127.0.0.1:{port}"
        async with served(folder, configuration(url, url)) as replica:
            yield process, port, replica


async def well_again(replica: Served, keys: list[str]) -> None:
    async def fresh() -> bool:
        return not await degraded(replica, keys[0])

    # Reset + 10 %, one try, gRPC's own backoff, and the look of a slow machine. A try that comes before gRPC's costs another.
    assert await eventually(fresh) <= (2 * (2.0 * 1.1 + 0.5) + 1.0) * SLACK
    for provider in ("lifecycle", "billing", "protection"):
        assert await replica.circuit(provider) == "closed"
    assert await checks(replica, keys, 3) <= 0.2 * SLACK


async def test_a_frozen_provider_costs_its_deadline_until_the_circuit_opens_and_nothing_then(tmp_path: Path) -> None:
    async with behind(tmp_path) as (process, _, replica):
        keys = await keys_of(replica)

        async def outage() -> float:
            os.kill(process.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(0.1)  # what was cached is no longer fresh
                slowest = await checks(replica, keys, 6)
                assert await checks(replica, keys, 5) <= 0.08 * SLACK  # nobody waits for a deadline any more
                assert await degraded(replica, keys[0]) == "lifecycle,billing,protection"
                assert await replica.circuit("lifecycle") == "open"
            finally:
                os.kill(process.pid, signal.SIGCONT)
            await well_again(replica, keys)
            return slowest

        await in_time(outage, 0.5, 0.1)  # lifecycle's deadline, then the charge's


async def test_a_killed_provider_costs_nothing_and_its_successor_is_found(tmp_path: Path) -> None:
    async with behind(tmp_path) as (process, port, replica):
        keys = await keys_of(replica)
        process.kill()
        await process.wait()
        await asyncio.sleep(0.1)  # what was cached is no longer fresh
        assert await checks(replica, keys, 6) <= 0.1 * SLACK
        assert await degraded(replica, keys[0]) == "lifecycle,billing,protection"
        async with another_process(tmp_path / FILE, port):
            await well_again(replica, keys)
