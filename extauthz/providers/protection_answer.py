"""From where a tenant's counts stand to the answer to a charge: the same for every place in which they are kept."""

from typing import Final

from extauthz.model.billing import Limits
from extauthz.model.bucket import remaining, reset_us, wait_us
from extauthz.model.protection import (
    BURST_PERIOD_US,
    RATE_PERIOD_US,
    Charge,
    ChargeResult,
    Dimension,
    Exceeded,
    RateStatus,
)

LARGEST_COUNT: Final = 2**53 - 1
"""Day counts stop here: the largest whole number up to which doubles (Redis's Lua) hold every one."""

DAY_US: Final = 86_400_000_000

_CHARGED: Final = ChargeResult(charged=True)
"""The commonest answer to a request without limits: one object for all."""


def over_limits(
    charge: Charge, requests: int, cost: int, rate: int, burst: int, to_midnight_us: int
) -> tuple[Exceeded, ...]:
    """The dimensions that the charge exceeds, in the locked order, from the counts before it.

    `rate` and `burst` are deficits as of now (see `model.bucket`); what they are does not matter where there is no limit.
    """
    limits = charge.limits
    found: list[Exceeded] = []
    quota, budget = limits.max_requests_per_day, limits.max_cost_per_day
    if quota is not None and requests >= quota:
        found.append(_over(Dimension.QUOTA, to_midnight_us, requests, quota))
    if limits.rate is not None:
        found += _over_bucket(Dimension.RATE, rate, limits.rate, RATE_PERIOD_US)
    if limits.burst is not None:
        found += _over_bucket(Dimension.BURST, burst, limits.burst, BURST_PERIOD_US)
    if budget is not None and (cost + charge.cost > budget or budget == 0):
        found.append(_over(Dimension.COST, to_midnight_us, cost, budget))
    return tuple(found)


def answer(
    exceeded: tuple[Exceeded, ...], limits: Limits, requests: int, cost: int, rate: int, burst: int, *, passed: bool
) -> ChargeResult:
    """The answer, from where the counts stand after the charge. Near is above 80 %, that is 5 * count > 4 * limit."""
    quota, n_rate, n_burst, budget = limits.max_requests_per_day, limits.rate, limits.burst, limits.max_cost_per_day
    near: list[Dimension] = []
    if quota is not None and requests * 5 > quota * 4:
        near.append(Dimension.QUOTA)
    if n_rate is not None and rate * 5 > n_rate * (4 * RATE_PERIOD_US):
        near.append(Dimension.RATE)
    if n_burst is not None and burst * 5 > n_burst * (4 * BURST_PERIOD_US):
        near.append(Dimension.BURST)
    if budget is not None and cost * 5 > budget * 4:
        near.append(Dimension.COST)
    if n_rate is None and budget is None and not near and not exceeded:
        return _CHARGED
    return ChargeResult(
        charged=passed,
        exceeded=exceeded,
        near=tuple(near),
        rate=None if n_rate is None else _rate_status(rate, n_rate),
        cost_today=None if budget is None else cost,
    )


def saturated(count: int, more: int) -> int:
    """`count + more`, at most `LARGEST_COUNT`."""
    total = count + more
    return total if total < LARGEST_COUNT else LARGEST_COUNT  # noqa: FURB136 - a call costs as much again


def _over(dimension: Dimension, wait: int, current: int, allowed: int) -> Exceeded:
    return Exceeded(dimension=dimension, wait_us=wait, current=current, allowed=allowed)


def _over_bucket(dimension: Dimension, deficit: int, limit: int, period_us: int) -> list[Exceeded]:
    wait = wait_us(deficit, limit, period_us)
    return [_over(dimension, wait, limit - remaining(deficit, limit, period_us), limit)] if wait else []


def _rate_status(deficit: int, limit: int) -> RateStatus:
    return RateStatus(
        limit=limit,
        remaining=remaining(deficit, limit, RATE_PERIOD_US),
        reset_us=reset_us(deficit, limit, RATE_PERIOD_US),
    )
