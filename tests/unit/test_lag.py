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
async def test_a_blocked_loop_is_seen_while_it_lasts_for_five_seconds_by_health_and_for_thirty_by_the_metric() -> None:
    clock = FakeClock()
    lag = LoopLag(clock=clock)
    lag.start()
    await asyncio.sleep(0.05)
    clock.advance(2.1)  # the wall moves while the timer has not fired: the loop is blocked
    assert 1.9 < lag.blocked_for() < 2.1
    await asyncio.sleep(0.1)
    clock.advance(4)
    await asyncio.sleep(0.1)
    assert lag.lag() > 1.9
    for _ in range(400):
        clock.advance(0.1)
        await asyncio.sleep(0.1)
    assert lag.lag() < 0.05
    lag.close()
    lag_never_started = LoopLag(clock=clock)
    lag_never_started.close()
    assert lag_never_started.blocked_for() == 0
