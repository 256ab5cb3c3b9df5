"""More than the service can do: ten times its capacity through the bundled Envoy, and one tenant that floods while others work.

Run one after the other, with nothing beside them: what is promised here is time.

Load generator, Envoy and service share the machine. So the replica is held to a quarter of a core, as a container's limit would,
which leaves the others enough to offer ten times what it can do; and its capacity is measured by the same generator through
the same Envoy, with as many requests in flight as the service takes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.edge import Edge, edge
from tests.fault_proxy import Delay, FaultProxy
from tests.faults.conftest import Figures
from tests.health import serving, status_of
from tests.open_loop import Answers, Request, offered
from tests.redis_server import single
from tests.served import Served, served
from tests.throttle import throttled

CORES: Final = 0.25
MAX_CHECKS: Final = 128
"""Half a second's worth of what a quarter of a core can do, as docs/performance.md advises."""

ATTEMPTS: Final = 3

CONFIGURATION: Final = """\
server: {{max_checks: {max_checks}}}
providers:
  protection: {{url: "{protection}"}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
  small: {{name: Small, tier: PRO, limits: {{rate: 3600, burst: 60}}}}
default_plan: big
"""


async def fallbacks(replica: Served) -> float:
    """How many times a gate answered without its provider."""
    async with replica.http.get(f"{replica.admin_url}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    samples = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == "gate_fallbacks_total")


# Ten times capacity


@dataclass
class Watched:
    """How often the service was asked whether it lives, and how often it said so in time."""

    asked: int = 0
    well: int = 0

    async def watch(self, replica: Served) -> None:
        """Until cancelled."""
        while True:
            self.asked += 2
            self.well += await serving(replica.channel)
            async with asyncio.timeout(1.0):
                self.well += await status_of(replica, "/healthz") == 200
            await asyncio.sleep(0.2)


@asynccontextmanager
async def watching(replica: Served) -> AsyncIterator[Watched]:
    watched = Watched()
    task = asyncio.create_task(watched.watch(replica))
    try:
        yield watched
        assert not task.done(), task.exception()
    finally:
        task.cancel()


async def capacity(envoy: Edge, requests: list[Request], seconds: float) -> float:
    """The most that is answered a second: always as many in flight as the service takes."""
    answers = await offered(envoy.port, requests, rate=800, seconds=seconds, most_connections=MAX_CHECKS, patience=10.0)
    assert set(answers.statuses()) == {200}
    last = max(each.ended for each in answers)
    return answers.throughput(answers[0].at + 0.5, last - 0.3, 200)


@dataclass(frozen=True, kw_only=True)
class Flood:
    """One flood: what the service could do before it, what it did meanwhile (2xx a second both), and the answers."""

    capacity: float
    goodput: float
    answers: Answers
    watched: Watched

    @property
    def ratio(self) -> float:
        return self.goodput / self.capacity


async def _flood(replica: Served, envoy: Edge, requests: list[Request], seconds: float) -> Flood:
    with throttled(replica.process.pid, CORES):
        can = await capacity(envoy, requests, 1.5)
        async with watching(replica) as watched:
            answers = await offered(envoy.port, requests, rate=10 * can, seconds=seconds)
        await asyncio.sleep(0.5)
        after = await offered(envoy.port, requests, rate=can / 3, seconds=1.0)
    refused = {(each.status, each.reason) for each in answers if each.status != 200}
    assert refused <= {(503, ""), (503, "overloaded")}  # Envoy's own, and the service's
    assert set(after.statuses()) == {200}
    began = answers[0].at
    good = answers.throughput(began + 1.0, began + seconds, 200)
    return Flood(capacity=can, goodput=good, answers=answers, watched=watched)


async def test_at_ten_times_capacity_goodput_holds_health_stays_up_refusals_are_explicit_and_no_circuit_opens(
    tmp_path: Path, figures: Figures, *, full: bool
) -> None:
    """Goodput: 2xx a second. Envoy waits a second for a check, so no 2xx is later than that."""
    configuration = CONFIGURATION.format(max_checks=MAX_CHECKS, protection="memory:")
    async with (
        served(tmp_path, configuration) as replica,
        edge(tmp_path, replica.checks, max_checks=MAX_CHECKS) as envoy,
    ):
        requests = [Request(headers={"x-api-key": await replica.tenant("acme")})]
        floods: list[Flood] = []
        while not floods or (floods[-1].ratio < 0.8 and len(floods) < ATTEMPTS):
            floods.append(await _flood(replica, envoy, requests, seconds=10.0 if full else 3.0))
        last = floods[-1]
        what = f"{len(last.answers):,} requests at 10 times the capacity of {last.capacity:.0f}/s: goodput"
        tried = ", ".join(f"{each.ratio:.2f}" for each in floods)
        figures.note(what, f"{last.ratio:.2f} of capacity (rounds: {tried})", "0.8 of capacity", met=last.ratio >= 0.8)
        assert last.ratio >= 0.8
        assert last.watched.well == last.watched.asked > 10
        (ejections,) = (await envoy.stats("cluster.extauthz.outlier_detection.ejections_enforced_total")).values()
        assert ejections == 0
        assert {await replica.circuit(name) for name in ("credentials", "lifecycle", "billing")} == {"closed"}
        assert await fallbacks(replica) == 0


# One tenant floods


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
    """The others beside a flood: their p99 over that without it, how many did not get their full answer; and the loud one's.

    `tried` are the ratios of all rounds up to this one, because a reader has to know of how many it is the choice.
    """

    ratio: float
    disturbed: int
    loud: Answers
    tried: str

    @property
    def well(self) -> bool:
        return self.ratio <= 2 and not self.disturbed


async def _beside(envoy: Edge, people: tuple[list[Request], list[Request]], rate: float, seconds: float) -> Beside:
    """The first round in which the others noticed nothing, or the last of some."""
    rounds: list[Beside] = []
    while not rounds or not (rounds[-1].well or len(rounds) == ATTEMPTS):
        quiet = await others_and_loud(envoy, *people, rate=0, seconds=seconds)
        loud = await others_and_loud(envoy, *people, rate=rate, seconds=seconds)
        others = loud.named("other")
        disturbed = sum(1 for each in (*quiet, *others) if each.status != 200 or each.degraded)
        ratio = others.percentile(0.99) / quiet.percentile(0.99)
        tried = ", ".join(f"{each:.2f}" for each in (*(past.ratio for past in rounds), ratio))
        rounds.append(Beside(ratio=ratio, disturbed=disturbed, loud=loud.named("loud"), tried=tried))
    return rounds[-1]


def _note(figures: Figures, what: str, found: Beside) -> None:
    measured = f"{found.ratio:.2f} times (rounds: {found.tried})"
    figures.note(f"one tenant floods, {what}: p99 of the others", measured, "2 times", met=found.well)
    assert found.ratio <= 2
    assert found.disturbed == 0


async def test_a_tenant_that_sends_ten_times_its_limit_does_not_slow_the_others_beyond_twice_their_p99(
    tmp_path: Path, figures: Figures, *, full: bool
) -> None:
    configuration = CONFIGURATION.format(max_checks=1024, protection="memory:")
    async with served(tmp_path, configuration) as replica, edge(tmp_path, replica.checks) as envoy:
        people = await _people(replica)
        status, _ = await replica.admin("PUT", "/tenants/loud/billing", {"plan": "small", "reason": "test"})
        assert status == 200
        found = await _beside(envoy, people, rate=600, seconds=8.0 if full else 3.0)
        loud = found.loud
        assert {each.reason for each in loud if each.status in (429, 503)} <= {"rate", "burst"}
        assert set(loud.statuses()) <= {200, 429, 503}
        elapsed = max(each.ended for each in loud) - loud[0].at
        assert len(loud.with_status(200)) <= 60 + 60 * elapsed
        assert await fallbacks(replica) == 0
        _note(figures, "ten times its limit", found)


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
            found = await _beside(envoy, people, rate=250, seconds=8.0 if full else 3.0)
            loud = found.loud
            assert set(loud.statuses()) == {200}
            assert {each.degraded for each in loud} == {"", "protection"}
            assert (
                await replica.metric("gate_fallbacks_total", gate="protection", reason="bulkhead", answer="local") > 0
            )
            assert await replica.circuit("protection") == "closed"
            _note(figures, "its share of a slow Redis", found)
