"""Where tenants that are not ACTIVE are kept in mind, by the kind of their provider and by the configuration."""

# ruff: noqa: ASYNC240 - small files of the test's own, looked at between the steps

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from extauthz.config.providers import LifecycleConfig
from extauthz.config.url import parse_url
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers.memory import MemoryStore
from extauthz.providers.sqlite import SqliteStore
from extauthz.testing.contracts_values import tenant_in
from extauthz.wiring.blocked import keep_blocked


async def test_nothing_is_kept_of_a_provider_in_memory() -> None:
    async with AsyncExitStack() as running:
        assert await keep_blocked(LifecycleConfig(url=parse_url("memory:")), MemoryStore(), running) is None


async def test_a_store_that_can_list_them_is_asked_and_the_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "blocked"
    async with AsyncExitStack() as running:
        store = SqliteStore(tmp_path / "state.db")
        running.push_async_callback(store.close)
        await store.start()
        await tenant_in(store, LifecycleState.TERMINATED, "ended")
        config = LifecycleConfig(url=parse_url(f"sqlite:///{tmp_path}/state.db"), snapshot=str(file))
        known = await keep_blocked(config, store, running)
        assert known is not None
        async with asyncio.timeout(10):
            while "ended" not in known:  # noqa: ASYNC110 - nothing tells when a sweep is over
                await asyncio.sleep(0.01)
    assert b'"ended","TERMINATED"' in file.read_bytes()


async def test_without_a_file_and_a_list_what_is_learned_is_kept_in_mind_all_the_same(tmp_path: Path) -> None:
    async with AsyncExitStack() as running:
        config = LifecycleConfig(url=parse_url("grpc://127.0.0.1:1"), snapshot=None)
        known = await keep_blocked(config, object(), running)
        assert known is not None
        assert len(known) == 0
    assert not list(tmp_path.iterdir())
