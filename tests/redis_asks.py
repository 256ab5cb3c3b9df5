"""Charges as tests of Redis make them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Dimension
from extauthz.providers.redis_protection import RedisProtection

ALL: Final = frozenset(CHARGED)
PLAN: Final = Limits(rate=600, burst=50, max_requests_per_day=1_000, max_cost_per_day=10_000)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisProtection]:
    provider = RedisProtection(url, timeout=5.0)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


def ask(limits: Limits = PLAN, *, tenant: str = "acme", cost: int = 0, commit: bool = True) -> Charge:
    return Charge(tenant_id=tenant, limits=limits, blocking=ALL, cost=cost, commit=commit)


def over(result: ChargeResult) -> dict[Dimension, int]:
    return {each.dimension: each.wait_us for each in result.exceeded}
