"""Two replicas behind the bundled Envoy, under open-loop load: one ends, is killed, comes back; no request fails, no answer is wrong.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.edge import Edge, edge
from tests.faults.conftest import Figures
from tests.open_loop import Answers, Request, load
from tests.pace import ATTEMPTS
from tests.ports import HOST, free_port
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer, single
from tests.served import Served, eventually, served

DRAIN: Final = 5.0  # as it is by default
CONTROL: Final = 2.0

CONFIGURATION: Final = """\
providers:
  credentials: {{url: "{postgres}"}}
  lifecycle: {{url: "{postgres}"}}
  billing: {{url: "{postgres}"}}
  protection: {{url: "{redis}"}}
  events: {{url: "{postgres}"}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
default_plan: big
"""

RIGHT: Final = {("known", 200, ""), ("suspended", 403, "suspended"), ("stranger", 401, "invalid_credentials")}
"""Who gets what, whatever happens to a replica."""


@pytest.fixture(name="postgres", scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(name="redis", scope="module")
def redis_server() -> Iterator[RedisServer]:
    with single() as server:
        yield server


@dataclass
class Place:
    """Where one replica runs, each after the other on the same port."""

    folder: Path
    configuration: str
    port: int
    running: AsyncExitStack = field(default_factory=AsyncExitStack)
    replica: Served = field(init=False)

    async def start(self) -> None:
        env = {"EXTAUTHZ_SERVER__LISTEN": f"{HOST}:{self.port}", "EXTAUTHZ_SERVER__DRAIN": f"{DRAIN}s"}
        self.folder.mkdir(exist_ok=True)
        # What a test leaves running need not drain.
        replica = served(self.folder, self.configuration, env, ends=signal.SIGKILL)
        self.replica = await self.running.enter_async_context(replica)

    async def end(self, number: signal.Signals) -> None:
        """Send that signal; back when the process has ended, which for all but SIGKILL must be in order."""
        self.replica.process.send_signal(number)
        await self.replica.process.wait()
        await self.running.aclose()

    async def in_use(self) -> None:
        """Until a check came here."""

        async def checked() -> bool:
            return await self.replica.metric("check_latency_seconds_count") > 0

        await eventually(checked)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two replicas that share their stores, the Envoy in front of them, and what is asked of it."""

    places: tuple[Place, Place]
    envoy: Edge
    requests: list[Request]

    async def under_load(self, rate: float, least: int, what: Callable[[], Awaitable[None]]) -> Answers:
        """The answers to load that goes on while `what` happens, some seconds before it, and after it until `least` were sent.

        Where requests fail before anything has happened, the machine cannot carry the load, and nothing is said of what happens:
        it is done again then, a few times.
        """
        before, answers = await self._under_load(rate, least, what)
        for _ in range(ATTEMPTS - 1):
            if failed(before):
                before, answers = await self._under_load(rate, least, what)
        assert not failed(before), f"the machine is too busy, it fails without a restart too: {before.outcomes()}"
        return answers

    async def _under_load(
        self, rate: float, least: int, what: Callable[[], Awaitable[None]]
    ) -> tuple[Answers, Answers]:
        """Those before it happened, and all of them."""
        async with load(self.envoy.port, self.requests, rate=rate) as running:
            await asyncio.sleep(CONTROL)
            begin = time.monotonic()
            await what()
            await asyncio.sleep(max(1.0, running.began + least / rate - time.monotonic()))
        before = running.answers.between(
            0.0, begin - 1.0
        )  # what Envoy still waits for then, it waits for while it happens
        return before, running.answers

    async def healthy(self) -> int:
        """How many replicas Envoy takes for well."""
        (count,) = (await self.envoy.stats("cluster.extauthz.membership_healthy")).values()
        return count


@asynccontextmanager
async def pair(folder: Path, postgres: PostgresServer, redis: RedisServer) -> AsyncIterator[Pair]:
    configuration = CONFIGURATION.format(postgres=postgres.new_database(), redis=redis.url)
    async with AsyncExitStack() as running:
        first, second = (Place(folder / name, configuration, free_port()) for name in ("first", "second"))
        for place in (first, second):
            await running.enter_async_context(place.running)
            await place.start()
        requests = await _requests(first.replica)
        envoy = await running.enter_async_context(edge(folder, first.replica.checks, second.replica.checks))
        yield Pair(places=(first, second), envoy=envoy, requests=requests)


async def _requests(replica: Served) -> list[Request]:
    """Two that are to be let through for each that is not."""
    known, suspended = await replica.tenant("known"), await replica.tenant("suspended")
    status, _ = await replica.admin("POST", "/tenants/suspended/lifecycle", {"to": "SUSPENDED", "reason": "test"})
    assert status == 200
    wrong = known[:-1] + ("b" if known[-1] == "a" else "a")
    asks = [("known", known), ("suspended", suspended), ("known", known)]
    asks += [("known", known), ("stranger", wrong), ("known", known)]
    return [Request(name=name, path="/api/v1/runs", headers={"x-api-key": key}) for name, key in asks]


def _size(*, full: bool) -> tuple[float, int]:
    """Requests a second, and how many at least."""
    return (500, 10_500) if full else (250, 2_500)


def failed(answers: Answers) -> int:
    """How many did not get what is theirs."""
    return sum(count for outcome, count in answers.outcomes().items() if outcome not in RIGHT)


def told(figures: Figures, what: str, answers: Answers) -> None:
    bad = failed(answers)
    measured = f"{bad} of {len(answers):,}, slowest {answers.slowest() * 1000:.0f} ms"
    figures.note(what, measured, "0 of 10,000", met=bad == 0)
    assert bad == 0, answers.outcomes()


async def test_sigterm_of_one_of_two_replicas_fails_no_request_nor_does_a_rolling_restart(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer, figures: Figures, *, full: bool
) -> None:
    async with pair(tmp_path, postgres, redis) as both:

        async def one_after_the_other() -> None:
            for place in both.places if full else both.places[:1]:
                began = time.monotonic()
                await place.end(signal.SIGTERM)
                assert time.monotonic() - began >= DRAIN
                await place.start()
                await place.in_use()

        answers = await both.under_load(*_size(full=full), one_after_the_other)
        told(figures, "two replicas behind Envoy, SIGTERM: failed requests", answers)
        assert await both.healthy() == 2


async def test_kill_9_of_one_of_two_replicas_fails_no_request_and_it_takes_requests_again_when_it_is_back(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer, figures: Figures, *, full: bool
) -> None:
    async with pair(tmp_path, postgres, redis) as both:

        async def again_and_again() -> None:
            for place in both.places * 2 if full else both.places[:1]:
                await place.end(signal.SIGKILL)
                await asyncio.sleep(1.0)
                await place.start()
                await place.in_use()

        answers = await both.under_load(*_size(full=full), again_and_again)
        told(figures, "two replicas behind Envoy, kill -9: failed requests", answers)
        assert await both.healthy() == 2
