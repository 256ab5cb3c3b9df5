"""A service that starts while none of its providers can be reached: it starts, is ready, answers by the table, recovers alone.

Run one after the other, with nothing beside them: what is promised here is time.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.fault_link import Fault
from tests.fault_proxy import BlackHole, FaultProxy, FullBacklog, Refuse
from tests.faults.conftest import Figures
from tests.health import serving, status_of
from tests.postgres import PostgresServer, shared
from tests.redis_server import single
from tests.remote_bench import another_process
from tests.served import Served, eventually, served

LONGER: Final = 4.0
"""Seconds that a start without providers may take longer than one with them: each is waited for a moment, all at once."""
BUSY: Final = 4.0
"""And what a machine that does other things too may add to either."""

CONFIGURATION: Final = """\
providers:
  credentials: {{url: "{credentials}", breaker: {{reset: 1s}}}}
  lifecycle: {{url: "{postgres}", breaker: {{reset: 1s}}}}
  billing: {{url: "{remote}", breaker: {{reset: 1s}}}}
  protection: {{url: "{redis}", breaker: {{reset: 1s}}}}
  events: {{url: "{postgres}", breaker: {{reset: 1s}}}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
default_plan: big
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """A service of which every provider is behind a proxy of its own."""

    folder: Path
    configuration: str
    proxies: Sequence[FaultProxy]

    def fail(self, fault: Fault) -> None:
        for proxy in self.proxies:
            proxy.fail(fault)

    def heal(self) -> None:
        self.fail(Fault())

    @asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[Served, float]]:
        """The service, and how long it took until it said that it serves."""
        begun = time.monotonic()
        async with served(self.folder, self.configuration) as replica:
            yield replica, time.monotonic() - begun


@asynccontextmanager
async def world(folder: Path, credentials: str = "") -> AsyncIterator[World]:
    """`credentials` empty: in PostgreSQL, like the rest."""
    postgres: PostgresServer = shared()
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(single())
        _, port = await stack.enter_async_context(another_process(folder / "remote.db"))
        proxies = [stack.enter_context(FaultProxy(port=each)) for each in (postgres.port, redis.port, port)]
        database = proxies[0].behind(stack.enter_context(postgres.database()))
        configuration = CONFIGURATION.format(
            credentials=credentials or database,
            postgres=database,
            redis=proxies[1].behind(redis.url),
            remote=f"grpc://{proxies[2].address}",
        )
        yield World(folder=folder, configuration=configuration, proxies=proxies)


@pytest.fixture(name="faults")
def ways_to_be_away(*, full: bool) -> Sequence[Fault]:
    """In the short form nobody listens; in the long one nothing comes back, or nobody accepts."""
    return (Refuse(), BlackHole(), FullBacklog()) if full else (Refuse(),)


async def test_start_up_without_any_provider_starts_is_ready_answers_by_the_table_and_recovers_alone(
    tmp_path: Path, faults: Sequence[Fault], figures: Figures
) -> None:
    async with world(tmp_path, "sqlite:///credentials.db") as there:
        async with there.service() as (replica, healthy):
            key = await replica.tenant("acme")
            assert (await replica.check(key)).answer.allowed
        for fault in faults:
            there.fail(fault)
            async with there.service() as (replica, seconds):
                how = type(fault).__name__
                figures.note(
                    f"start without any provider ({how})",
                    f"{seconds - healthy:+.1f} s on {healthy:.1f} s",
                    f"+{LONGER:.0f} s",
                    met=seconds - healthy <= LONGER,
                )
                assert seconds - healthy <= LONGER + BUSY
                assert await status_of(replica, "/readyz") == 200
                assert await serving(replica.channel)
                first = (await replica.check(key, within=1.0)).answer
                assert first.allowed
                assert (first.headers["x-tenant-lifecycle"], first.headers["x-tenant-billing"]) == ("ACTIVE", "TRIAL")
                assert first.headers["x-extauthz-degraded"] == "lifecycle,billing,protection"
                there.heal()

                async def well(replica: Served = replica) -> bool:
                    return "x-extauthz-degraded" not in (await replica.check(key)).answer.headers

                recovered = await eventually(well, 20.0)
                figures.note(f"... and nothing degraded, once they are back ({how})", f"{recovered:.1f} s")


@pytest.mark.long_form
async def test_start_up_without_any_provider_credentials_included_lets_nobody_in_until_they_are_back(
    tmp_path: Path, faults: Sequence[Fault]
) -> None:
    async with world(tmp_path) as there:
        async with there.service() as (replica, _):
            key = await replica.tenant("acme")
        for fault in faults:
            there.fail(fault)
            async with there.service() as (replica, _):
                assert await status_of(replica, "/readyz") == 200
                answer = (await replica.check(key)).answer
                assert (answer.http_status, answer.body["error"]) == (503, "auth_unavailable")
                made_up = "exak_" + "a" * 24 + "_" + "a" * 52
                assert (await replica.check(made_up)).answer.http_status == 401
                assert (await replica.check("", path="/health")).answer.allowed
                there.heal()

                async def well(replica: Served = replica) -> bool:
                    answer = (await replica.check(key)).answer
                    return answer.allowed and "x-extauthz-degraded" not in answer.headers

                await eventually(well, 20.0)
