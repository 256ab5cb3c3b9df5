"""A whole service whose PostgreSQL is a few milliseconds away: nothing in its defaults is made for one machine only."""

from pathlib import Path

import pytest

from extauthz.providers.postgres_events import PostgresEvents
from extauthz.testing.contracts_events import ALL, make_event, make_events
from tests.postgres import shared
from tests.postgres_way import Way, until, way_to
from tests.served import Served, eventually, served

CONFIGURATION = """\
providers:
  credentials: {{url: "{url}"}}
  lifecycle: {{url: "{url}", cache: {{ttl: 1h}}}}
  billing: {{url: "{url}", cache: {{ttl: 1h}}}}
  protection: {{snapshot: null}}
  events: {{url: "{url}", allow_sample_rate: 1}}
"""
TENANTS = 5
SUSPENDED = """
    SELECT count(*) FROM extauthz.events WHERE event_type = 'tenant_lifecycle_transition' AND payload LIKE '%SUSPENDED%'
"""


@pytest.mark.parametrize("delay", [0, 0.005])
async def test_look_ups_changes_following_and_events_work_at_any_distance(tmp_path: Path, delay: float) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with shared().database() as url:
        async with way_to(url, delay=delay) as way:
            text = CONFIGURATION.format(url=way.url)
            async with served(folders[0], text) as one, served(folders[1], text) as two:
                await work(one, two)

                async def stored() -> bool:
                    # On a machine that does other things too, the one or the other may take longer than the 50 ms it has.
                    return int(shared().sql(SUSPENDED, url)[0]) > TENANTS / 2

                await eventually(stored)


async def work(one: Served, two: Served) -> None:
    """Each tenant is looked up by both, and what the one ends the other knows within a second."""
    for number in range(TENANTS):
        key = await one.tenant(f"t{number}")
        assert (await one.check(key)).answer.allowed
        assert (await two.check(key)).answer.allowed
        status, content = await one.admin(
            "POST", f"/tenants/t{number}/lifecycle", {"to": "SUSPENDED", "reason": "test"}
        )
        assert status == 200, content

        async def refused(key: str = key) -> bool:
            return not (await two.check(key)).answer.allowed

        assert await eventually(refused) < 1.0


async def test_a_batch_of_events_is_one_round_trip_from_the_first_on() -> None:
    with shared().database() as url:
        async with way_to(url) as way:
            store = PostgresEvents(way.url)
            await store.start()
            for number in range(3):
                assert await trips(way, store, number) == 1
            assert list(await store.query(ALL)) == make_events(3)
            await store.close()


async def test_a_connection_for_events_that_was_lost_is_made_again_before_it_is_needed() -> None:
    with shared().database() as url:
        async with way_to(url) as way:
            store = PostgresEvents(way.url)
            await store.start()
            for number in range(3):
                way.reset()

                async def connected(way: Way = way) -> bool:
                    return any(not client.is_closing() for client in way.clients)

                await until(connected)
                await settled(way)
                assert await trips(way, store, number) == 1
            await store.close()


async def trips(way: Way, store: PostgresEvents, number: int) -> int:
    """How often the store says something for one event."""
    before = way.trips
    await store.append([make_event(number)])
    return way.trips - before


async def settled(way: Way) -> None:
    """Until nothing was said for a moment: a connection is ready."""
    said = -1

    async def silent() -> bool:
        nonlocal said
        before, said = said, way.trips
        return said == before

    await until(silent)
