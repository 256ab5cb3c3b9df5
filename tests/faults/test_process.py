"""What can happen to one process: a blocked loop, SIGTERM under load, kill -9 again and again.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import asyncio
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import pytest

from tests import oracle
from tests.faults.conftest import Figures
from tests.health import serving, status_of
from tests.ports import HOST, free_port
from tests.postgres import shared
from tests.served import METHOD, Served, eventually, served

EMBEDDED: Final = """\
providers:
  credentials: {url: "sqlite:///state.db"}
  lifecycle: {url: "sqlite:///state.db"}
  billing: {url: "sqlite:///state.db"}
  protection: {snapshot: null}
  events: {url: "sqlite:///events.db"}
plans:
  big: {name: Big, tier: ENTERPRISE, limits: {rate: 100000000, burst: 100000000}}
default_plan: big
"""

# A loop that is blocked

BLOCKING: Final = """\
import time
from extauthz.model.billing import BillingRecord, BillingState


class Blocking:
    async def start(self):
        pass

    async def close(self):
        pass

    async def find_billing(self, tenant_id):
        if tenant_id == "block":
            time.sleep(2.0)
        return BillingRecord(state=BillingState.ACTIVE)


def make(url, *, timeout):
    return Blocking()
"""


def plugin(folder: Path) -> dict[str, str]:
    """A provider that blocks the loop for 2 s when it is asked for the tenant `block`."""
    info = folder / "site" / "blocking-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "blocking.py").write_text(BLOCKING)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blocking\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[extauthz.providers]\nblocking = blocking:make\n")
    return {"PYTHONPATH": str(info.parent)}


async def test_an_event_loop_blocked_for_2_s_is_seen_in_a_metric_and_health_fails(
    tmp_path: Path, figures: Figures
) -> None:
    configuration = EMBEDDED.replace('billing: {url: "sqlite:///state.db"}', 'billing: {url: "blocking:"}')
    async with served(tmp_path, configuration, plugin(tmp_path)) as replica:
        keys = {name: await _key(replica, name) for name in ("fine", "block")}
        assert (await replica.check(keys["fine"])).answer.allowed

        async def live() -> bool:
            return await status_of(replica, "/healthz") == 200

        await eventually(live)
        blocking = asyncio.create_task(replica.check(keys["block"], within=10.0))
        await asyncio.sleep(0.3)
        assert not await serving(replica.channel, within=0.5)  # nobody is answered meanwhile: that is how Envoy sees it
        health, lag = await asyncio.gather(status_of(replica, "/healthz"), replica.metric("event_loop_lag_seconds"))
        figures.note("loop blocked for 2 s: the next scrape says", f"{lag:.2f} s", ">= 1.5 s", met=lag >= 1.5)
        assert health == 503
        assert lag >= 1.5
        await blocking
        assert await serving(replica.channel)  # it is over, and checks are answered again
        assert (await replica.check(keys["fine"])).answer.allowed
        recovered = await eventually(live, 12.0)
        figures.note("... /healthz is well again after", f"{recovered:.1f} s", "5 s", met=recovered <= 5.5)
        assert await replica.metric("event_loop_lag_seconds") >= 1.5
        for provider in ("credentials", "lifecycle", "protection"):
            assert await replica.circuit(provider) == "closed"  # being late ourselves is nobody else's failure


async def _key(replica: Served, name: str) -> str:
    """Of a new tenant, whose standing is kept elsewhere."""
    status, _ = await replica.admin("POST", "/tenants", {"id": name, "onboarding": "COMPLETE", "reason": "test"})
    assert status == 201
    _, issued = await replica.admin("POST", f"/tenants/{name}/keys", {"reason": "test"})
    return str(issued["key"])


# SIGTERM

DRAIN: Final = 3.0
NOTICED: Final = 2.0
"""Seconds after SIGTERM by which every caller has stopped: what is begun later may meet a port that is closed."""


async def test_sigterm_under_load_not_serving_first_every_check_that_was_begun_is_answered_events_are_kept(
    tmp_path: Path, figures: Figures
) -> None:
    async with served(tmp_path, EMBEDDED, {"EXTAUTHZ_SERVER__DRAIN": f"{DRAIN:g}s"}) as replica:
        key = await replica.tenant("acme")
        became: Counter[str] = Counter()
        told = asyncio.Event()  # as Envoy: whoever has heard NOT_SERVING begins nothing more
        ends = float("inf")

        async def caller() -> None:
            while not told.is_set():
                begun = time.monotonic()
                try:
                    outcome = "allowed" if (await replica.check(key)).answer.allowed else "denied"
                except grpc.aio.AioRpcError as error:
                    outcome = str(error.code())
                if begun < ends:  # a busy machine may have kept us from stopping in time
                    became[outcome] += 1

        callers = [asyncio.create_task(caller()) for _ in range(32)]
        await asyncio.sleep(0.5)
        for state in ("SUSPENDED", "ACTIVE"):
            move = {"to": state, "reason": "test"}
            assert (await replica.admin("POST", "/tenants/acme/lifecycle", move))[0] == 200
        begun = time.monotonic()
        ends = begun + NOTICED
        replica.process.send_signal(signal.SIGTERM)

        async def not_serving() -> bool:
            return not await serving(replica.channel)

        await eventually(not_serving, DRAIN)
        before = became.total()
        await asyncio.sleep(0.5)
        assert became.total() > before  # those who have not heard it yet are still answered
        told.set()
        await asyncio.gather(*callers)
        assert await replica.process.wait() == 0
        assert time.monotonic() - begun >= DRAIN
        unanswered = became.total() - became["allowed"] - became["denied"]
        figures.note(
            "SIGTERM under load: checks that were begun and not answered",
            f"{unanswered} of {became.total()}",
            "0",
            met=unanswered == 0,
        )
        assert unanswered == 0, became
    with closing(sqlite3.connect(tmp_path / "events.db")) as events:
        kinds = dict(events.execute("SELECT event_type, count(*) FROM events GROUP BY event_type").fetchall())
    assert kinds["tenant_lifecycle_transition"] == 3  # it was made, suspended, and let go again


@pytest.mark.long_form
async def test_sigterm_waits_for_a_check_that_is_waiting_for_its_provider(tmp_path: Path) -> None:
    postgres = shared()
    with postgres.database() as database:
        elsewhere = f'lifecycle: {{url: "{database}", cache: {{ttl: 50ms}}}}'
        configuration = EMBEDDED.replace('lifecycle: {url: "sqlite:///state.db"}', elsewhere)
        async with served(tmp_path, configuration) as replica:
            key = await replica.tenant("acme")
            assert (await replica.check(key)).answer.allowed
            await asyncio.sleep(0.1)  # until what is cached is no longer fresh
            postgres.freeze()
            try:
                waiting = asyncio.create_task(replica.check(key))
                await asyncio.sleep(0.1)
                replica.process.send_signal(signal.SIGTERM)
                done = await waiting
                assert done.answer.allowed
                assert done.answer.headers["x-extauthz-degraded"] == "lifecycle"
            finally:
                postgres.thaw()
            assert await replica.process.wait() == 0


# kill -9

KILLS: Final = 5
EVERY: Final = 2.0
"""Seconds: five kills in ten."""

SHARED: Final = """\
providers:
  credentials: {{url: "{url}"}}
  lifecycle: {{url: "{url}", cache: {{ttl: 50ms}}}}
  billing: {{url: "{url}", cache: {{ttl: 50ms, plan_ttl: 50ms}}}}
  protection: {{snapshot: null}}
  events: {{url: "{url}", allow_sample_rate: 0.2}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 100000000, burst: 100000000}}}}
