"""Much work in small parts, so that the event loop does not stand still for it."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final, TypeVar

K = TypeVar("K")
T = TypeVar("T")

SLICE: Final = 1000
"""Entries looked at in one turn of the event loop."""


async def used_up(items: list[T]) -> AsyncIterator[list[T]]:
    """`items`, a part of them in each turn of the loop; they are taken out, so that they also end in parts."""
    while items:
        part = items[-SLICE:]
        del items[-SLICE:]
        yield part
        await asyncio.sleep(0)


async def emptied(room: OrderedDict[K, T]) -> AsyncIterator[list[T]]:
    """The values of `room`, as `used_up` does it."""
    while room:
        yield [room.popitem()[1] for _ in range(min(SLICE, len(room)))]
        await asyncio.sleep(0)
