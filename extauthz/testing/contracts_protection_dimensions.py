"""What every protection provider must let through, dimension by dimension (part of `contracts_protection`)."""

# ruff: noqa: PLR2004 - the figures of a contract stand in its tests as they are

from abc import ABC, abstractmethod

from extauthz.model.billing import Limits
from extauthz.model.protection import BURST_PERIOD_US, CHARGED, RATE_PERIOD_US, ChargeResult, Dimension, RateStatus
from extauthz.testing.protection_harness import TENANT, Caller, ProtectionHarness, dimensions


class DimensionsContract(ABC):
    """What is counted, and what each limit lets through."""

    @abstractmethod
    async def start(self) -> ProtectionHarness:
        """A harness with an empty provider."""

    # What is counted

    async def test_everything_is_counted_with_no_limit_at_all(self) -> None:
        """Limits of None let everything through and leave nothing uncounted."""
        harness = await self.start()
        caller = Caller(harness, Limits())
        results = [await caller.charge(cost=7) for _ in range(50)]
        assert results == [ChargeResult(charged=True)] * 50
        usage = await harness.provider.usage(TENANT)
        assert (usage.requests_today, usage.cost_today) == (50, 350)

    async def test_an_unknown_tenant_used_nothing(self) -> None:
        """Zero is an answer."""
        usage = await (await self.start()).provider.usage("nobody")
        assert (usage.requests_today, usage.cost_today) == (0, 0)

    async def test_tenants_are_counted_apart(self) -> None:
        """One tenant's limit is not another's."""
        caller = Caller(await self.start(), Limits(rate=1, burst=1, max_requests_per_day=1, max_cost_per_day=1))
        assert (await caller.charge(1)).charged
        assert not (await caller.charge(1)).charged
        assert (await caller.charge(1, tenant="other")).charged

    async def test_nothing_is_consumed_without_commit(self) -> None:
        """`commit` False answers what would happen."""
        harness = await self.start()
        caller = Caller(harness, Limits(rate=2, burst=2, max_requests_per_day=2, max_cost_per_day=2))
        would = [await caller.charge(1, commit=False) for _ in range(5)]
        assert would == [await caller.charge(1)] * 5
        assert (await harness.provider.usage(TENANT)).requests_today == 1

    # Each dimension

    async def test_rate_lets_n_through_and_then_one_every_nth_of_a_minute(self) -> None:
        """GCRA: capacity N, refilled N a minute."""
        harness = await self.start()
        caller = Caller(harness, Limits(rate=4))
        assert await caller.passed(10) == 4
        for _ in range(3):
            await harness.advance(RATE_PERIOD_US // 4)
            assert await caller.passed(10) == 1
        await harness.advance(RATE_PERIOD_US)
        assert await caller.passed(10) == 4

    async def test_burst_lets_n_through_a_second(self) -> None:
        """The same with a second for its period."""
        harness = await self.start()
        caller = Caller(harness, Limits(burst=10))
        assert await caller.passed(25) == 10
        await harness.advance(BURST_PERIOD_US // 2)
        assert await caller.passed(25) == 5

    async def test_quota_holds_for_a_utc_day(self) -> None:
        """Used up at its limit, and counted from nothing after midnight."""
        harness = await self.start()
        caller = Caller(harness, Limits(max_requests_per_day=3))
        assert await caller.passed(5) == 3
        (exceeded,) = (await caller.charge()).exceeded
        assert (exceeded.dimension, exceeded.current, exceeded.allowed) == (Dimension.QUOTA, 3, 3)
        await harness.advance(exceeded.wait_us)
        assert await caller.passed(5) == 3
        assert (await harness.provider.usage(TENANT)).requests_today == 3

    async def test_cost_is_charged_in_micro_units(self) -> None:
        """What does not fit is refused, what still fits goes on."""
        caller = Caller(await self.start(), Limits(max_cost_per_day=1_000_000))
        assert (await caller.charge(999_999)).charged
        (exceeded,) = (await caller.charge(2)).exceeded
        assert (exceeded.dimension, exceeded.current, exceeded.allowed) == (Dimension.COST, 999_999, 1_000_000)
        assert (await caller.charge(1)).charged
        assert (await caller.charge(0)).charged

    async def test_the_cost_of_the_day_is_told_or_left_out(self) -> None:
        """For the time in which there is no answer; what was refused is not in it."""
        caller = Caller(await self.start(), Limits(max_cost_per_day=10))
        told = [(await caller.charge(cost)).cost_today for cost in (4, 5, 6)]
        assert told in ([4, 9, 9], [None, None, None])

    async def test_a_cost_above_the_whole_limit_waits_for_midnight_all_the_same(self) -> None:
        """It will not pass then either, but nobody can say better."""
        harness = await self.start()
        caller = Caller(harness, Limits(max_cost_per_day=5, max_requests_per_day=1))
        first = await caller.charge(6)
        assert dimensions(first) == (Dimension.COST,)
        await caller.charge()
        quota, cost = (await caller.charge(6)).exceeded
        assert first.exceeded[0].wait_us == quota.wait_us == cost.wait_us > 0

    async def test_a_limit_of_zero_lets_nothing_through(self) -> None:
        """Every dimension at 0 denies, and waits one period (day limits: to midnight)."""
        harness = await self.start()
        zero = Limits(rate=0, burst=0, max_requests_per_day=0, max_cost_per_day=0)
        result = await Caller(harness, zero).charge()
        assert dimensions(result) == CHARGED
        waits = [each.wait_us for each in result.exceeded]
        assert waits[1:3] == [RATE_PERIOD_US, BURST_PERIOD_US]
        assert waits[0] == waits[3] > 0
        assert result.rate == RateStatus(limit=0, remaining=0, reset_us=RATE_PERIOD_US)
        for each in CHARGED:
            only = Caller(harness, zero, {each})
            assert not (await only.charge()).charged

    async def test_the_largest_limits_are_exact(self) -> None:
        """No rounding at 100,000,000 requests a period and 10^9 units a day."""
        harness = await self.start()
        limits = Limits(rate=10**8, burst=10**8, max_requests_per_day=10**9, max_cost_per_day=10**15)
        caller = Caller(harness, limits)
        result = await caller.charge(10**15)
        assert result.rate == RateStatus(limit=10**8, remaining=10**8 - 1, reset_us=1)
        assert dimensions(await caller.charge(1)) == (Dimension.COST,)
