"""One connection that everybody shares: what goes out together, what is waited for, and what an outage costs."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, cast

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from extauthz.errors import ProviderBusy, ProviderError, ProviderTimeout
from extauthz.providers.redis_link import FIRST_PAUSE, GIVE_UP, LONGEST_PAUSE, MOST_ASKED, Link, Reply
from extauthz.testing import in_virtual_time

TIMEOUT = 0.1
LATENCY = 0.01


class Wire:
    """A connection of redis-py as far as a link uses it: it echoes, in order, `LATENCY` after what was sent."""

    def __init__(self, *, answers: bool = True) -> None:
        self.sent: list[bytes] = []
        self.answers = answers
        self.hung_up = False
        self.refusals: deque[Exception] = deque()
        self._replies: asyncio.Queue[Reply] = asyncio.Queue()

    async def send_packed_command(self, command: bytes, *, check_health: bool) -> None:
        assert not check_health
        self.sent.append(command)
        if self.answers:
            asyncio.get_running_loop().call_later(LATENCY, self._echo, command.split())

    def _echo(self, replies: list[bytes]) -> None:
        for each in replies:
            self._replies.put_nowait(each)

    async def read_response(self, *, disable_decoding: bool) -> Reply:
        assert disable_decoding
        reply = await self._replies.get()
        if isinstance(reply, Exception):
            raise reply
        if self.refusals:
            raise self.refusals.popleft()
        return reply

    async def disconnect(self) -> None:
        self.hung_up = True

    def breaks(self) -> None:
        self._replies.put_nowait(RedisConnectionError("Connection closed by server."))


class Server:
    """What a link dials. `down`: it refuses; `silent`: it accepts no connection, and says nothing."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.dialled: list[float] = []
        self.down = False
        self.silent = False
        self.answers = True
        self.hangs_up = False
        self.is_replica = False
        self.link = Link(where="cache:6379", dial=self.dial, timeout=TIMEOUT)

    async def dial(self) -> AbstractConnection:
        self.dialled.append(asyncio.get_running_loop().time())
        if self.silent:
            await asyncio.Event().wait()
        await asyncio.sleep(LATENCY)
        if self.down:
            raise RedisConnectionError("Error 111 connecting")
        self.wires.append(Wire(answers=self.answers))
        if self.hangs_up:
            self.wires[-1].breaks()
        if self.is_replica:
            self.wires[-1].refusals.append(ReadOnlyError("You can't write", status_code="READONLY"))
        return cast("AbstractConnection", self.wires[-1])

    async def ask(self, command: bytes = b"a ") -> Any:
        return await self.link.ask(command)

    async def fails(self, command: bytes = b"a ") -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await self.ask(command)
        return caught.value


@in_virtual_time
async def test_what_is_asked_in_one_turn_leaves_in_one_packet_and_each_gets_its_own_answer() -> None:
    server = Server()
    await server.ask()
    replies = await asyncio.gather(*(server.ask(b"c%d " % number) for number in range(64)))
    assert replies == [b"c%d" % number for number in range(64)]
    assert server.wires[0].sent[1:] == [b"".join(b"c%d " % number for number in range(64))]
    await server.link.close()


@in_virtual_time
async def test_nobody_waits_for_the_answers_to_others_before_asking() -> None:
    server = Server()
    await server.ask()
    first = asyncio.ensure_future(server.ask(b"first "))
    await asyncio.sleep(LATENCY / 2)
    started = asyncio.get_running_loop().time()
    assert await server.ask(b"second ") == b"second"
    assert asyncio.get_running_loop().time() - started == pytest.approx(LATENCY)
    assert first.done()
    await server.link.close()


@in_virtual_time
async def test_a_refusal_is_of_the_one_who_asked() -> None:
    server = Server()
    await server.ask()
    server.wires[0].refusals.append(ResponseError("ERR no"))
    first, second = (asyncio.ensure_future(server.ask(name)) for name in (b"a ", b"b "))
    assert await second == b"b"
    assert isinstance(first.exception(), ResponseError)
    assert len(server.dialled) == 1
    await server.link.close()


