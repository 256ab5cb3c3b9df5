"""When the store is back: told each cost once, in the background, and whatever cannot be told is in the log."""

import asyncio
import logging
from typing import Any, ClassVar

import pytest

from extauthz.errors import ProviderError
from extauthz.model.billing import Limits
from extauthz.model.protection import Charge, ChargeResult, Usage
from extauthz.providers.local_costs import LocalCosts
from extauthz.providers.local_handover import A_ROUND, LONGEST_PAUSE, PATIENCE, HandOver
from extauthz.providers.local_protection import LocalProtection
from extauthz.providers.memory_protection import MemoryProtection
from extauthz.testing import FakeWallClock, in_virtual_time


class Store:
    """A store that may answer, fail before it counts, hang, or count and not answer."""

    in_process: ClassVar[bool] = False

    def __init__(self, wall: FakeWallClock) -> None:
        self.counts = MemoryProtection(clock=asyncio.get_running_loop().time, wall=wall)
        self.way = "answers"
        self.takes = 0.0
        self.garbled: Any = None
        self.asked: list[float] = []

    async def charge(self, charge: Charge) -> ChargeResult:
        return await self.counts.charge(charge)

    async def usage(self, tenant_id: str) -> Usage:
        return await self.counts.usage(tenant_id)

    async def clear(self, tenant_id: str | None) -> None:
        await self.counts.clear(tenant_id)

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes)
        if self.way == "fails":
            raise ProviderError("no answer")
        if self.way == "garbles":
            return self.garbled  # type: ignore[no-any-return] # that is it
        if self.way == "hangs":
            await asyncio.Event().wait()
        usage = await self.counts.record_usage(tenant_id, cost, idempotency_key)
        if self.way == "counts":
            raise ProviderError("no answer")
        return usage


class World:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wall = FakeWallClock(clock=self.loop.time)
        self.local = LocalProtection(costs=LocalCosts(wall=self.wall), clock=self.loop.time)
        self.store = Store(self.wall)
        self.up = True
        self.handover = HandOver(local=self.local, store=self.store, answers=lambda: self.up)
        self.handover.start()

    def count(self, cost: int, tenant: str = "acme") -> None:
        charge = Charge(tenant_id=tenant, limits=Limits(), blocking=frozenset(), cost=cost)
        assert self.local.count(charge, asked=False).charged

    async def at_store(self, tenant: str = "acme") -> int:
        return (await self.store.usage(tenant)).cost_today


@in_virtual_time
async def test_nothing_is_reported_until_the_store_answers_again_and_then_all_of_it_once() -> None:
    world = World()
    world.up = False
    for tenant in ("acme", "acme", "other"):
        world.count(5, tenant)
    await asyncio.sleep(60)
    assert world.store.asked == []
    world.up = True
    await asyncio.sleep(2)
    assert (await world.at_store(), await world.at_store("other")) == (10, 5)
    await asyncio.sleep(60)
    assert len(world.store.asked) == 2
    await world.handover.close()


@in_virtual_time
async def test_what_the_store_counted_and_did_not_confirm_is_not_counted_twice() -> None:
    world = World()
    world.store.way = "counts"
    world.count(5)
    await asyncio.sleep(10)
    world.count(2)
    world.store.way = "answers"
    await asyncio.sleep(120)
    assert (await world.at_store(), world.local.costs.waiting) == (7, 0)
    await world.handover.close()


@pytest.mark.parametrize("way", ["fails", "hangs"])
@in_virtual_time
async def test_a_store_that_fails_is_asked_less_and_less_often(way: str) -> None:
    world = World()
    world.store.way = way
    for number in range(3):
        world.count(5, f"t{number}")
    await asyncio.sleep(600)
    pauses = [later - earlier for earlier, later in zip(world.store.asked, world.store.asked[1:], strict=False)]
    assert pauses[0] >= 2
    assert LONGEST_PAUSE <= pauses[-1] <= LONGEST_PAUSE + PATIENCE
    world.store.way = "answers"
    await asyncio.sleep(2 * LONGEST_PAUSE)
    assert [await world.at_store(f"t{number}") for number in range(3)] == [5, 5, 5]
    await world.handover.close()


