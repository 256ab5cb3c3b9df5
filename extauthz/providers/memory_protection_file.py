"""The file of day counts: its lines, and how it is replaced as a whole.

The first line is the format and the UTC day, the last a checksum of all before it.
"""

import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from extauthz.providers.memory_protection_keys import UsageKey
from extauthz.providers.memory_protection_lock import draft_of

_FORMAT: Final = "extauthz-protection-1"
_COUNT_FIELDS: Final = 3
_KEY_FIELDS: Final = 4


class Damaged(ValueError):
    """The file is not one that this class wrote, or not whole."""


class Content(NamedTuple):
    """`counts` are (tenant, requests, cost) of `day`."""

    day: int
    counts: list[tuple[str, int, int]]
    keys: list[UsageKey]


def head(day: int) -> bytes:
    """The first line."""
    return orjson.dumps([_FORMAT, day]) + b"\n"


def lines(rows: Iterable[Sequence[str | int]]) -> bytes:
    """Rows as lines."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def parsed(data: bytes) -> Content:
    """Read a file's bytes.

    Raises:
        Damaged: they are not what `replace` wrote.
    """
    first = data.partition(b"\n")[0]
    body, _, checksum = data.removesuffix(b"\n").rpartition(b"\n")
    try:
        name, day = orjson.loads(first)
        if name != _FORMAT or type(day) is not int:
            raise Damaged("its format is not known")
        if orjson.loads(checksum) != zlib.crc32(body + b"\n"):
            raise Damaged("its checksum is wrong")
        rows = [orjson.loads(line) for line in body.split(b"\n")[1:]]
        return Content(
            day=day,
            counts=[(str(row[0]), int(row[1]), int(row[2])) for row in rows if len(row) == _COUNT_FIELDS],
            keys=[
                UsageKey(str(row[0]), str(row[1]), int(row[2]), int(row[3])) for row in rows if len(row) == _KEY_FIELDS
            ],
        )
    except (ValueError, TypeError) as error:
        raise error if isinstance(error, Damaged) else Damaged("it cannot be read") from None


def replace(path: Path, parts: list[bytes]) -> None:
    """Write a new file and put it in the place of the old one, on the disk before this returns."""
    draft = draft_of(path)
    body = b"".join(parts)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)
        file.write(body)
        file.write(b"%d\n" % zlib.crc32(body))
        file.flush()
        os.fsync(handle)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
