"""What the composition root makes of the configuration of a PostgreSQL."""

import asyncio
from contextlib import AsyncExitStack

from extauthz.config import load
from extauthz.testing.contracts_events import ALL
from extauthz.wiring.places import Places
from tests.postgres import shared


async def test_events_have_as_many_connections_as_are_configured() -> None:
    with shared().database() as url:
        env = {"EXTAUTHZ_PROVIDERS__EVENTS__URL": url, "EXTAUTHZ_PROVIDERS__EVENTS__POOL_SIZE": "1"}
        config = load(None, env | {"EXTAUTHZ_PEPPER": "p" * 32}).config
        async with AsyncExitStack() as running:
            places = Places(config, "one", running)
            store = places.events(config.providers.events.url, lambda _: None)
            assert store is not None
            await places.start()
            await asyncio.gather(*(store.query(ALL) for _ in range(20)))
            assert shared().connections(url) == 2  # one that is kept for writing, one for queries
