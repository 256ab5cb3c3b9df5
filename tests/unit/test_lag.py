"""How late the event loop is, in virtual time."""

import asyncio

from extauthz.telemetry.lag import LoopLag
from extauthz.testing.clock import FakeClock, in_virtual_time


@in_virtual_time
async def test_a_loop_that_is_not_blocked_is_not_late() -> None:
    lag = LoopLag(clock=asyncio.get_running_loop().time)
    lag.start()
    await asyncio.sleep(3)
    assert lag.lag() == lag.blocked_for() < 0.01
    lag.close()


@in_virtual_time
async def test_a_blocked_loop_is_seen_while_it_lasts_for_five_seconds_by_health_and_for_75_by_the_metric() -> None:
    clock = FakeClock()
    lag = LoopLag(clock=clock)
    lag.start()
    await asyncio.sleep(0.05)
    clock.advance(2.1)  # time has passed and the timer has not fired: the loop is blocked
    assert 1.9 < lag.blocked_for() < 2.1
    await pass_time(clock, 1)
    assert lag.blocked_for() > 1.9  # it is over, but a probe that had to wait for it must still see it
    await pass_time(clock, 5)
    assert lag.blocked_for() < 0.2
    assert lag.lag() > 1.9
    await pass_time(clock, 60)  # the default interval between two scrapes
    assert lag.lag() > 1.9
    await pass_time(clock, 15)
    assert lag.lag() < 0.2
    lag.close()


async def pass_time(clock: FakeClock, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        await asyncio.sleep(0.1)
        clock.advance(0.1)


def test_one_that_never_started_was_never_late() -> None:
    lag = LoopLag(clock=FakeClock())
    lag.close()
    assert lag.lag() == lag.blocked_for() == 0
