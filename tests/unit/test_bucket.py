from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from extauthz.model.billing import MAX_RATE
from extauthz.model.bucket import charged, drained, remaining, reset_us, wait_us
from extauthz.model.protection import BURST_PERIOD_US, RATE_PERIOD_US

PERIODS = st.sampled_from([RATE_PERIOD_US, BURST_PERIOD_US])
LIMITS = st.integers(0, 12) | st.integers(0, MAX_RATE)
PAUSES = st.integers(0, 2 * RATE_PERIOD_US)
LEVELS = st.fractions(0, 1)


def tokens(deficit: int, period: int) -> Fraction:
    return Fraction(deficit, period)


@given(PERIODS, LIMITS, LIMITS, LEVELS, PAUSES)
def test_draining_is_exact_and_clamped_to_the_new_capacity(
    period: int, old: int, limit: int, level: Fraction, pause: int
) -> None:
    deficit = int(level * old * period)
    expected = max(Fraction(0), min(tokens(deficit, period), Fraction(limit)) - Fraction(pause * limit, period))
    assert tokens(drained(deficit, pause, limit, period), period) == expected


@given(PERIODS, LIMITS, LIMITS, LEVELS)
def test_a_bucket_left_alone_for_a_period_is_full_under_every_limit(
    period: int, old: int, limit: int, level: Fraction
) -> None:
    deficit = int(level * old * period)
    assert drained(deficit, period, limit, period) == 0
    assert limit < 2 or drained(limit * period, period - 1, limit, period) == limit


@given(PERIODS, LIMITS, LEVELS)
def test_the_wait_is_the_first_microsecond_at_which_a_request_fits(period: int, limit: int, level: Fraction) -> None:
    deficit = int(level * limit * period)
    wait = wait_us(deficit, limit, period)
    assert 0 <= wait <= period
    if limit:
        assert remaining(drained(deficit, wait, limit, period), limit, period) >= 1
    if wait:
        assert remaining(drained(deficit, wait - 1, limit, period), limit, period) == 0


@given(PERIODS, LIMITS, LEVELS)
def test_reset_is_the_first_microsecond_at_which_it_is_full(period: int, limit: int, level: Fraction) -> None:
    deficit = int(level * limit * period)
    reset = reset_us(deficit, limit, period)
    assert 0 <= reset <= period
    assert drained(deficit, reset, limit, period) == 0
    if reset and limit:
        assert drained(deficit, reset - 1, limit, period) > 0


@given(PERIODS, LIMITS, LEVELS)
def test_a_charge_takes_one_request_and_never_leads_into_debt(period: int, limit: int, level: Fraction) -> None:
    deficit = int(level * limit * period)
    after = charged(deficit, limit, period)
    assert tokens(after, period) == min(tokens(deficit, period) + 1, Fraction(limit))
    assert remaining(after, limit, period) == max(0, remaining(deficit, limit, period) - 1)


def test_a_limit_of_zero_is_never_passable() -> None:
    assert wait_us(0, 0, RATE_PERIOD_US) == RATE_PERIOD_US
    assert reset_us(0, 0, RATE_PERIOD_US) == RATE_PERIOD_US
    assert remaining(0, 0, RATE_PERIOD_US) == 0


def test_every_figure_fits_a_double() -> None:
    assert (MAX_RATE * RATE_PERIOD_US + RATE_PERIOD_US) < 2**53
    assert charged(MAX_RATE * RATE_PERIOD_US, MAX_RATE, RATE_PERIOD_US) == MAX_RATE * RATE_PERIOD_US
