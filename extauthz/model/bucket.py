"""GCRA in whole numbers: capacity N requests, refilled N per period, exact to the microsecond and free of rounding.

A bucket is its *deficit*: what is missing to full, in request-microseconds. One request adds `period_us` of it, every
microsecond that passes takes `limit` of it away, and it never exceeds `limit * period_us` (an empty bucket, never a debt).
Nothing of the limit is kept in it, so a plan change keeps the deficit, clamped to the new capacity.

A bucket untouched for one whole period is full under every limit. All figures stay below 2**53 for limits up to
`billing.MAX_RATE`, so that the same arithmetic holds where numbers are doubles.
"""


def drained(deficit: int, elapsed_us: int, limit: int, period_us: int) -> int:
    """The deficit after `elapsed_us` (0 or more) under `limit`.

    The clamp comes before the draining, as if the limit had changed right after the last charge: otherwise a bucket that was
    emptied under a large limit would be shut for many periods of a small one.
    """
    if elapsed_us >= period_us:
        return 0
    capacity = limit * period_us
    left = (deficit if deficit < capacity else capacity) - elapsed_us * limit  # noqa: FURB136 - a call costs as much again
    return left if left > 0 else 0  # noqa: FURB136 - as above


def charged(deficit: int, limit: int, period_us: int) -> int:
    """The deficit with one more request in it; an empty bucket stays at empty."""
    return min(deficit + period_us, limit * period_us)


def wait_us(deficit: int, limit: int, period_us: int) -> int:
    """Microseconds until one request fits: 0 where it fits now, one period for a limit of 0 (it never will)."""
    if limit == 0:
        return period_us
    return max(0, -((limit * period_us - deficit - period_us) // limit))


def remaining(deficit: int, limit: int, period_us: int) -> int:
    """Whole requests that fit now."""
    return (limit * period_us - deficit) // period_us


def reset_us(deficit: int, limit: int, period_us: int) -> int:
    """Microseconds until full, rounded up; one period for a limit of 0."""
    return -(-deficit // limit) if limit else period_us
