"""A large configuration is reloaded: in this process, where the loop can be looked at every millisecond.

What is measured is the processor's time that other threads of the process took in between, so that other work on the machine
does not count.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

from extauthz import config, wiring
from extauthz.wiring.reload import REST, ConfigSource, Reloader
from extauthz.wiring.service import Service
from tests.faults.conftest import Figures
from tests.pace import SLACK
from tests.ports import HOST

PROVIDERS: Final = """\
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "memory:"}
  protection: {snapshot: null}
  events: {url: "none:"}
"""
LONGEST: Final = 0.05


def large(rate: int) -> str:
    """1,000 plans and 1,000 routes, half of them regular expressions."""
    plans = "".join(f"  p{number}: {{name: P, tier: PRO, limits: {{rate: {rate}}}}}\n" for number in range(1000))
    routes = "".join(
        f"  - {{prefix: /x{number}, class: sdk}}\n  - {{regex: '/v[0-9]/y{number}/.*', class: sdk}}\n"
        for number in range(500)
    )
    return f"{PROVIDERS}plans:\n{plans}default_plan: p0\nroutes:\n{routes}"


async def held_up(running: Service, wanted: asyncio.Event) -> float:
    """Seconds of work for which the loop had to wait, at its longest, while the configuration was read again and taken over."""
    before, worst = running.live.last, 0.0
    wanted.set()
    while running.live.last is before:
        at = time.process_time()
        await asyncio.sleep(0.001)
        worst = max(worst, time.process_time() - at)
    return worst


async def test_a_reload_of_1000_routes_and_1000_plans_does_not_hold_up_the_loop(
    tmp_path: Path, figures: Figures
) -> None:
    file = tmp_path / "extauthz.yaml"
    flags = {"server.listen": f"{HOST}:0", "admin.listen": f"{HOST}:0", "server.drain": "0s"}
    file.write_text(large(1))
    times: list[float] = []
    async with wiring.service(config.load(file, {}, flags).config, {}) as running:
        wanted = asyncio.Event()
        source = ConfigSource(load=lambda content: config.load(content, {}, flags), file=file)
        reloader = Reloader(source, running.live, wanted)
        reloading = asyncio.create_task(reloader.run())
        for rate in range(2, 7):
            file.write_text(large(rate))
            times.append(await held_up(running, wanted))
            assert running.live.plans.default.limits.rate == rate
            await asyncio.sleep(REST)
            if min(times) <= LONGEST * SLACK:
                break
        reloading.cancel()
    best = min(times)  # a collection of garbage may fall into any of them
    figures.note(
        "reload of 1,000 routes and 1,000 plans: the loop waits for",
        f"{best * 1000:.0f} ms",
        f"{LONGEST * 1000:.0f} ms",
        met=best <= LONGEST,
    )
    assert best <= LONGEST * SLACK
