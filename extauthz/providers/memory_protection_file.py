"""The file of day counts: its lines. The first is the format and the UTC day."""

from typing import Final, NamedTuple, cast

import orjson

from extauthz.providers import whole_file
from extauthz.providers.memory_protection_keys import UsageKey
from extauthz.providers.whole_file import Damaged

_FORMAT: Final = "extauthz-protection-1"
_COUNT_FIELDS: Final = 3
_KEY_FIELDS: Final = 4


class Content(NamedTuple):
    """`counts` are (tenant, requests, cost) of `day`."""

    day: int
    counts: list[tuple[str, int, int]]
    keys: list[UsageKey]


def head(day: int) -> bytes:
    """The first line."""
    return orjson.dumps([_FORMAT, day]) + b"\n"


def parsed(data: bytes) -> Content:
    """Read a file's bytes.

    Raises:
        Damaged: they are not what `whole_file.replace` wrote.
    """
    first, all_rows = whole_file.parsed(data, _is_ours)
    rows = cast("list[list[str | int]]", all_rows)
    try:
        return Content(
            day=cast("list[int]", first)[1],
            counts=[(str(row[0]), int(row[1]), int(row[2])) for row in rows if len(row) == _COUNT_FIELDS],
            keys=[
                UsageKey(str(row[0]), str(row[1]), int(row[2]), int(row[3])) for row in rows if len(row) == _KEY_FIELDS
            ],
        )
    except (ValueError, TypeError):
        raise Damaged("it cannot be read") from None


def _is_ours(first: object) -> bool:
    name, day = cast("list[object]", first)
    return name == _FORMAT and type(day) is int
