"""Hearing of changes, without a database: what is heard, what is missed, and what happens when nothing can be heard."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import asyncpg
import pytest

from extauthz.providers.postgres_listen import CHECK_EVERY, POLL, Listener
from extauthz.testing.clock import in_virtual_time

Told = Callable[..., None]


@dataclass(eq=False)
class FakeConnection:
    hangs: bool = False
    heard: list[Told] = field(default_factory=list)
    lost: list[Told] = field(default_factory=list)
    checks: int = 0
    closed: bool = False

    def add_termination_listener(self, callback: Told) -> None:
        self.lost.append(callback)

    async def add_listener(self, channel: str, callback: Told) -> None:
        assert channel == "extauthz_changes"
        self.heard.append(callback)

    async def execute(self, _statement: str) -> None:
        self.checks += 1
        if self.hangs:
            await asyncio.Event().wait()

    def terminate(self) -> None:
        self.closed = True

    def notify(self) -> None:
        for callback in self.heard:
            callback(self, 1, "extauthz_changes", "")

    def lose(self) -> None:
        for callback in self.lost:
            callback(self)


@dataclass
class FakeServer:
    refuses: bool = False
    made: list[FakeConnection] = field(default_factory=list)
    tries: list[float] = field(default_factory=list)

    async def dial(self) -> asyncpg.Connection:
        self.tries.append(now())
        if self.refuses:
            raise ConnectionRefusedError
        self.made.append(FakeConnection())
        return cast("asyncpg.Connection", self.made[-1])


def now() -> float:
    return asyncio.get_running_loop().time()


def listener_of(server: FakeServer, *, pooled: bool = False) -> Listener:
    return Listener(server.dial, asyncio.get_running_loop().time, pooled=pooled)


async def waited(listener: Listener, seconds: float) -> float:
    """How long it waited."""
    begin = now()
    await listener.wait(seconds)
    return now() - begin


@in_virtual_time
async def test_a_wait_ends_with_a_change_and_else_with_its_time() -> None:
    server = FakeServer()
    listener = listener_of(server)
    assert await waited(listener, 10) < POLL  # what happened before it listened was not heard
    assert await waited(listener, 10) == 10
    waiting = asyncio.ensure_future(waited(listener, 10))
    await asyncio.sleep(3)
    server.made[0].notify()
    assert await waiting == 3
    await listener.close()
    assert server.made[0].closed


@in_virtual_time
async def test_what_is_heard_between_two_waits_ends_the_next() -> None:
    server = FakeServer()
    listener = listener_of(server)
    await listener.wait(1)
    server.made[0].notify()
    assert await waited(listener, 10) == 0
    assert await waited(listener, 10) == 10
    await listener.close()


@in_virtual_time
async def test_where_nothing_can_be_heard_a_wait_is_short_and_tries_are_few() -> None:
    server = FakeServer(refuses=True)
    listener = listener_of(server)
    begin = now()
    while now() < begin + 10:
        assert await waited(listener, 10) == pytest.approx(POLL)
        assert await waited(listener, 0.01) == pytest.approx(0.01)
    assert 10 < len(server.tries) < 60
    server.refuses = False
    await listener.wait(1)
    await listener.wait(1)
    assert await waited(listener, 10) == 10
    await listener.close()


@in_virtual_time
async def test_a_connection_that_is_lost_is_made_again_after_a_pause_and_counts_as_news() -> None:
    server = FakeServer()
    listener = listener_of(server)
    await listener.wait(1)
    server.made[0].lose()
    assert 0 < await waited(listener, 10) <= POLL
    assert len(server.made) == 2
    assert server.made[0].closed
    await listener.close()


@in_virtual_time
async def test_a_connection_that_hangs_is_found_out_and_replaced() -> None:
    server = FakeServer()
    listener = listener_of(server)
    await listener.wait(1)
    assert await waited(listener, CHECK_EVERY + 1) == CHECK_EVERY + 1
    assert server.made[0].checks == 1
    server.made[0].hangs = True
    await listener.wait(CHECK_EVERY * 2)
    assert server.made[0].closed
    assert len(server.made) == 2
    await listener.close()


@in_virtual_time
async def test_behind_a_pooler_no_connection_is_made() -> None:
    server = FakeServer()
    listener = listener_of(server, pooled=True)
    assert await waited(listener, 10) == pytest.approx(POLL)
    assert not server.tries
    await listener.close()


@in_virtual_time
async def test_after_the_end_a_wait_ends_by_itself() -> None:
    server = FakeServer()
    listener = listener_of(server)
    await listener.wait(1)
    await listener.close()
    await listener.close()
    assert await waited(listener, 10) == pytest.approx(POLL)
    assert len(server.made) == 1