default_plan: big
"""


@pytest.mark.long_form
async def test_five_kills_in_10_s_comes_back_ready_only_when_it_can_answer_no_leaked_database_connections(
    tmp_path: Path, figures: Figures
) -> None:
    postgres, where = shared(), f"{HOST}:{free_port()}"
    with postgres.database() as url:
        configuration, env = SHARED.format(url=url), {"EXTAUTHZ_SERVER__LISTEN": where}
        async with served(tmp_path, configuration, env) as replica:
            key = await replica.tenant("acme")
            async with load(where, key):
                await asyncio.sleep(1.0)
                usual = postgres.connections(url)
            replica.process.kill()
        async with load(where, key) as callers:
            for _ in range(KILLS):
                await _killed_after(EVERY, tmp_path, configuration, env)
                callers.kills.append(time.monotonic())
            async with served(tmp_path, configuration, env) as replica:
                answered = callers.answered

                async def answers() -> bool:
                    return callers.answered > answered

                async def as_usual() -> bool:
                    return await asyncio.to_thread(postgres.connections, url) <= usual

                await eventually(answers)
                took = await eventually(as_usual)
                assert (await replica.check(key)).answer.allowed
                callers.until = time.monotonic()
    figures.note(
        "five kills in 10 s: SERVING was said, and a check not answered",
        f"{len(callers.broken)} of {callers.asked}",
        "0",
        met=not callers.broken,
    )
    figures.note("... no more database connections than before", f"{usual}, after {took:.1f} s")
    assert callers.broken == []


async def _killed_after(seconds: float, folder: Path, configuration: str, env: dict[str, str]) -> None:
    """A process that lives for so long, wherever it has come to by then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), served(folder, configuration, env, ends=signal.SIGKILL):
            await asyncio.sleep(seconds)


@dataclass
class Callers:
    """What became of checks that were begun where health said SERVING `until` then, and when the process was killed.

    `broken` are those without an answer, or with a denial, of a process that lived on.
    """

    until: float = float("inf")
    asked: int = 0
    answered: int = 0
    kills: list[float] = field(default_factory=list)
    lost: list[tuple[float, str]] = field(default_factory=list)

    @property
    def broken(self) -> list[tuple[float, str]]:
        lost = [(at, why) for at, why in self.lost if at < self.until]
        return [(at, why) for at, why in lost if not any(kill - 1.0 <= at <= kill + 1.0 for kill in self.kills)]


@asynccontextmanager
async def load(where: str, key: str) -> AsyncIterator[Callers]:
    """As Envoy does it: health is asked, and checks go where it says SERVING."""
    callers = Callers()
    asking = asyncio.create_task(_ask_for_ever(where, key, callers))
    try:
        yield callers
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


async def _ask_for_ever(where: str, key: str, callers: Callers) -> None:
    while True:
        async with grpc.aio.insecure_channel(where) as channel:
            if await serving(channel, within=0.5):
                await asyncio.gather(*(_ask(channel, key, callers) for _ in range(8)))
        await asyncio.sleep(0.01)


async def _ask(channel: grpc.aio.Channel, key: str, callers: Callers) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    message = oracle.message({"x-api-key": key}, method="POST", path="/api/v1/runs")
    for _ in range(10):
        callers.asked += 1
        try:
            answer = oracle.read(await call(message, timeout=5.0))
        except grpc.aio.AioRpcError as error:
            callers.lost.append((time.monotonic(), str(error.code())))
            return
        callers.answered += 1
        if not answer.allowed:
            callers.lost.append((time.monotonic(), str(answer.body)))
