"""Refusals are remembered for a moment: who was told to wait is told so again without asking the provider (spec 3.5)."""

from dataclasses import replace
from typing import Final

from extauthz.model.bucket import remaining
from extauthz.model.deadline import Clock
from extauthz.model.protection import RATE_PERIOD_US, Charge, ChargeResult, Dimension, Exceeded, RateStatus

LONGEST: Final = 1.0
"""Seconds for which a refusal is remembered at most."""

MOST_TENANTS: Final = 100_000
MOST_CHARGES: Final = 64
"""Different charges (cost, limits, what blocks) of one tenant; a configuration has few."""

_REFILLED: Final = frozenset({Dimension.RATE, Dimension.BURST})


class _Refusal:
    """What was answered at `at` (monotonic seconds), and how long the request has to wait from there."""

    __slots__ = ("at", "result", "until", "wait_us")

    def __init__(self, result: ChargeResult, wait_us: int, at: float) -> None:
        self.result = result
        self.wait_us = wait_us
        self.at = at
        self.until = at + min(wait_us / 1e6, LONGEST)

    def by(self, now: float) -> ChargeResult:
        """The answer as it is by now. What denies does so to the end, however the time is rounded."""
        return _by_now(self.result, min(round((now - self.at) * 1e6), self.wait_us - 1))


class RefusedCharges:
    """Refusals of a provider, by tenant and by everything else that a charge says.

    Another cost, other limits (a plan change) or other dimensions that block (whether the quota applies) are another charge.
    Of tenants that are too many the one refused longest ago goes.

    Args:
        clock: monotonic seconds.
        most_tenants: how many tenants' refusals are kept.
    """

    def __init__(self, clock: Clock, *, most_tenants: int = MOST_TENANTS) -> None:
        self._clock = clock
        self._most = most_tenants
        self._by_tenant: dict[str, dict[Charge, _Refusal]] = {}  # in the order in which they were refused last
        self.epoch = 0
        """Moves on with every `forget` and `clear`."""
        self.answers = 0

    def __len__(self) -> int:
        """Tenants of whom a refusal is kept."""
        return len(self._by_tenant)

    def find(self, charge: Charge) -> ChargeResult | None:
        """The answer to a charge whose refusal still holds, as it is by now; None: the provider has to be asked."""
        refusals = self._by_tenant.get(charge.tenant_id)
        refusal = None if refusals is None else refusals.get(charge)
        if refusals is None or refusal is None:
            return None
        now = self._clock()
        if now < refusal.until:
            self.answers += 1
            return refusal.by(now)
        del refusals[charge]
        if not refusals:
            del self._by_tenant[charge.tenant_id]
        return None

    def remember(self, charge: Charge, result: ChargeResult, epoch: int) -> None:
        """Keep a refusal for as long as the longest wait over what denies, 1 s at most.

        `epoch` is the one in which the provider was asked: an answer that was overtaken by `forget` or `clear` is not kept,
        nor is what only was to be looked at.
        """
        if result.charged or not charge.commit or epoch != self.epoch:
            return
        waits = [each.wait_us for each in result.exceeded if each.dimension in charge.blocking]
        now = self._clock()
        refusals = self._by_tenant.pop(charge.tenant_id, {})
        if len(refusals) >= MOST_CHARGES:
            refusals.clear()
        refusals[charge] = _Refusal(result, max(waits, default=0), now)
        self._by_tenant[charge.tenant_id] = refusals
        self._sweep(now)

    def forget(self, tenant_id: str) -> None:
        """Drop what is kept of one tenant, and what is on its way."""
        self.epoch += 1
        self._by_tenant.pop(tenant_id, None)

    def clear(self) -> None:
        """Drop everything."""
        self.epoch += 1
        self._by_tenant.clear()

    def _sweep(self, now: float) -> None:
        """Look at the two tenants refused longest ago; drop what is over or too much."""
        for _ in range(2):
            tenant = next(iter(self._by_tenant), None)
            if tenant is None:
                return
            refusals = self._by_tenant[tenant]
            if len(self._by_tenant) > self._most or all(each.until <= now for each in refusals.values()):
                del self._by_tenant[tenant]


def _by_now(result: ChargeResult, elapsed_us: int) -> ChargeResult:
    """A refusal `elapsed_us` later, when nothing was charged since. What is near stays as it was told."""
    exceeded = [each for each in (_less(over, elapsed_us) for over in result.exceeded) if each is not None]
    rate = None if result.rate is None else _refilled(result.rate, elapsed_us)
    return replace(result, exceeded=tuple(exceeded), rate=rate)


def _less(over: Exceeded, elapsed_us: int) -> Exceeded | None:
    """None where the wait is over. A limit of 0 never refills: its wait stays one period."""
    if over.allowed == 0 and over.dimension in _REFILLED:
        return over
    wait = over.wait_us - elapsed_us
    return replace(over, wait_us=wait) if wait > 0 else None


def _refilled(rate: RateStatus, elapsed_us: int) -> RateStatus:
    """The deficit is known up to one microsecond's refill, taken as the larger: never a request too many."""
    if rate.limit == 0:
        return rate
    reset = max(0, rate.reset_us - elapsed_us)
    capacity = rate.limit * RATE_PERIOD_US
    left = remaining(min(reset * rate.limit, capacity), rate.limit, RATE_PERIOD_US)
    return RateStatus(limit=rate.limit, remaining=max(left, rate.remaining), reset_us=reset)
