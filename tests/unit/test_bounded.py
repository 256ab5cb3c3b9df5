"""Waits that end in time whatever a driver does."""

import asyncio
from contextlib import suppress

import pytest

from extauthz.errors import ProviderTimeout
from extauthz.resilience.bounded import within
from extauthz.testing import in_virtual_time


async def deaf(seconds: float) -> str:
    """A driver that notices no cancellation, as asyncpg on a frozen server."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while clock() < until:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(until - clock())
    raise ConnectionError("far too late, and nobody asks")


async def answers() -> str:
    await asyncio.sleep(0.2)
    return "yes"


async def fails() -> str:
    raise LookupError("no")


@in_virtual_time
async def test_an_answer_or_an_error_in_time_is_passed_on() -> None:
    assert await within(0.5, answers()) == "yes"
    with pytest.raises(LookupError):
        await within(0.5, fails())


@in_virtual_time
async def test_a_call_that_ignores_its_cancellation_is_left_behind_at_the_moment() -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    with pytest.raises(ProviderTimeout, match=r"0\.5 s"):
        await within(0.5, deaf(8))
    assert clock() == started + 0.5
    await asyncio.sleep(10)  # its error comes late and is no news


@in_virtual_time
async def test_who_is_cancelled_takes_the_call_along_and_does_not_wait_for_it() -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    asked = asyncio.ensure_future(within(5, deaf(8)))
    await asyncio.sleep(0.1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert clock() == started + 0.1
    await asyncio.sleep(10)


@in_virtual_time
async def test_an_error_at_the_moment_of_a_cancellation_is_seen_all_the_same() -> None:
    go = asyncio.Event()

    async def fails_when_told() -> None:
        await go.wait()
        raise LookupError("no")

    asked = asyncio.ensure_future(within(5, fails_when_told()))
    await asyncio.sleep(0.1)
    go.set()
    await asyncio.sleep(0)  # it has failed, and who asked is about to be told
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked  # the virtual loop fails a test in which an exception is never retrieved
