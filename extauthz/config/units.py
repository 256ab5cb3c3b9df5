"""How times, sizes and amounts are written: text in, plain numbers out, and back again.

Inside the service a duration is a float of seconds and a size an int of bytes. In a file both carry their unit, so a bare
number where one is due is an error, never a guess.
"""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from extauthz.model.billing import MAX_PER_DAY, to_micros

_UNIT_US: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_SIZE: Final = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
_DURATION_TEXT: Final = r"[0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d)"
_SIZE_TEXT: Final = r"[0-9]{1,12}(B|KiB|MiB|GiB|TiB)"
_DURATION_HELP: Final = "must be a time with its unit, such as 250ms, 30s, 5m, 1h or 90d"
_SIZE_HELP: Final = "must be a size with its unit, such as 512KiB, 64MiB or 1GiB"
_LONGEST: Final = 10 * 365 * 86_400.0
_LARGEST_AMOUNT: Final = MAX_PER_DAY


def parse_duration(text: str) -> float:
    """`250ms`, `30s`, `5m`, `1h`, `90d` as seconds; zero is a duration too.

    Raises:
        ValueError: anything else, more than ten years included.
    """
    found = re.fullmatch(_DURATION_TEXT, text, re.ASCII)
    if found is None:
        raise ValueError(_DURATION_HELP)
    unit = found[2]
    seconds = float(Decimal(text.removesuffix(unit)) * _UNIT_US[unit] / 1_000_000)
    if seconds > _LONGEST:
        raise ValueError("must be at most ten years (3650d)")
    return seconds


def format_duration(seconds: float) -> str:
    """Seconds in the largest unit that shows them as a whole number: 0.25 is `250ms`, 3600 is `1h`, 0 is `0s`."""
    micros = round(seconds * 1_000_000)
    if micros == 0:
        return "0s"
    for unit, size in _UNIT_US.items():
        if micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros / 1_000:g}ms"


def parse_size(text: str) -> int:
    """`512KiB`, `64MiB`, `1GiB` as bytes.

    Raises:
        ValueError: anything else.
    """
    found = re.fullmatch(_SIZE_TEXT, text, re.ASCII)
    if found is None:
        raise ValueError(_SIZE_HELP)
    return int(text.removesuffix(found[1])) * _SIZE[found[1]]


def format_size(size: int) -> str:
    """Bytes in the largest unit that shows them as a whole number: 1073741824 is `1GiB`."""
    unit = next(unit for unit, factor in _SIZE.items() if size % factor == 0 and (size or factor == 1))
    return f"{size // _SIZE[unit]}{unit}"


def _to_seconds(value: object) -> float:
    # A Python float is a duration that was parsed before; files and variables give str, int and Decimal only.
    if isinstance(value, float) and math.isfinite(value):
        return value
    if not isinstance(value, str):
        raise ValueError(_DURATION_HELP)  # noqa: TRY004 - pydantic collects ValueError, a TypeError would pass through it
    return parse_duration(value)


def _more_than_zero(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be more than zero")
    return seconds


def _not_negative(seconds: float) -> float:
    if seconds < 0:
        raise ValueError("must not be negative")
    return seconds


def _to_bytes(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(_SIZE_HELP)  # noqa: TRY004 - see _to_seconds
    return parse_size(value)


def _to_amount(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be a number such as 5 or 0.25")  # noqa: TRY004 - see _to_seconds
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError("must be a number such as 5 or 0.25") from None
    if amount.is_finite() and (amount < 0 or amount > _LARGEST_AMOUNT):
        raise ValueError(f"must lie between 0 and {_LARGEST_AMOUNT:,}")
    to_micros(amount)
    return amount


def _to_share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 <= float(value) <= 1:
        raise ValueError("must be a number from 0 to 1, such as 0.01")
    return float(value)


def show_amount(amount: Decimal) -> int | float:
    """An amount as a number of JSON. Fifteen digits at most, so the float shows exactly what was written."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


_DURATION_SCHEMA: Final = {"type": "string", "pattern": f"^{_DURATION_TEXT}$", "examples": ["250ms", "30s", "5m", "1h"]}

DurationOrZero = Annotated[
    float,
    BeforeValidator(_to_seconds),
    AfterValidator(_not_negative),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""Seconds, zero included."""

Duration = Annotated[
    float,
    BeforeValidator(_to_seconds),
    AfterValidator(_more_than_zero),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""Seconds, more than zero."""

Size = Annotated[
    int,
    BeforeValidator(_to_bytes),
    Field(ge=1),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE_TEXT}$", "examples": ["64MiB", "1GiB"]}),
]
"""Bytes."""

Amount = Annotated[
    Decimal,
    BeforeValidator(_to_amount),
    PlainSerializer(show_amount, return_type=int | float, when_used="json"),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": _LARGEST_AMOUNT, "multipleOf": 0.000001}),
]
"""A cost in the deployment's own unit, exact, at most six decimal places."""

Share = Annotated[
    float,
    BeforeValidator(_to_share),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1, "examples": [0.01]}),
]
"""A part of a whole, 0 to 1."""

Whole = Annotated[int, Field(strict=True)]
"""A whole number, never a text or a truth value that looks like one."""

Flag = Annotated[bool, Field(strict=True)]
"""A truth value, never a word such as `yes`."""

Count = Annotated[Whole, Field(ge=1)]
"""A whole number from 1."""
