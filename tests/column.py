"""A service behind the bundled Envoy with one provider, or several, at a place that goes wrong; and the course of an outage."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.edge import Edge, edge
from tests.misbehaving import Place, Way, place
from tests.mix import callers
from tests.open_loop import Answers, Request, load
from tests.served import Served, served

RATE: Final = 500
RESET: Final = 1.0
DEADLINES: Final = {"credentials": 0.25, "lifecycle": 0.5, "billing": 0.2, "protection": 0.1, "events": 0.05}
"""The default deadlines of spec section 4, in seconds."""

_WARM: Final = 0.5
_HEALTHY: Final = 1.5
_SETTLES: Final = 0.2
"""Seconds after the circuits opened in which those who had hung until then are answered."""
_OPEN: Final = 1.5
_AFTER: Final = 0.3
_PATIENCE: Final = 15.0
_CONNECTIONS: Final = 400
"""So many requests may hang at once before the circuit opens; making connections then would be measured too."""

_CONFIGURATION: Final = """\
providers:
  credentials: {{url: "{credentials}", cache: {{ttl: {known}s}}, breaker: {{reset: {reset}s}}}}
  lifecycle: {{url: "{lifecycle}", cache: {{ttl: 100ms}}, breaker: {{reset: {reset}s}}}}
  billing: {{url: "{billing}", cache: {{ttl: 100ms, plan_ttl: 100ms}}, breaker: {{reset: {reset}s}}}}
  protection: {{url: "{protection}", breaker: {{reset: {reset}s}}}}
  events: {{url: "{events}", breaker: {{reset: {reset}s}}, allow_sample_rate: 1.0}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
default_plan: big
"""
_EMBEDDED: Final = {
    "credentials": "sqlite:///credentials.db",
    "lifecycle": "sqlite:///state.db",
    "billing": "sqlite:///state.db",
    "protection": "memory:",
    "events": "none:",
}

Sums = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Samples of `/metrics` by name and labels."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Everything runs. `places` are those that the providers are at, by provider."""

    places: dict[str, Place]
    replica: Served
    edge: Edge
    requests: Sequence[Request]


Callers = Callable[[Served, Path], Awaitable[Sequence[Request]]]
"""Makes tenants, and the requests of them: of a replica, and the SQLite file with its keys."""


@asynccontextmanager
async def column(
    folder: Path, kinds: Mapping[str, str], *, patience: float = 1.0, known: float = 30.0, make: Callers = callers
) -> AsyncIterator[Column]:
    """`kinds` says for each provider that is not embedded what kind of place it is at; providers of one kind share one.

    `patience` is how long Envoy waits for a check, `known` how long a key that was verified is good, in seconds.
    """
    async with _places(folder, sorted(set(kinds.values()))) as by_kind:
        places = {provider: by_kind[kind] for provider, kind in kinds.items()}
        urls = _EMBEDDED | {provider: where.url for provider, where in places.items()}
        configuration = _CONFIGURATION.format(reset=RESET, known=known, **urls)
        async with (
            served(folder, configuration) as replica,
            edge(folder, replica.checks, patience=patience) as envoy,
        ):
            requests = await make(replica, folder / "credentials.db")
            yield Column(places=places, replica=replica, edge=envoy, requests=requests)


@asynccontextmanager
async def _places(folder: Path, kinds: Sequence[str]) -> AsyncIterator[dict[str, Place]]:
    if not kinds:
        yield {}
        return
    with place(kinds[0], folder) as first:
        async with _places(folder, kinds[1:]) as others:
            yield {kinds[0]: first} | others


@dataclass(frozen=True, kw_only=True)
class Course:
    """What was seen of one outage, and every answer.

    It began between `broke` and `broken`; all circuits were open when we looked at `opened`; all was mended at `mended`.
    """

    broke: float
    broken: float
    opened: float
    mended: float
    answers: Answers
    counted: Sums
    """By how much the samples of `/metrics` went up."""

    @property
    def slowest(self) -> float:
        return self.answers.between(self.broke, self.mended).slowest()

    @property
    def p99_healthy(self) -> float:
        return self.answers.between(self.broke - _HEALTHY, self.broke).percentile(0.99)

    @property
    def p99_open(self) -> float:
        begin = self.opened + _SETTLES
        return self.answers.between(begin, begin + _OPEN).percentile(0.99)

    @property
    def throughput_ratio(self) -> float:
        """Once open, against healthy."""
        return self._throughput(self.opened + _SETTLES, _OPEN) / self._throughput(self.broke - _HEALTHY, _HEALTHY)

    def _throughput(self, begin: float, seconds: float) -> float:
        """Of the requests of that time alone: answers to older ones that had hung would make it look better."""
        return self.answers.between(begin, begin + seconds).throughput(begin, begin + seconds)

    def recovery(self, gate: str) -> float:
        """Seconds from the end of the outage to the first answer that rests on the provider of that gate."""
        there = (
            each.ended
            for each in self.answers
            if each.at >= self.mended and each.status == 200 and gate not in each.degraded.split(",")
        )
        return min(there, default=float("inf")) - self.mended

    def degraded(self, gate: str = "") -> int:
        """How many answers came without their provider: of any gate, or of that one."""
        return sum(1 for each in self.answers if each.degraded and (not gate or gate in each.degraded.split(",")))

    def sum(self, name: str, **labels: str) -> float:
        """By how much the samples of that name went up that have these labels."""
        wanted = frozenset(labels.items())
        return sum(value for (of, having), value in self.counted.items() if of == name and wanted <= having)


async def _nothing() -> None:
    """Nothing else happens."""


async def outage(at: Column, way: Way, meanwhile: Callable[[], Awaitable[None]] = _nothing) -> Course:
    """One outage from beginning to end under load, until every circuit is closed again; in its midst, `meanwhile`."""
    places = list({id(each): each for each in at.places.values()}.values())
    before = await _sums(at.replica)
    async with load(at.edge.port, at.requests, rate=RATE, connections=_CONNECTIONS) as running:
        await asyncio.sleep(_WARM + _HEALTHY)
        broke = time.monotonic()
        try:
            for each in places:
                await asyncio.to_thread(way.begin, each)
            broken = time.monotonic()
            other = asyncio.ensure_future(meanwhile())
            await _until(at, "open")
            opened = time.monotonic()
            await asyncio.sleep(_SETTLES + _OPEN)
            await other
        finally:
            for each in places:
                await asyncio.to_thread(way.end, each)
        mended = time.monotonic()
        await _until(at, "closed")
        await asyncio.sleep(_AFTER)
    counted = {sample: value - before.get(sample, 0.0) for sample, value in (await _sums(at.replica)).items()}
    return Course(broke=broke, broken=broken, opened=opened, mended=mended, answers=running.answers, counted=counted)


async def _until(at: Column, state: str) -> None:
    """Until the circuits of all that answer for a gate are in that state. Events have nobody waiting for them."""
    give_up = time.monotonic() + _PATIENCE
    while time.monotonic() < give_up:
        states = [await at.replica.circuit(each) for each in at.places if each != "events"]
        if all(each == state for each in states):
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"no circuit was {state}")


async def _sums(replica: Served) -> Sums:
    async with replica.http.get(f"{replica.admin_url}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
        return {
            (each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples
        }
