"""What exceeded limits come to: one charge covers them all, and each denies, warns or only counts (spec 3.5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from extauthz.model.billing import BillingState, Limits
from extauthz.model.decision import Denial, Detail, Gate, LimitExceeded, RateLimited, Reason
from extauthz.model.protection import Dimension, Exceeded, Outcome

_REASONS: Final = {
    Dimension.QUOTA: Reason.MAX_REQUESTS_PER_DAY,
    Dimension.RATE: Reason.RATE,
    Dimension.BURST: Reason.BURST,
    Dimension.COST: Reason.COST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What exceeding a limit comes to (ABUSE-002): WARN lets through. `cost` knows REJECT and WARN only."""

    rate: Outcome = Outcome.REJECT
    burst: Outcome = Outcome.THROTTLE
    cost: Outcome = Outcome.REJECT

    def denying(self) -> frozenset[Dimension]:
        """The dimensions in which this gate denies."""
        actions = {Dimension.RATE: self.rate, Dimension.BURST: self.burst, Dimension.COST: self.cost}
        return frozenset(dimension for dimension, outcome in actions.items() if outcome is not Outcome.WARN)


class Terms(NamedTuple):
    """On which terms one request is charged.

    `cost` is in micro-units. `quota_counts`: a used-up day quota is a reason for billing to deny; `quota_blocks`: and billing
    enforces it. `plan_id` and `billing_state` are for the text of a denial. With `commit` False nothing is consumed.
    """

    tenant_id: str
    limits: Limits
    cost: int
    quota_counts: bool
    quota_blocks: bool
    plan_id: str
    billing_state: BillingState | None
    commit: bool


class Verdict(NamedTuple):
    """What a charge comes to.

    `denial` is the first exceeded dimension that blocks, `warnings` are those before it that do not. `quota` and `limit` are
    the denials that billing and protection would have made but for their modes.
    """

    denial: Denial | None = None
    quota: Denial | None = None
    limit: Denial | None = None
    warnings: tuple[Dimension, ...] = ()


def decide(
    exceeded: tuple[Exceeded, ...],
    terms: Terms,
    actions: Actions,
    *,
    counts: frozenset[Dimension],
    blocks: frozenset[Dimension],
) -> Verdict:
    """What the exceeded dimensions, in the locked order, come to.

    `counts` are the dimensions that would deny if every gate enforced, `blocks` those that do.
    """
    warnings: list[Dimension] = []
    shadows: dict[Gate, Denial] = {}
    for over in exceeded:
        if over.dimension in blocks:
            denial = _denial(over, terms, actions, _longest_wait_ms(exceeded, blocks))
            return Verdict(denial, shadows.get(Gate.BILLING), shadows.get(Gate.PROTECTION), tuple(warnings))
        warnings.append(over.dimension)
        if over.dimension in counts:
            would_be = _denial(over, terms, actions, _longest_wait_ms(exceeded, counts))
            shadows.setdefault(would_be.gate, would_be)
    return Verdict(None, shadows.get(Gate.BILLING), shadows.get(Gate.PROTECTION), tuple(warnings))


def _longest_wait_ms(exceeded: Iterable[Exceeded], dimensions: frozenset[Dimension]) -> int:
    """Milliseconds, rounded up, until the same request would pass in all of `dimensions`."""
    return -(-max(over.wait_us for over in exceeded if over.dimension in dimensions) // 1000)


def _denial(over: Exceeded, terms: Terms, actions: Actions, retry_after_ms: int) -> Denial:
    detail: Detail
    if over.dimension is Dimension.RATE:
        detail = RateLimited(dimension=over.dimension, outcome=actions.rate)
    elif over.dimension is Dimension.BURST:
        detail = RateLimited(dimension=over.dimension, outcome=actions.burst)
    else:
        detail = LimitExceeded(
            dimension=over.dimension,
            current=over.current,
            allowed=over.allowed,
            plan_id=terms.plan_id,
            billing_state=terms.billing_state,
        )
    return Denial(
        gate=Gate.BILLING if over.dimension is Dimension.QUOTA else Gate.PROTECTION,
        reason=_REASONS[over.dimension],
        detail=detail,
        retry_after_ms=retry_after_ms,
    )
