"""OFFBOARD-006: a termination is reported once every live replica blocks the tenant. In virtual time."""

import asyncio

from extauthz.changes import Replicas
from extauthz.errors import NotSupported, ProviderError
from extauthz.model.changed import ChangedKind
from extauthz.testing import in_virtual_time
from extauthz.testing.fake_replicas import FakeSharedLog

HERE = "here"
HOUR = 3600.0


class Shared:
    """A store in which a tenant was just terminated, and its replicas."""

    def __init__(self) -> None:
        self.log = FakeSharedLog()
        self.seq = self.log.add(ChangedKind.LIFECYCLE, "acme", HERE)
        self.replicas = Replicas(log=self.log, leases=self.log, replica=HERE)

    async def lives(self, replica: str, seen: int, seconds: float = HOUR) -> None:
        await self.log.renew_lease(replica, seen, seconds)

    async def asked(self) -> tuple[tuple[str, ...], float]:
        """Who has not confirmed, and how long it took to tell."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        return await self.replicas.unconfirmed(), round(loop.time() - began, 3)


@in_virtual_time
async def test_offboard_006_a_replica_alone_waits_for_nobody() -> None:
    shared = Shared()
    assert await shared.asked() == ((), 0.0)
    await shared.lives(HERE, 0)  # its own lease may be behind: its caches were brought up to date by the change itself
    assert await shared.asked() == ((), 0.0)


@in_virtual_time
async def test_offboard_006_those_that_have_seen_it_are_not_waited_for() -> None:
    shared = Shared()
    await shared.lives("a", shared.seq)
    await shared.lives("b", shared.seq + 5)
    assert await shared.asked() == ((), 0.0)


@in_virtual_time
async def test_offboard_006_it_is_reported_soon_after_the_last_one_confirmed() -> None:
    shared = Shared()
    await shared.lives("a", 0)
    await shared.lives("b", 0)
    asking = asyncio.create_task(shared.asked())
    await asyncio.sleep(0.99)
    await shared.lives("a", shared.seq)
    await asyncio.sleep(0.99)
    assert not asking.done()
    await shared.lives("b", shared.seq)
    pending, seconds = await asking
    assert pending == ()
    assert 1.98 <= seconds <= 2.05


@in_virtual_time
async def test_offboard_006_who_has_not_confirmed_after_five_seconds_is_named() -> None:
    shared = Shared()
    await shared.lives("a", 0)
    await shared.lives("b", shared.seq)
    await shared.lives("c", 0)
    await shared.lives(HERE, 0)
    assert await shared.asked() == (("a", "c"), 5.0)


@in_virtual_time
async def test_offboard_006_a_replica_whose_lease_runs_out_is_waited_for_until_then() -> None:
    shared = Shared()
    await shared.lives("killed", 0, seconds=3.0)
    pending, seconds = await shared.asked()
    assert pending == ()
    assert 3.0 <= seconds <= 3.1


@in_virtual_time
async def test_offboard_006_asked_again_it_tells_who_has_confirmed_since() -> None:
    shared = Shared()
    await shared.lives("a", 0)
    assert await shared.asked() == (("a",), 5.0)
    await shared.lives("a", shared.seq)
    assert await shared.asked() == ((), 0.0)


@in_virtual_time
async def test_offboard_006_a_store_that_cannot_be_asked_leaves_it_unknown() -> None:
    shared = Shared()
    await shared.lives("a", shared.seq)
    shared.log.outage = ProviderError("gone")
    assert await shared.asked() == (("unknown",), 5.0)
    shared.log.outage = RuntimeError("a store of a third party")
    assert await shared.asked() == (("unknown",), 5.0)
    shared.log.outage, shared.log.frozen = None, True
    assert await shared.asked() == (("unknown",), 5.0)


@in_virtual_time
async def test_offboard_006_a_store_that_comes_back_in_time_is_asked() -> None:
    shared = Shared()
    await shared.lives("a", shared.seq)
    shared.log.outage = ProviderError("gone")
    asking = asyncio.create_task(shared.asked())
    await asyncio.sleep(2)
    shared.log.outage = None
    pending, seconds = await asking
    assert pending == ()
    assert 2.0 <= seconds <= 2.1


@in_virtual_time
async def test_offboard_006_when_the_store_goes_those_last_heard_of_are_named() -> None:
    shared = Shared()
    await shared.lives("a", 0)
    await shared.lives("b", 0)
    asking = asyncio.create_task(shared.asked())
    await asyncio.sleep(1)
    await shared.lives("b", shared.seq)
    await asyncio.sleep(1)
    shared.log.frozen = True
    assert await asking == (("a",), 5.0)


@in_virtual_time
async def test_offboard_006_where_nobody_follows_changes_nobody_is_asked() -> None:
    shared = Shared()
    await shared.lives("a", 0)
    shared.log.outage = NotSupported("can be asked, but not changed, from here")
    assert await shared.asked() == ((), 0.0)
