"""A small file that is replaced as a whole, so that it is never half written: lines of JSON, the last a checksum of all before."""

import asyncio
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import orjson

from extauthz.providers.file_lock import draft_of

T = TypeVar("T")

DAMAGED: Final = ".damaged"
"""What the name of a file ends in that was moved aside because it could not be used."""

_LARGEST: Final = 256 * 2**20
"""Bytes of a file that is read at all: none of ours comes near it."""


class Damaged(ValueError):
    """The file is not one that this version wrote, or not whole."""


def lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as lines."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def replace(path: Path, parts: list[bytes]) -> None:
    """Write a new file (mode 0600) of these lines and put it in the place of the old one, on the disk before this returns.

    Raises:
        OSError: it could not be written; the old one is as it was.
    """
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


def read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it can't be read.
        Damaged: it is too large to be one of ours.
    """
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise Damaged("it is too large")
    return data


def parsed(data: bytes, is_known: Callable[[object], bool]) -> tuple[object, list[object]]:
    """The first line of a file's bytes, which says what it is and must be known, and the other rows.

    Raises:
        Damaged: they are not what `replace` wrote.
    """
    first = data.partition(b"\n")[0]
    body, _, checksum = data.removesuffix(b"\n").rpartition(b"\n")
    try:
        head = orjson.loads(first)
        if not is_known(head):
            raise Damaged("its format is not known")
        if orjson.loads(checksum) != zlib.crc32(body + b"\n"):
            raise Damaged("its checksum is wrong")
        return head, [orjson.loads(line) for line in body.split(b"\n")[1:]]
    except (ValueError, TypeError) as error:
        raise error if isinstance(error, Damaged) else Damaged("it cannot be read") from None


def move_aside(path: Path) -> Path:
    """Keep a file that can't be used out of the way of the next one; where it is then, if it could be moved."""
    aside = path.with_name(path.name + DAMAGED)
    with suppress(OSError):
        path.replace(aside)
    return aside


async def in_thread(work: Callable[[], T], name: str) -> T:
    """What `work` gives, done on a thread that does not keep the process from ending where the disk hangs."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(error: Exception | None, value: list[T]) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value[0])
        else:
            future.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        value: list[T] = []
        try:
            value.append(work())
        except Exception as caught:  # noqa: BLE001 - it is raised where it is awaited
            error = caught
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, error, value)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
