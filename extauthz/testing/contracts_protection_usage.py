"""What every protection provider must do with usage that is known only afterwards (part of `contracts_protection`)."""

# ruff: noqa: PLR2004 - the figures of a contract stand in its tests as they are

from abc import ABC, abstractmethod
from typing import Final

from extauthz.errors import IdempotencyConflict
from extauthz.model.billing import Limits
from extauthz.model.protection import Dimension, Usage
from extauthz.testing.protection_harness import TENANT, Caller, ProtectionHarness, dimensions

_DAY_US: Final = 86_400_000_000


class UsageContract(ABC):
    """Usage reported afterwards, each report once, and the turn of the day."""

    @abstractmethod
    async def start(self) -> ProtectionHarness:
        """A harness with an empty provider."""

    async def test_reported_usage_adds_to_the_cost_of_the_day(self) -> None:
        """Beside what requests were charged; they stay as many as they were. The answer is the usage after it."""
        harness = await self.start()
        await Caller(harness, Limits()).charge(5)
        assert await harness.provider.record_usage(TENANT, 37, "run-1") == Usage(requests_today=1, cost_today=42)
        assert await harness.provider.record_usage(TENANT, 8, "run-2") == Usage(requests_today=1, cost_today=50)
        assert await harness.provider.usage(TENANT) == Usage(requests_today=1, cost_today=50)

    async def test_the_same_report_again_adds_nothing(self) -> None:
        """However often; what came in between stays."""
        harness = await self.start()
        for _ in range(3):
            assert await harness.provider.record_usage(TENANT, 37, "run-1") == Usage(requests_today=0, cost_today=37)
        await harness.provider.record_usage(TENANT, 1, "run-2")
        assert await harness.provider.record_usage(TENANT, 37, "run-1") == Usage(requests_today=0, cost_today=38)

    async def test_a_key_that_stands_for_another_cost_is_a_conflict(self) -> None:
        """And adds nothing, more or less."""
        harness = await self.start()
        await harness.provider.record_usage(TENANT, 37, "run-1")
        for cost in (36, 38, 0):
            try:
                await harness.provider.record_usage(TENANT, cost, "run-1")
            except IdempotencyConflict:
                continue
            raise AssertionError(f"{cost} was taken for 37")
        assert await harness.provider.usage(TENANT) == Usage(requests_today=0, cost_today=37)

    async def test_keys_and_usage_of_tenants_are_apart(self) -> None:
        """The same key of another tenant is another report."""
        harness = await self.start()
        await harness.provider.record_usage(TENANT, 37, "run-1")
        assert await harness.provider.record_usage("other", 1, "run-1") == Usage(requests_today=0, cost_today=1)
        assert await harness.provider.usage(TENANT) == Usage(requests_today=0, cost_today=37)

    async def test_usage_of_nothing_is_a_report_too(self) -> None:
        """Its key is used."""
        harness = await self.start()
        assert await harness.provider.record_usage(TENANT, 0, "run-1") == Usage(requests_today=0, cost_today=0)
        assert await harness.provider.record_usage(TENANT, 0, "run-1") == Usage(requests_today=0, cost_today=0)

    async def test_reported_usage_is_counted_whatever_the_limit_and_denies_later_requests(self) -> None:
        """It has happened already."""
        harness = await self.start()
        caller = Caller(harness, Limits(max_cost_per_day=100))
        assert (await caller.charge(90)).charged
        assert await harness.provider.record_usage(TENANT, 1_000, "run-1") == Usage(requests_today=1, cost_today=1_090)
        result = await caller.charge(1)
        assert (result.charged, dimensions(result)) == (False, (Dimension.COST,))
        assert (result.exceeded[0].current, result.exceeded[0].allowed) == (1_090, 100)

    async def test_printable_ascii_up_to_128_characters_is_a_key(self) -> None:
        """Braces, spaces, quotes, signs that mean something elsewhere; each is itself."""
        harness = await self.start()
        keys = [" ", "run 1", "run}1", "{other}", "a:b", "a:b ", "*", "A:B", "'\"\\", "~", "x" * 127, "x" * 128]
        for key in keys:
            await harness.provider.record_usage(TENANT, 1, key)
        for key in keys:
            await harness.provider.record_usage(TENANT, 1, key)
        assert (await harness.provider.usage(TENANT)).cost_today == len(keys)

    async def test_a_report_repeated_after_midnight_adds_nothing(self) -> None:
        """A key holds for a day at least, and the new day begins at nothing."""
        harness = await self.start()
        limits = Limits(max_cost_per_day=50)
        await harness.provider.record_usage(TENANT, 50, "run-1")
        (exceeded,) = (await Caller(harness, limits).charge(1)).exceeded
        await harness.advance(exceeded.wait_us)
        assert await harness.provider.usage(TENANT) == Usage(requests_today=0, cost_today=0)
        assert await harness.provider.record_usage(TENANT, 50, "run-1") == Usage(requests_today=0, cost_today=0)
        assert (await Caller(harness, limits).charge(50)).charged

    async def test_days_without_a_request_in_between_are_days_too(self) -> None:
        """What was used is gone after one midnight and after several."""
        harness = await self.start()
        caller = Caller(harness, Limits(max_requests_per_day=1, max_cost_per_day=1))
        for days in (1, 2, 3, 40):
            assert (await caller.charge(1)).charged
            assert not (await caller.charge()).charged
            await harness.advance(days * _DAY_US)
            assert await harness.provider.usage(TENANT) == Usage(requests_today=0, cost_today=0)

    async def test_clearing_forgets_usage_but_not_which_reports_came_in(self) -> None:
        """A report that is sent again after a clearing is not counted again."""
        harness = await self.start()
        await harness.provider.record_usage(TENANT, 37, "run-1")
        await harness.provider.clear(TENANT)
        assert await harness.provider.usage(TENANT) == Usage(requests_today=0, cost_today=0)
        assert await harness.provider.record_usage(TENANT, 37, "run-1") == Usage(requests_today=0, cost_today=0)

    async def test_counts_beyond_all_limits_break_nothing(self) -> None:
        """A hundred times the largest cost a day; what counts is that it stays over."""
        harness = await self.start()
        caller = Caller(harness, Limits(max_cost_per_day=10**15, rate=5), blocking=())
        for number in range(10):
            await caller.charge(10**15)
            await harness.provider.record_usage(TENANT, 10**16, f"run-{number}")
        usage = await harness.provider.usage(TENANT)
        assert usage.requests_today == 10
        assert usage.cost_today >= 9 * 10**15
        (exceeded,) = (e for e in (await caller.charge(1)).exceeded if e.dimension is Dimension.COST)
        assert exceeded.current == usage.cost_today
