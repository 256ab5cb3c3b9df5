"""Virtual time: it passes at once, in order, never by itself, and a test that would hang fails instead."""

import asyncio
import gc
import socket
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.testing import (
    Deadlock,
    FakeClock,
    FakeWallClock,
    UnhandledError,
    VirtualLoop,
    in_virtual_time,
    run_virtual,
)
from extauthz.testing.clock import START, WALL_START


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_day_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400 * 3)
        return now()

    assert run_virtual(main()) == START + 86_400 * 3


def test_the_time_stands_still_while_anything_is_ready() -> None:
    async def main() -> float:
        timer = asyncio.ensure_future(asyncio.sleep(0.001))
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert not timer.done()
        await timer
        return now()

    assert run_virtual(main()) == START + 0.001


@given(st.lists(st.integers(min_value=0, max_value=10_000), max_size=20))
def test_sleepers_wake_in_the_order_of_their_times(delays_ms: list[int]) -> None:
    async def main() -> list[tuple[float, int]]:
        woken: list[tuple[float, int]] = []

        async def sleeper(delay_ms: int) -> None:
            await asyncio.sleep(delay_ms / 1_000)
            woken.append((now(), delay_ms))

        await asyncio.gather(*(sleeper(d) for d in delays_ms))
        return woken

    woken = run_virtual(main())
    assert [delay for _, delay in woken] == sorted(delays_ms)
    assert [at for at, _ in woken] == [round(START + delay / 1_000, 9) for _, delay in woken]


@in_virtual_time
async def test_waiting_with_a_timeout_ends_at_the_timeout() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 2.5)
    assert now() == START + 2.5


@pytest.mark.parametrize("seconds", [1.0, 60.0])
@in_virtual_time
async def test_the_decorator_keeps_the_parameters(seconds: float) -> None:
    await asyncio.sleep(seconds)
    assert now() == START + seconds


def test_waiting_for_what_can_never_come_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="nothing could wake the loop"):
        run_virtual(main())


def test_a_deadlock_after_some_time_is_an_error_too() -> None:
    async def main() -> None:
        await asyncio.sleep(5)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_an_error_of_the_test_comes_out() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_virtual(main())


def test_a_callback_that_raises_fails_the_test() -> None:
    def bad() -> None:
        raise LookupError("in a callback")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(bad)
        await asyncio.sleep(1)

    with pytest.raises(UnhandledError) as caught:
        run_virtual(main())
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_task_whose_error_nobody_looks_at_fails_the_test() -> None:
    async def fails() -> None:
        raise LookupError("lost")

    async def main() -> None:
        tasks = [asyncio.create_task(fails())]
        await asyncio.sleep(1)
        tasks.clear()
        gc.collect()

    with pytest.raises(UnhandledError, match="never retrieved"):
        run_virtual(main())


@in_virtual_time
async def test_the_time_stands_still_while_a_worker_thread_runs() -> None:
    go = threading.Event()
    loop = asyncio.get_running_loop()
    job = loop.run_in_executor(None, go.wait)
    timer = asyncio.ensure_future(asyncio.sleep(1))
    await asyncio.sleep(0)
    go.set()
    assert await job is True
    assert now() == START
    await timer
    assert now() == START + 1


@in_virtual_time
async def test_sockets_work() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        loop = asyncio.get_running_loop()
        receive = asyncio.ensure_future(loop.sock_recv(right, 10))
        await asyncio.sleep(0.5)
        await loop.sock_sendall(left, b"hello")
        assert await receive == b"hello"


def test_a_silent_socket_is_a_deadlock_in_the_end() -> None:
    async def main(silent: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(silent, 10)

    left, right = socket.socketpair()
    with left, right, closing(VirtualLoop(patience=0.01)) as loop:
        right.setblocking(False)
        task = loop.create_task(main(right))
        with pytest.raises(Deadlock, match="1 sockets were silent"):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    assert clock() == clock() == START
    clock.advance(0.1)
    clock.advance(0.2)
    assert clock() == START + 0.3


def test_a_fake_clock_never_goes_back() -> None:
    with pytest.raises(ValueError, match="never goes back"):
        FakeClock().advance(-1)


def test_a_fake_wall_clock_goes_where_it_is_told() -> None:
    wall = FakeWallClock()
    assert wall() == WALL_START
    wall.advance(-3_600)
    assert wall() == WALL_START - 3_600
    wall.set(5.0)
    assert wall() == 5.0


def test_a_fake_wall_clock_can_follow_another_clock_and_still_jump() -> None:
    clock = FakeClock()
    wall = FakeWallClock(100.0, clock=clock)
    clock.advance(7)
    assert wall() == 107.0
    wall.set(1_000.0)
    clock.advance(1)
    assert wall() == 1_001.0
