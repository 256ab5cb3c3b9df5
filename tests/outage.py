"""An outage of providers behind a whole service: its configuration, the checks that go on meanwhile, and what counts as in time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tests.pace import ATTEMPTS, SLACK
from tests.served import Served

GRACE: Final = 0.025
"""Seconds beyond a provider's deadline in which the answer is there (spec section 9)."""

CALLERS: Final = 8

_CONFIGURATION: Final = """\
providers:
  credentials: {{url: "sqlite:///credentials.db"}}
  lifecycle: {{url: "{state}", cache: {{ttl: 50ms}}, breaker: {{reset: 2s}}}}
  billing: {{url: "{state}", cache: {{ttl: 50ms, plan_ttl: 50ms}}, breaker: {{reset: 2s}}}}
  protection: {{url: "{protection}", breaker: {{reset: 2s}}}}
  events: {{url: "none:"}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
default_plan: big
"""


def configuration(state: str, protection: str) -> str:
    """A service whose callers are known whatever happens, and whose other providers are at these URLs."""
    return _CONFIGURATION.format(state=state, protection=protection)


async def checks(replica: Served, keys: list[str], rounds: int) -> float:
    """The seconds of the slowest of checks that were all allowed, so many at once as there are keys."""
    times: list[float] = []
    for _ in range(rounds):
        done = await asyncio.gather(*(replica.check(key) for key in keys))
        assert all(each.answer.allowed for each in done)
        times += [each.seconds for each in done]
    return max(times)


async def degraded(replica: Served, key: str) -> str:
    """The gates that answered a check without their provider."""
    return (await replica.check(key)).answer.headers.get("x-extauthz-degraded", "")


async def keys_of(replica: Served) -> list[str]:
    """Keys of so many new tenants, with everything warm: connections are there, keys are cached."""
    keys = [await replica.tenant(f"t{number}") for number in range(CALLERS)]
    await checks(replica, keys, 3)
    return keys


async def in_time(cycle: Callable[[], Awaitable[float]], *deadlines: float) -> None:
    """That the slowest answer of an outage comes by the deadlines, one after the other, and GRACE for each.

    `cycle` is one outage from beginning to end, and tells its slowest answer. Of that the best of a few counts, by the measure
    of `tests/pace.py`; what else a cycle finds counts each time.
    """
    due = (sum(deadlines) + GRACE * len(deadlines)) * SLACK
    slowest: list[float] = []
    while not slowest or (min(slowest) > due and len(slowest) < ATTEMPTS):
        slowest.append(await cycle())
    assert min(slowest) <= due
    assert max(slowest) <= 2 * due + 0.2
