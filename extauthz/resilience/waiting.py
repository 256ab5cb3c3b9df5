"""What the one who waits for a call sees of it."""

import asyncio
from math import ceil
from typing import Any, Final

from extauthz.model.deadline import Deadline
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.call import PASSES

ON_TIME: Final = 0.001
"""Seconds by which a loop that is not overloaded may be late."""


async def wait_for(future: asyncio.Future[Any], deadline: Deadline) -> bool:
    """Wait for a call's outcome until `deadline`; whether it is there.

    Where the caller's deadline and the provider's are one moment, the provider's verdict is waited for: it takes a few turns
    of the loop. A caller that is late already does not wait for that.
    """
    await asyncio.wait({future}, timeout=deadline.remaining())
    turns = PASSES + 2
    while not future.done() and turns and deadline.remaining() > -ON_TIME:
        await asyncio.sleep(0)
        turns -= 1
    return future.done()


def retry_after_ms(breaker: Breaker) -> int | None:
    """Milliseconds until the provider is tried again, rounded up; None where its circuit is closed."""
    retry_in = breaker.retry_in
    return None if retry_in is None else ceil(round(retry_in * 1000, 3))
