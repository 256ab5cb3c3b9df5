"""docs/runbooks/ as they are read in an outage: a provider really goes, every command runs as written, the provider comes back."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.redis_server import single
from tests.remote_bench import another_process
from tests.runbook import BACK, PAGES, Step, followed, require, steps_of, traffic
from tests.served import Served, eventually, served

RUN = ("lifecycle", "billing", "protection", "auth")
CONFIGURATION = """
providers:
  credentials: {{url: "{credentials}", cache: {{ttl: 1s}}}}
  lifecycle: {{url: "{lifecycle}", cache: {{ttl: 200ms}}}}
  billing: {{url: "{billing}", cache: {{ttl: 200ms, plan_ttl: 200ms}}}}
  protection: {{url: "{protection}"}}
  events: {{url: "none:"}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000, max_requests_per_day: 1000000}}}}
default_plan: big
"""
EMBEDDED = {
    "credentials": "sqlite:///state.db",
    "lifecycle": "sqlite:///state.db",
    "billing": "sqlite:///state.db",
    "protection": "memory:",
}


def configuration(**urls: str) -> str:
    return CONFIGURATION.format(**EMBEDDED | urls)


async def outage(
    replica: Served,
    provider: str,
    folder: Path,
    down: Callable[[], Awaitable[None]],
    back: Callable[[], Awaitable[None]],
    page: str | None = None,
) -> None:
    """The provider goes under traffic; once its circuit is open, somebody opens the page. From its bypass on all requests pass."""
    key = await replica.tenant("acme")

    async def is_well() -> bool:
        answer = (await replica.check(key)).answer
        return answer.allowed and "x-extauthz-degraded" not in answer.headers

    async def is_open() -> bool:
        return await replica.circuit(provider) == "open"

    await eventually(is_well)
    async with traffic(replica, key) as passed:

        def since_the_bypass(step: Step) -> None:
            if "bypass set" in step.script:
                passed.clear()

        await down()
        await eventually(is_open, 30.0)
        await followed(f"{page or provider}-provider-down.md", replica, "acme", folder, back, since_the_bypass)
        if page is None:
            assert passed
            assert all(passed)
    await eventually(is_well)


async def test_the_lifecycle_provider_is_down(tmp_path: Path) -> None:
    with PostgresServer() as server:

        async def down() -> None:
            server.kill()

        async def back() -> None:
            server.start()

        async with served(tmp_path, configuration(lifecycle=server.new_database())) as replica:
            await outage(replica, "lifecycle", tmp_path, down, back)


async def test_the_billing_provider_is_down(tmp_path: Path) -> None:
    file = tmp_path / "billing.db"
    async with AsyncExitStack() as stack:
        process, port = await stack.enter_async_context(another_process(file))

        async def down() -> None:
            process.kill()
            await process.wait()

        async def back() -> None:
            await stack.enter_async_context(another_process(file, port))

        urls = configuration(billing=f"grpc://127.0.0.1:{port}")
        replica = await stack.enter_async_context(served(tmp_path, urls))
        await outage(replica, "billing", tmp_path, down, back)


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_the_protection_provider_is_down(tmp_path: Path, on_failure: str) -> None:
    with single() as server:

        async def down() -> None:
            server.kill()

        async def back() -> None:
            server.start()

        settings = f"gates: {{protection: {{on_failure: {on_failure}}}}}\n"
        async with served(tmp_path, configuration(protection=server.url) + settings) as replica:
            await outage(replica, "protection", tmp_path, down, back)


async def test_the_credential_provider_is_down(tmp_path: Path) -> None:
    with PostgresServer() as server:

        async def down() -> None:
            server.kill()

        async def back() -> None:
            server.start()

        async with served(tmp_path, configuration(credentials=server.new_database())) as replica:
            await outage(replica, "credentials", tmp_path, down, back, page="auth")


def test_the_index_names_every_page() -> None:
    pages = {page.name for page in PAGES.glob("*.md")} - {"index.md"}
    index = (PAGES / "index.md").read_text()
    assert {page for page in pages if f"({page})" not in index} == set()
    assert pages >= {f"{name}-provider-down.md" for name in RUN}


@pytest.mark.parametrize("name", RUN)
def test_a_page_has_every_part_of_a_recovery(name: str) -> None:
    steps = steps_of(f"{name}-provider-down.md")
    found = {step.section for step in steps}
    assert {"What it looks like", BACK, "Verify", "Clean up", "Write down"} <= found
    assert all(step.says for step in steps)


def test_a_promise_that_is_not_kept_is_found() -> None:
    step = steps_of("lifecycle-provider-down.md")[0]
    require(step, "provider state failures open for tried again in\nlifecycle   open 3 1.0 s 2.0 s\n")
    with pytest.raises(AssertionError, match="is not in"):
        require(step, "provider state failures open for tried again in\nlifecycle closed 0 - -\n")