@in_virtual_time
async def test_who_leaves_takes_no_other_answer_along() -> None:
    server = Server()
    await server.ask()
    leaving, staying = (asyncio.ensure_future(server.ask(name)) for name in (b"a ", b"b "))
    await asyncio.sleep(LATENCY / 2)
    leaving.cancel()
    assert await staying == b"b"
    assert leaving.cancelled()
    await server.link.close()


@in_virtual_time
async def test_what_was_not_sent_any_more_says_so_and_what_was_sent_may_have_been_done() -> None:
    server = Server()
    server.down = True
    assert [(await server.fails()).asked for _ in range(2)] == [
        False,
        False,
    ]  # not reached, then too early to try again
    server.down = False
    await asyncio.sleep(2)
    await server.ask()
    server.answers = server.wires[0].answers = False
    asking = asyncio.ensure_future(server.fails())
    await asyncio.sleep(LATENCY)
    server.wires[0].breaks()
    assert (await asking).asked
    await server.link.close()


@in_virtual_time
async def test_a_lost_connection_fails_what_is_under_way_and_sends_nothing_twice() -> None:
    server = Server()
    server.answers = False
    asking = [asyncio.ensure_future(server.fails(name)) for name in (b"a ", b"b ")]
    await asyncio.sleep(LATENCY * 2)
    server.wires[0].breaks()
    for each in asking:
        assert "connection lost" in str(await each)
    server.answers = True
    assert await server.ask(b"c ") == b"c"
    assert [wire.sent for wire in server.wires] == [[b"a b "], [b"c "]]
    assert server.wires[0].hung_up
    await server.link.close()
    assert server.wires[1].hung_up


@in_virtual_time
async def test_a_connection_lost_while_idle_is_replaced_and_nobody_notices() -> None:
    server = Server()
    await server.ask()
    server.wires[0].breaks()
    await asyncio.sleep(60)
    assert len(server.dialled) == 1
    assert await server.ask(b"b ") == b"b"
    assert len(server.dialled) == 2
    await server.link.close()


@in_virtual_time
async def test_a_replica_that_says_so_is_left() -> None:
    server = Server()
    await server.ask()
    server.wires[0].refusals.append(ReadOnlyError("You can't write", status_code="READONLY"))
    with pytest.raises(ReadOnlyError):
        await server.ask()
    await asyncio.sleep(LATENCY)
    assert server.wires[0].hung_up
    assert await server.ask() == b"a"
    assert len(server.wires) == 2
    await server.link.close()


# Outages


