"""What `POST /usage` takes: a cost that is exact or refused, never one that was rounded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.admin.forms import UsageForm
from extauthz.model.billing import from_micros


def micros(cost: object) -> int:
    return UsageForm.model_validate({"tenant": "acme", "cost": cost, "idempotency_key": "run-17"}).cost


@given(st.integers(0, 10**15))
def test_every_amount_that_can_be_counted_is_taken_as_it_is_written(amount: int) -> None:
    assert micros(from_micros(amount)) == micros(Decimal(from_micros(amount))) == amount


@pytest.mark.parametrize(
    ("cost", "amount"),
    [
        ("0", 0),
        ("-0", 0),
        ("1.25", 1_250_000),
        ("1.2500000", 1_250_000),
        ("0.1000000000000000000", 100_000),
        ("000001", 1_000_000),
        ("1000000000", 10**15),
        (3, 3_000_000),
        (Decimal("0.1"), 100_000),
    ],
)
def test_strings_and_whole_numbers_are_costs(cost: object, amount: int) -> None:
    assert micros(cost) == amount


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        ("1.2345678", "at most 6 decimal places"),
        ("999999999.00000000000000000001", "at most 6 decimal places"),
        ("0.10000000000000000001", "at most 6 decimal places"),
        ("-1", "between 0 and"),
        ("-0.000001", "between 0 and"),
        ("1000000000.000001", "between 0 and"),
        (10**9 + 1, "between 0 and"),
        (-1, "between 0 and"),
        ("99999999999999999999999", "must be a decimal"),
        ("0." + "1" * 30, "must be a decimal"),
        ("", "must be a decimal"),
        ("1e2", "must be a decimal"),
        ("NaN", "must be a decimal"),
        ("Infinity", "must be a decimal"),
        (" 1", "must be a decimal"),
        ("1_000", "must be a decimal"),
        ("1,25", "must be a decimal"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "must be a decimal"),
        ("1\n", "must be a decimal"),
        (".5", "must be a decimal"),
        (True, "must be a decimal"),
        (None, "must be a decimal"),
        ([], "must be a decimal"),
        (0.1, "must be a decimal"),
        (Decimal("1E+2"), "must be a decimal"),
        (Decimal("NaN"), "must be a decimal"),
    ],
)
def test_what_is_no_cost_or_would_be_rounded_is_refused(cost: object, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        micros(cost)


@given(st.text(max_size=140))
def test_an_idempotency_key_is_1_to_128_printable_ascii(key: str) -> None:
    fine = 1 <= len(key) <= 128 and key.isascii() and key.isprintable()
    body = {"tenant": "acme", "cost": "1", "idempotency_key": key}
    if fine:
        assert UsageForm.model_validate(body).idempotency_key == key
    else:
        with pytest.raises(ValidationError):
            UsageForm.model_validate(body)


@pytest.mark.parametrize("key", ["a" * 128, " ", "~"])
def test_keys_at_the_edge_are_taken(key: str) -> None:
    assert UsageForm.model_validate({"tenant": "acme", "cost": 1, "idempotency_key": key}).idempotency_key == key


def test_a_reason_is_no_part_of_a_report() -> None:
    with pytest.raises(ValidationError, match="reason"):
        UsageForm.model_validate({"tenant": "acme", "cost": 1, "idempotency_key": "k", "reason": "x"})
