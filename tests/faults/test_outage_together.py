"""Lifecycle, billing and protection down at the same time: authenticated traffic flows (spec sections 4 and 9)."""

import asyncio
import time
from pathlib import Path
from typing import Final

import pytest

from tests.column import RATE, Column, column
from tests.misbehaving import WAYS
from tests.mix import assert_right
from tests.open_loop import Answers, offered
from tests.outage import in_time
from tests.outage_promises import Notes
from tests.served import Served, eventually

ENVOYS_DEFAULT: Final = 0.2
ONCE_OPEN: Final = 0.005
PROVIDERS: Final = {"lifecycle": "postgresql", "billing": "postgresql", "protection": "redis"}


async def p99_of_checks(replica: Served, key: str) -> float:
    """Seconds, of checks that come evenly, one after the other, with no Envoy between."""
    seconds: list[float] = []
    for _ in range(300):
        done = await replica.check(key)
        assert done.answer.allowed
        assert done.answer.headers["x-extauthz-degraded"] == "lifecycle,billing,protection"
        seconds.append(done.seconds)
        await asyncio.sleep(0.002)
    return sorted(seconds)[int(0.99 * len(seconds))]


async def circuits(at: Column, state: str) -> float:
    async def all_are() -> bool:
        return all([await at.replica.circuit(each) == state for each in PROVIDERS])

    return await eventually(all_are)


@pytest.mark.long_form
async def test_envoy_at_200_ms_with_everything_hung_answers_in_time_from_the_first_request_on_and_in_5_ms_once_open(
    tmp_path: Path, figures: Notes
) -> None:
    async with column(tmp_path, PROVIDERS, patience=ENVOYS_DEFAULT) as at:
        key = next(each.headers["x-api-key"] for each in at.requests if each.name == "good")
        assert_right(await offered(at.edge.port, at.requests, rate=RATE, seconds=1.0))
        slowest, p99s = 0.0, [0.0, 0.0]

        async def outage() -> float:
            nonlocal slowest, p99s
            places = {id(each): each for each in at.places.values()}.values()
            for each in places:
                WAYS["frozen"].begin(each)
            try:
                answers = await offered(at.edge.port, at.requests, rate=RATE, seconds=1.5, connections=200)
                given_up = answers.with_status(503)  # by Envoy, which had waited long enough
                assert {each.reason for each in given_up} <= {""}
                assert_right(Answers([each for each in answers if each not in given_up]))
                slowest = answers.slowest()
                await circuits(at, "open")
                begin = time.monotonic()
                answers = await offered(at.edge.port, at.requests, rate=RATE, seconds=2.0)
                assert_right(answers)
                p99s = [await p99_of_checks(at.replica, key), answers.between(begin, begin + 3.0).percentile(0.99)]
            finally:
                for each in places:
                    WAYS["frozen"].end(each)
            await circuits(at, "closed")
            return len(given_up) + max(max(p99s) - ONCE_OPEN, 0.0)

        await in_time(outage)  # with nothing beyond what is allowed
        figures.note("three providers hung, Envoy at 200 ms: requests that it gave up", "0", "0", met=True)
        figures.note("three providers hung, Envoy at 200 ms: slowest answer", f"{slowest * 1000:.0f} ms")
        for where, p99 in zip(("checks", "through Envoy"), p99s, strict=True):
            figures.note(
                f"three providers down, once open, {where}: p99", f"{p99 * 1000:.1f} ms", "5 ms", met=p99 <= ONCE_OPEN
            )