async def asked_for_a_minute(server: Server) -> list[float]:
    """Callers at 1,000 a second: the pauses between the connections they made."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while loop.time() < started + 60:
        with suppress(ProviderError, ReadOnlyError):
            await server.ask()
        await asyncio.sleep(0.001)
    return [after - before for before, after in zip(server.dialled, server.dialled[1:], strict=False)]


@in_virtual_time
async def test_however_many_ask_one_attempt_to_connect_is_made() -> None:
    server = Server()
    assert await asyncio.gather(*(server.ask() for _ in range(500))) == [b"a"] * 500
    assert len(server.dialled) == 1
    await server.link.close()


@in_virtual_time
async def test_an_outage_is_no_connection_storm() -> None:
    """Attempts with doubled pauses, after a while about one a second."""
    server = Server()
    server.down = True
    pauses = await asked_for_a_minute(server)
    assert 60 < len(server.dialled) < 130
    assert all(LONGEST_PAUSE / 2 <= pause <= LONGEST_PAUSE + 2 * LATENCY for pause in pauses[10:])
    assert len({round(pause, 3) for pause in pauses[10:]}) > 5  # with jitter
    server.down = False
    await asyncio.sleep(LONGEST_PAUSE)
    assert await server.ask() == b"a"
    await server.link.close()


@in_virtual_time
async def test_a_server_that_greets_and_hangs_up_is_no_connection_storm_either() -> None:
    server = Server()
    server.hangs_up = True
    pauses = await asked_for_a_minute(server)
    assert 60 < len(server.dialled) < 130
    assert all(LONGEST_PAUSE / 2 <= pause <= LONGEST_PAUSE + 2 * LATENCY for pause in pauses[10:])
    assert len({round(pause, 3) for pause in pauses[10:]}) > 5  # with jitter
    server.hangs_up = False
    await asyncio.sleep(LONGEST_PAUSE)
    assert await server.ask() == b"a"
    server.wires[-1].breaks()
    await asyncio.sleep(FIRST_PAUSE)
    assert await server.ask() == b"a"  # it answered: all is forgiven
    await server.link.close()


@in_virtual_time
async def test_a_server_that_refuses_and_is_left_is_none() -> None:
    """What it said was no answer."""
    server = Server()
    server.is_replica = True
    await asked_for_a_minute(server)
    assert 60 < len(server.dialled) < 130
    await server.link.close()


@in_virtual_time
async def test_between_two_attempts_callers_are_refused_at_once_with_the_reason() -> None:
    server = Server()
    server.down = True
    first = await server.fails()
    before = asyncio.get_running_loop().time()
    second = await server.fails()
    assert asyncio.get_running_loop().time() == before
    assert str(second) == str(first)
    assert second is not first
    await server.link.close()


@in_virtual_time
async def test_a_server_that_accepts_nothing_costs_no_more_than_the_deadline() -> None:
    server = Server()
    server.silent = True
    started = asyncio.get_running_loop().time()
    error = await server.fails()
    assert isinstance(error, ProviderTimeout)
    assert asyncio.get_running_loop().time() - started == pytest.approx(TIMEOUT)
    await server.link.close()


@in_virtual_time
async def test_a_connection_that_answers_nothing_is_given_up() -> None:
    server = Server()
    await server.ask()
    server.wires[0].answers = False
    started = asyncio.get_running_loop().time()
    errors = await asyncio.gather(server.fails(), server.fails())
    assert {type(error) for error in errors} == {ProviderTimeout}
    assert asyncio.get_running_loop().time() - started == pytest.approx(GIVE_UP * TIMEOUT)
    await asyncio.sleep(LATENCY)
    assert server.wires[0].hung_up
    assert await server.ask() == b"a"
    await server.link.close()


@in_virtual_time
async def test_a_connection_that_answers_all_the_time_is_never_given_up() -> None:
    server = Server()
    for _ in range(100):
        assert await server.ask() == b"a"
    await asyncio.sleep(60)
    assert len(server.dialled) == 1
    await server.link.close()


@in_virtual_time
async def test_too_much_under_way_is_our_own_doing() -> None:
    server = Server()
    asking = [asyncio.ensure_future(server.ask()) for _ in range(MOST_ASKED)]
    await asyncio.sleep(0)
    with pytest.raises(ProviderBusy):
        await server.ask()
    assert await asyncio.gather(*asking) == [b"a"] * MOST_ASKED
    assert await server.ask() == b"a"
    await server.link.close()


@in_virtual_time
async def test_a_closed_link_fails_what_is_under_way_and_asks_no_more() -> None:
    server = Server()
    await server.ask()
    asking = asyncio.ensure_future(server.fails())
    await asyncio.sleep(LATENCY / 2)
    await server.link.close()
    assert "closed" in str(await asking)
    assert "closed" in str(await server.fails())
    assert len(server.dialled) == 1
    assert server.wires[0].hung_up


@in_virtual_time
async def test_closing_a_link_that_was_never_asked_is_nothing() -> None:
    await Server().link.close()
