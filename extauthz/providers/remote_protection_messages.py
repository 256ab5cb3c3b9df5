"""Charges and their answers as messages of the provider contracts, and back. What has been sent by others is checked here."""

from collections.abc import Iterable
from typing import Final

from extauthz._gen.provider.v1 import protection_pb2 as pb
from extauthz.errors import InvalidRecord
from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Dimension, Exceeded, RateStatus, Usage
from extauthz.providers.remote_change_messages import read_new_id
from extauthz.providers.remote_words import DIMENSIONS

_ORDER: Final = {dimension: place for place, dimension in enumerate(CHARGED)}


def write_charge(charge: Charge) -> pb.ChargeRequest:
    """A charge."""
    limits = charge.limits
    return pb.ChargeRequest(
        tenant_id=charge.tenant_id,
        limits=pb.Limits(
            rate=limits.rate,
            burst=limits.burst,
            max_requests_per_day=limits.max_requests_per_day,
            max_cost_per_day_micros=limits.max_cost_per_day,
        ),
        blocking=[DIMENSIONS.number(each) for each in CHARGED if each in charge.blocking],
        cost_micros=charge.cost,
        dry_run=not charge.commit,
    )


def read_charge(message: pb.ChargeRequest) -> Charge:
    """A charge.

    Raises:
        InvalidRecord: it names no tenant, blocks by no dimension at all (0), or counts backwards.
    """
    limits = message.limits
    return Charge(
        tenant_id=read_new_id(message.tenant_id),
        limits=Limits(
            rate=read_count(limits.rate) if limits.HasField("rate") else None,
            burst=read_count(limits.burst) if limits.HasField("burst") else None,
            max_requests_per_day=(
                read_count(limits.max_requests_per_day) if limits.HasField("max_requests_per_day") else None
            ),
            max_cost_per_day=(
                read_count(limits.max_cost_per_day_micros) if limits.HasField("max_cost_per_day_micros") else None
            ),
        ),
        blocking=_read_blocking(message.blocking),
        cost=read_count(message.cost_micros),
        commit=not message.dry_run,
    )


def _read_blocking(numbers: Iterable[int]) -> frozenset[Dimension]:
    """A dimension of a newer version is passed over: its limit is in a field that is skipped, so nothing can exceed it here.

    Refusing it would be worse: every charge of that client would go uncounted, and no circuit would open.
    """
    return frozenset(DIMENSIONS.member(each) for each in numbers if each in DIMENSIONS or not each)


def write_result(result: ChargeResult) -> pb.ChargeResponse:
    """The answer to a charge."""
    rate = result.rate
    return pb.ChargeResponse(
        charged=result.charged,
        exceeded=[
            pb.Exceeded(
                dimension=DIMENSIONS.number(each.dimension),
                wait_us=each.wait_us,
                current=each.current,
                allowed=each.allowed,
            )
            for each in result.exceeded
        ],
        near=[DIMENSIONS.number(each) for each in result.near],
        rate=None
        if rate is None
        else pb.RateStatus(limit=rate.limit, remaining=rate.remaining, reset_us=rate.reset_us),
    )


def read_result(blocking: frozenset[Dimension], message: pb.ChargeResponse) -> ChargeResult:
    """The answer to a charge for which those dimensions are `blocking`; `exceeded` and `near` are put into the locked order.

    Raises:
        InvalidRecord: it cannot be read, or contradicts itself. An empty one does: it was neither charged nor is anything
            exceeded.
    """
    exceeded = {DIMENSIONS.member(each.dimension): each for each in message.exceeded}
    if len(exceeded) != len(message.exceeded):
        raise InvalidRecord("the answer to a charge names a dimension twice")
    if message.charged is not blocking.isdisjoint(exceeded):
        raise InvalidRecord("the answer to a charge contradicts itself: charged, and exceeded what blocks, or neither")
    return ChargeResult(
        charged=message.charged,
        exceeded=tuple(_read_exceeded(each, exceeded[each]) for each in _in_order(exceeded)),
        near=_in_order({DIMENSIONS.member(each) for each in message.near}),
        rate=_read_rate(message.rate) if message.HasField("rate") else None,
    )


def _read_exceeded(dimension: Dimension, message: pb.Exceeded) -> Exceeded:
    return Exceeded(
        dimension=dimension,
        wait_us=read_count(message.wait_us),
        current=read_count(message.current),
        allowed=read_count(message.allowed),
    )


def _read_rate(message: pb.RateStatus) -> RateStatus:
    return RateStatus(
        limit=read_count(message.limit), remaining=read_count(message.remaining), reset_us=read_count(message.reset_us)
    )


def _in_order(dimensions: Iterable[Dimension]) -> tuple[Dimension, ...]:
    return tuple(sorted(dimensions, key=_ORDER.__getitem__))


def write_clearing(tenant_id: str | None) -> pb.ClearUsageRequest:
    """Whose usage is to be forgotten; None: everybody's."""
    if tenant_id is None:
        return pb.ClearUsageRequest(all=pb.AllTenants())
    return pb.ClearUsageRequest(tenant_id=tenant_id)


def read_clearing(message: pb.ClearUsageRequest) -> str | None:
    """Whose usage is to be forgotten; None: everybody's.

    Raises:
        InvalidRecord: it does not say whose, or names no tenant.
    """
    match message.WhichOneof("whose"):
        case "tenant_id":
            return read_new_id(message.tenant_id)
        case "all":
            return None
    raise InvalidRecord("a clearing says neither whose usage nor that it is everybody's")


def write_usage(usage: Usage) -> pb.Usage:
    """What was used today."""
    return pb.Usage(requests_today=usage.requests_today, cost_today_micros=usage.cost_today)


def read_usage(message: pb.Usage) -> Usage:
    """What was used today.

    Raises:
        InvalidRecord: it counts backwards.
    """
    return Usage(requests_today=read_count(message.requests_today), cost_today=read_count(message.cost_today_micros))


def read_count(number: int) -> int:
    """A count of requests, micro-units or microseconds.

    Raises:
        InvalidRecord: it is negative.
    """
    if number < 0:
        raise InvalidRecord(f"a count of {number} is not possible")
    return number
