"""A wait that ends in time whatever a driver does (docs/decisions/0005-the-load-is-an-owned-task.md)."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from extauthz.errors import ProviderTimeout

T = TypeVar("T")

_abandoned: set[asyncio.Task[Any]] = set()  # the loop holds tasks only weakly


async def within(seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """What `call` returns or raises, if it does so in `seconds`. Otherwise it is cancelled and not waited for.

    Where the one who asks is cancelled, `call` is too, and is not waited for either.

    Raises:
        ProviderTimeout: there was no answer in time.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        _abandon(task)  # also where it ended at this very moment: its error must be seen
        raise
    if task.done():
        return task.result()
    _abandon(task)
    raise ProviderTimeout(f"no answer within {seconds:g} s")


def _abandon(task: asyncio.Task[Any]) -> None:
    _abandoned.add(task)
    task.add_done_callback(_ended)
    task.cancel()


def _ended(task: asyncio.Task[Any]) -> None:
    """What came of it does not matter any more, but asyncio wants an exception to be seen."""
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()