@in_virtual_time
async def test_many_tenants_are_reported_in_rounds() -> None:
    world = World()
    world.up = False
    for number in range(A_ROUND + 1):
        world.count(1, f"t{number}")
    world.up = True
    await asyncio.sleep(1.5)
    assert len(world.store.asked) == A_ROUND
    await asyncio.sleep(1)
    assert len(world.store.asked) == A_ROUND + 1
    await world.handover.close()


@in_virtual_time
async def test_a_circuit_that_opens_in_the_middle_of_a_round_ends_it() -> None:
    world = World()
    world.handover._answers = lambda: len(world.store.asked) < 2
    for number in range(5):
        world.count(1, f"t{number}")
    await asyncio.sleep(10)
    assert len(world.store.asked) == 2
    await world.handover.close()


@in_virtual_time
async def test_what_can_be_reported_at_the_end_is() -> None:
    world = World()
    world.count(5)
    for number in range(3 * A_ROUND):
        world.count(1, f"t{number}")
    await world.handover.close()
    assert await world.at_store() == 5
    assert {await world.at_store(f"t{number}") for number in range(3 * A_ROUND)} == {1}


@in_virtual_time
async def test_the_end_does_not_wait_for_ever_nor_for_what_cannot_be_reported() -> None:
    world = World()
    for number in range(3 * A_ROUND):
        world.count(1, f"t{number}")
    world.store.takes = 0.01
    began = world.loop.time()
    await world.handover.close()
    assert world.loop.time() - began == 2 * PATIENCE
    for way, most in (("fails", 1), ("hangs", PATIENCE)):
        world = World()
        world.store.way = way
        world.count(1)
        began = world.loop.time()
        await world.handover.close()
        assert world.loop.time() - began <= most
        assert len(world.store.asked) == 1


@pytest.mark.parametrize("answer", [None, "5", Usage(requests_today=0, cost_today="5")])  # type: ignore[arg-type] # that is it
@in_virtual_time
async def test_a_store_that_answers_something_else_does_not_end_the_reporting(answer: Any) -> None:
    world = World()
    world.store.way, world.store.garbled = "garbles", answer
    world.count(5)
    await asyncio.sleep(10)
    world.store.way = "answers"
    await asyncio.sleep(LONGEST_PAUSE)
    assert (await world.at_store(), world.local.costs.today("acme")) == (5, 5)
    await world.handover.close()


def test_what_cannot_be_reported_is_told_with_its_count(caplog: pytest.LogCaptureFixture) -> None:
    @in_virtual_time
    async def ends_in_an_outage() -> None:
        world = World()
        world.up = False
        world.count(1_250_000)
        world.count(1_000_000, "other")
        await world.handover.close()

    with caplog.at_level(logging.WARNING):
        ends_in_an_outage()
    assert "2 requests" in caplog.text
    assert "cost of 2 tenants lost (2.25)" in caplog.text


def test_cost_of_a_day_that_is_over_is_told_and_not_counted_to_the_next(caplog: pytest.LogCaptureFixture) -> None:
    @in_virtual_time
    async def over_midnight() -> None:
        world = World()
        world.up = False
        world.count(3)
        await asyncio.sleep(13 * 3600)
        world.up = True
        await asyncio.sleep(10)
        assert await world.at_store() == 0
        assert world.store.asked == []
        await world.handover.close()

    with caplog.at_level(logging.WARNING):
        over_midnight()
    assert "cost of 1 tenants lost (0.000003)" in caplog.text


def test_a_flood_writes_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    @in_virtual_time
    async def flood() -> None:
        world = World()
        for _ in range(180):
            world.count(0)
            await asyncio.sleep(1)
        await world.handover.close()

    with caplog.at_level(logging.WARNING):
        flood()
    assert 3 <= len(caplog.records) <= 5


@in_virtual_time
async def test_buckets_of_an_outage_are_gone_a_minute_after_it() -> None:
    world = World()
    charge = Charge(tenant_id="acme", limits=Limits(rate=60), blocking=frozenset())
    world.local.count(charge, asked=False)
    await asyncio.sleep(58)
    assert world.local.tenants == 1
    await asyncio.sleep(4)
    assert world.local.tenants == 0
    await world.handover.close()


@in_virtual_time
async def test_one_that_was_never_started_can_be_closed() -> None:
    local = LocalProtection()
    await HandOver(local=local, store=MemoryProtection(), answers=lambda: True).close()
