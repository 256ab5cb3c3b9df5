"""A connection that is kept ready: used now and then, made again at once, and not asked for in a storm."""

import asyncio

from extauthz.errors import ProviderError
from extauthz.providers.postgres_dial import Backoff
from extauthz.providers.postgres_keep import TOUCH_EVERY, Keeper
from extauthz.providers.postgres_pool import IDLE_LIMIT
from extauthz.testing.clock import in_virtual_time


class Database:
    """Touched in no time; `down` it refuses, `hung` it never answers."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.touches: list[float] = []
        self.down = False
        self.hung = False
        self.keeper = Keeper(self.touch, Backoff(self.clock))

    async def touch(self) -> None:
        self.touches.append(self.clock())
        if self.hung:
            await asyncio.Event().wait()
        if self.down:
            raise ProviderError("down")


@in_virtual_time
async def test_a_connection_is_there_after_the_start_and_used_before_it_is_idle_for_too_long() -> None:
    database = Database()
    await database.keeper.start(2.0)
    assert len(database.touches) == 1
    await asyncio.sleep(TOUCH_EVERY * 3 + 1)
    pauses = [later - sooner for sooner, later in zip(database.touches, database.touches[1:], strict=False)]
    assert pauses == [TOUCH_EVERY] * 3
    assert max(pauses) < IDLE_LIMIT
    await database.keeper.close()


@in_virtual_time
async def test_one_that_was_lost_is_made_again_at_once() -> None:
    database = Database()
    await database.keeper.start(2.0)
    await asyncio.sleep(1)
    begin = database.clock()
    database.keeper.lost()
    await asyncio.sleep(0.001)
    assert database.touches[1:] == [begin]
    await database.keeper.close()


@in_virtual_time
async def test_an_outage_is_no_storm_and_its_end_is_noticed() -> None:
    database = Database()
    database.down = True
    await database.keeper.start(2.0)
    await asyncio.sleep(10)
    assert 10 < len(database.touches) < 50
    database.down = False
    await asyncio.sleep(0.6)
    last = database.touches[-1]
    await asyncio.sleep(TOUCH_EVERY - 1)
    assert database.touches[-1] == last
    await database.keeper.close()


@in_virtual_time
async def test_a_start_waits_no_longer_than_it_is_told_for_a_database_that_hangs() -> None:
    database = Database()
    database.hung = True
    begin = database.clock()
    await database.keeper.start(2.0)
    assert database.clock() - begin == 2.0
    await database.keeper.close()
    await database.keeper.close()
    assert len(database.touches) == 1
