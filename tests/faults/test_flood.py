"""One tenant floods while others work, through the bundled Envoy: what it costs them.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from tests.edge import Edge, edge
from tests.fault_proxy import Delay, FaultProxy
from tests.faults.conftest import Figures
from tests.open_loop import Answer, Answers, Request, offered
from tests.overload import CONFIGURATION, fallbacks
from tests.redis_server import single
from tests.served import Served, served


async def others_and_loud(
    envoy: Edge, others: list[Request], loud: list[Request], rate: float, seconds: float
) -> Answers:
    """The answers to the others, 100 a second, while the loud one sends so many; both together."""
    both = [offered(envoy.port, others, rate=100, seconds=seconds)]
    if rate:
        both.append(offered(envoy.port, loud, rate=rate, seconds=seconds))
    return Answers([each for answers in await asyncio.gather(*both) for each in answers])


async def _people(replica: Served) -> tuple[list[Request], list[Request]]:
    """What ten tenants ask, and what the loud one does."""
    others = [Request(name="other", headers={"x-api-key": await replica.tenant(f"t{number}")}) for number in range(10)]
    return others, [Request(name="loud", headers={"x-api-key": await replica.tenant("loud")})]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The others beside floods: their p99 over that without, the median of all rounds; how many did not get their full answer.

    `loud` are the answers to the one that floods, round by round, `tried` the ratios of all rounds.
    """

    ratio: float
    disturbed: int
    loud: list[Answers]
    tried: str

    @property
    def well(self) -> bool:
        return self.ratio <= 2 and not self.disturbed


async def _beside(envoy: Edge, people: tuple[list[Request], list[Request]], rate: float, *, full: bool) -> Beside:
    """Rounds without and with the flood by turns, always as many."""
    seconds = 6.0 if full else 1.5
    ratios: list[float] = []
    beside: list[Answer] = []
    loud: list[Answers] = []
    for _ in range(5 if full else 3):
        quiet = await others_and_loud(envoy, *people, rate=0, seconds=seconds)
        both = await others_and_loud(envoy, *people, rate=rate, seconds=seconds)
        others = both.named("other")
        ratios.append(others.percentile(0.99) / quiet.percentile(0.99))
        beside += [*quiet, *others]
        loud.append(both.named("loud"))
    disturbed = sum(1 for each in beside if each.status != 200 or each.degraded)
    tried = ", ".join(f"{each:.2f}" for each in ratios)
    return Beside(ratio=median(ratios), disturbed=disturbed, loud=loud, tried=tried)


def _note(figures: Figures, what: str, found: Beside) -> None:
    measured = f"{found.ratio:.2f} times (rounds: {found.tried})"
    figures.note(f"one tenant floods, {what}: p99 of the others", measured, "2 times", met=found.well)
    assert found.ratio <= 2
    assert found.disturbed == 0


@pytest.mark.long_form
async def test_a_tenant_that_sends_ten_times_its_limit_does_not_slow_the_others_beyond_twice_their_p99(
    tmp_path: Path, figures: Figures, *, full: bool
) -> None:
    configuration = CONFIGURATION.format(max_checks=1024, protection="memory:")
    async with served(tmp_path, configuration) as replica, edge(tmp_path, replica.checks) as envoy:
        people = await _people(replica)
        status, _ = await replica.admin("PUT", "/tenants/loud/billing", {"plan": "small", "reason": "test"})
        assert status == 200
        found = await _beside(envoy, people, rate=600, full=full)
        for loud in found.loud:
            assert set(loud.statuses()) <= {200, 429, 503}
            assert {each.reason for each in loud if each.status != 200} <= {"rate", "burst"}
            elapsed = max(each.ended for each in loud) - loud[0].at
            assert len(loud.with_status(200)) <= 60 + 60 * elapsed
        assert await fallbacks(replica) == 0
        _note(figures, "ten times its limit", found)


@pytest.mark.long_form
async def test_a_tenant_that_holds_its_share_of_the_calls_to_a_slow_redis_does_not_delay_the_others(
    tmp_path: Path, figures: Figures, *, full: bool
) -> None:
    """250 a second of 100 ms are 25 at once, and 16 of 64 are its share: the rest waits its turn or is counted in process."""
    with single() as redis, FaultProxy(port=redis.port) as proxy:
        url = f'{proxy.behind(redis.url)}", timeout: "400ms'
        async with (
            served(tmp_path, CONFIGURATION.format(max_checks=1024, protection=url)) as replica,
            edge(tmp_path, replica.checks) as envoy,
        ):
            people = await _people(replica)
            await others_and_loud(envoy, *people, rate=100, seconds=0.5)  # connections are there
            proxy.fail(Delay(back=0.1))
            found = await _beside(envoy, people, rate=250, full=full)
            for loud in found.loud:
                assert set(loud.statuses()) == {200}
                assert {each.degraded for each in loud} == {"", "protection"}
            assert (
                await replica.metric("gate_fallbacks_total", gate="protection", reason="bulkhead", answer="local") > 0
            )
            assert await replica.circuit("protection") == "closed"
            _note(figures, "its share of a slow Redis", found)
