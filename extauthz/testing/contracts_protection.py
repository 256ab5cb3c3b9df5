"""What every protection provider must do (ABUSE-005). Subclass `ProtectionContract` in a test module and say how to make one.

    class TestMine(ProtectionContract):
        async def start(self) -> ProtectionHarness:
            return MyHarness()

The suite needs no fixtures; its coroutines run under pytest-asyncio (`asyncio_mode = auto`) or any runner of the kind.
"""

# ruff: noqa: PLR2004 - the figures of a contract stand in its tests as they are

from typing import Final

from extauthz.model.billing import Limits
from extauthz.model.protection import BURST_PERIOD_US, CHARGED, RATE_PERIOD_US, Dimension, Exceeded, RateStatus
from extauthz.testing.contracts_protection_dimensions import DimensionsContract
from extauthz.testing.contracts_protection_usage import UsageContract
from extauthz.testing.protection_harness import NONE, TENANT, Caller, MicroTime, ProtectionHarness, dimensions

__all__ = ["MicroTime", "ProtectionContract", "ProtectionHarness"]

CALLERS: Final = 64


class ProtectionContract(DimensionsContract, UsageContract):
    """The contract of `ports.ProtectionProvider`. `start` gives a harness with an empty provider, each time a new one."""

    # All or nothing

    async def test_a_denied_request_consumes_nothing_anywhere(self) -> None:
        """Burst denies; rate, quota and cost stay as they were."""
        harness = await self.start()
        caller = Caller(harness, Limits(rate=100, burst=1, max_requests_per_day=100, max_cost_per_day=1000))
        first = await caller.charge(10)
        denied = [await caller.charge(10) for _ in range(20)]
        assert {dimensions(each) for each in denied} == {(Dimension.BURST,)}
        assert first.rate is not None
        assert {each.rate for each in denied} == {first.rate}
        usage = await harness.provider.usage(TENANT)
        assert (usage.requests_today, usage.cost_today) == (1, 10)

    async def test_exceeded_without_blocking_is_told_and_charged_in_full(self) -> None:
        """Rate and burst then stand at empty, never in debt; day counters go on counting."""
        harness = await self.start()
        limits = Limits(rate=2, burst=2, max_requests_per_day=2, max_cost_per_day=2)
        lenient, strict = Caller(harness, limits, NONE), Caller(harness, limits)
        results = [await lenient.charge(1) for _ in range(6)]
        assert all(each.charged for each in results)
        assert [dimensions(each) for each in results] == [()] * 2 + [CHARGED] * 4
        usage = await harness.provider.usage(TENANT)
        assert (usage.requests_today, usage.cost_today) == (6, 6)
        waits = {each.dimension: each.wait_us for each in (await strict.charge(1)).exceeded}
        assert waits[Dimension.RATE] == RATE_PERIOD_US // 2
        assert waits[Dimension.BURST] == BURST_PERIOD_US // 2

    async def test_one_blocking_dimension_stops_what_the_others_would_let_pass(self) -> None:
        """`blocking` decides; `exceeded` tells all in the locked order."""
        harness = await self.start()
        limits = Limits(rate=1, burst=1, max_requests_per_day=1, max_cost_per_day=1)
        await Caller(harness, limits).charge(1)
        for each in CHARGED:
            result = await Caller(harness, limits, {each}).charge(1)
            assert (result.charged, dimensions(result)) == (False, CHARGED)
        assert (await harness.provider.usage(TENANT)).requests_today == 1

    # What it tells

    async def test_abuse_002_every_outcome_is_explicit(self) -> None:
        """Charged exactly when nothing that blocks is exceeded, and each exceeded dimension is named with its figures."""
        caller = Caller(await self.start(), Limits(rate=3, burst=2))
        assert (await caller.charge()).charged
        assert (await caller.charge()).charged
        result = await caller.charge()
        assert result.charged is False
        (exceeded,) = result.exceeded
        assert exceeded == Exceeded(dimension=Dimension.BURST, wait_us=BURST_PERIOD_US // 2, current=2, allowed=2)

    async def test_the_wait_is_the_true_time(self) -> None:
        """A microsecond before it the same request is denied, at it the request passes."""
        harness = await self.start()
        limits = Limits(rate=7, burst=3, max_requests_per_day=9, max_cost_per_day=40)
        for dimension in CHARGED:
            caller = Caller(harness, limits, {dimension})
            while (result := await caller.charge(3)).charged:
                await harness.advance(1_237)
            (wait,) = (each.wait_us for each in result.exceeded if each.dimension is dimension)
            await harness.advance(wait - 1)
            assert dimension in dimensions(await caller.charge(3, commit=False))
            await harness.advance(1)
            assert dimension not in dimensions(await caller.charge(3, commit=False))
            await harness.provider.clear(None)

    async def test_the_rate_status_tells_where_the_bucket_stands_after_the_charge(self) -> None:
        """Whole requests left now, and the time until full."""
        harness = await self.start()
        caller = Caller(harness, Limits(rate=4))
        assert (await caller.charge()).rate == RateStatus(limit=4, remaining=3, reset_us=15_000_000)
        await harness.advance(10_000_000)
        assert (await caller.charge()).rate == RateStatus(limit=4, remaining=2, reset_us=20_000_000)
        await harness.advance(1)
        assert (await caller.charge(commit=False)).rate == RateStatus(limit=4, remaining=1, reset_us=34_999_999)

    async def test_near_is_above_eighty_percent(self) -> None:
        """Eight of ten is not near, nine of ten is."""
        caller = Caller(await self.start(), Limits(rate=10, burst=10, max_requests_per_day=10, max_cost_per_day=10))
        near = [(await caller.charge(1)).near for _ in range(10)]
        assert near == [()] * 8 + [CHARGED] * 2

    # Limits come with the charge

    async def test_billing_002_limits_are_those_of_the_charge(self) -> None:
        """Another plan holds from the next charge on: what was used is kept in requests, at most the new capacity."""
        harness = await self.start()
        caller = Caller(harness, Limits())
        big, small = Limits(rate=100), Limits(rate=5)
        for _ in range(10):
            assert (await caller.charge(limits=big)).charged
        result = await caller.charge(limits=small)
        assert (result.charged, result.rate) == (False, RateStatus(limit=5, remaining=0, reset_us=RATE_PERIOD_US))
        result = await caller.charge(limits=big)
        assert result.rate == RateStatus(limit=100, remaining=89, reset_us=11 * RATE_PERIOD_US // 100)

    async def test_a_shorter_plan_is_never_shut_for_longer_than_its_period(self) -> None:
        """A bucket emptied under a large limit is a full period of the small one away from full, not many."""
        harness = await self.start()
        caller = Caller(harness, Limits())
        for _ in range(200):
            await caller.charge(limits=Limits(rate=200))
        await harness.advance(RATE_PERIOD_US // 2)
        result = await caller.charge(limits=Limits(rate=2), commit=False)
        assert result.rate == RateStatus(limit=2, remaining=0, reset_us=RATE_PERIOD_US)
        assert result.charged

    # Under load, and afterwards

    async def test_callers_at_once_get_exactly_the_limit(self) -> None:
        """However many ask together."""
        for limits in (Limits(rate=13), Limits(burst=13), Limits(max_requests_per_day=13)):
            caller = Caller(await self.start(), limits)
            assert await caller.passed(CALLERS) == 13

    async def test_never_more_than_n_and_what_time_refills(self) -> None:
        """Over elapsed t at most N + t * N / period come through, and not less either when asked all the time."""
        harness = await self.start()
        caller = Caller(harness, Limits(burst=10))
        passed, elapsed = await caller.passed(CALLERS), 0
        for step in (1, 99_999, 100_001, 250_000, 333_333, 1_500_000, 7):
            await harness.advance(step)
            # After a pause longer than the period what did not fit into the bucket is lost.
            elapsed += min(step, BURST_PERIOD_US)
            passed += await caller.passed(CALLERS)
            assert passed <= 10 + elapsed * 10 // BURST_PERIOD_US
        assert passed >= 10 + elapsed * 10 // BURST_PERIOD_US - 1

    async def test_clear_forgets_one_tenant(self) -> None:
        """Rate, burst and the day's counts of that one alone."""
        harness = await self.start()
        caller = Caller(harness, Limits(rate=1, burst=1, max_requests_per_day=1, max_cost_per_day=1))
        for tenant in (TENANT, "other"):
            await caller.charge(1, tenant=tenant)
        await harness.provider.clear(TENANT)
        await harness.provider.clear("nobody")
        assert (await caller.charge(1)).charged
        assert dimensions(await caller.charge(1, tenant="other")) == CHARGED

    async def test_clear_forgets_all(self) -> None:
        """None means every tenant."""
        harness = await self.start()
        caller = Caller(harness, Limits(rate=1, burst=1, max_requests_per_day=1, max_cost_per_day=1))
        for tenant in (TENANT, "other"):
            await caller.charge(1, tenant=tenant)
        await harness.provider.clear(None)
        for tenant in (TENANT, "other"):
            assert (await harness.provider.usage(tenant)).requests_today == 0
            assert (await caller.charge(1, tenant=tenant)).charged
