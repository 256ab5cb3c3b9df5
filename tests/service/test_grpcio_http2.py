"""What no proper client sends, sent frame by frame."""

import asyncio
from dataclasses import replace

import pytest

from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision
from extauthz.model.request import CheckRequest
from extauthz.server.grpcio import CHECK_METHOD, GrpcPolicy
from tests import oracle
from tests.grpc_bench import LISTEN, Told, running
from tests.http2 import Http2, connected, framed

DEADLINE_EXCEEDED = 4


async def is_allowed(connection: Http2) -> bool:
    reply = await connection.call(CHECK_METHOD, framed(oracle.message()))
    return reply.grpc_status == 0 and oracle.read(reply.data[5:]).allowed


@pytest.mark.parametrize("allotted", ["0n", "0m"])
async def test_a_deadline_that_has_passed_is_not_decided_about(allotted: str) -> None:
    told = Told()
    async with running(told) as server, connected(server.address) as connection:
        reply = await connection.call(CHECK_METHOD, framed(oracle.message()), [("grpc-timeout", allotted)])
        assert reply.grpc_status == DEADLINE_EXCEEDED or reply.reset
        assert await is_allowed(connection)
    assert told.checks == 1
    assert len(told.asked) == 1


async def test_a_deadline_of_a_nanosecond_is_kept_or_refused() -> None:
    told = Told()
    async with running(told) as server, connected(server.address) as connection:
        reply = await connection.call(CHECK_METHOD, framed(oracle.message()), [("grpc-timeout", "1n")])
    # gRPC counts in milliseconds and rounds up: in that time the answer may be there.
    assert reply.grpc_status in {0, DEADLINE_EXCEEDED} or reply.reset
    assert all(deadline.remaining() < 0 for _, deadline in told.asked)


async def test_a_deadline_of_eleven_thousand_years_is_ours() -> None:
    told = Told()
    async with running(told) as server, connected(server.address) as connection:
        reply = await connection.call(CHECK_METHOD, framed(oracle.message()), [("grpc-timeout", "99999999H")])
        assert reply.grpc_status == 0
    [(_, deadline)] = told.asked
    assert deadline.remaining() < 1.0 < deadline.hard_at


@pytest.mark.parametrize("allotted", ["", "soon", "-1m", "1"])
async def test_a_deadline_that_is_none_does_no_harm(allotted: str) -> None:
    told = Told()
    async with running(told) as server, connected(server.address) as connection:
        await connection.call(CHECK_METHOD, framed(oracle.message()), [("grpc-timeout", allotted)])
        assert await is_allowed(connection)


async def test_a_body_cut_short_ends_at_its_deadline_and_harms_no_other_call() -> None:
    told = Told()
    async with running(told) as server, connected(server.address) as connection:
        body = framed(oracle.message()[:20], announced=100)
        short = await connection.send(CHECK_METHOD, body, [("grpc-timeout", "200m")])
        assert await is_allowed(connection)
        reply = await connection.reply(short)
        assert reply.grpc_status == DEADLINE_EXCEEDED
    assert told.checks == 1


async def test_a_connection_cut_in_the_middle_of_a_body_harms_nobody_else() -> None:
    told = Told()
    async with running(told) as server, connected(server.address) as other:
        async with connected(server.address) as cut:
            await cut.send(CHECK_METHOD, framed(oracle.message())[:30], end=False)
        assert await is_allowed(other)
    assert told.checks == 1


async def test_a_message_that_announces_too_much_is_refused_at_once() -> None:
    async with running(Told()) as server, connected(server.address) as connection:
        stream = await connection.send(CHECK_METHOD, framed(b"abc", announced=2**31), end=False)
        reply = await connection.reply(stream)
        assert reply.grpc_status == 8
        assert await is_allowed(connection)


async def test_one_connection_may_have_a_hundred_calls_at_once() -> None:
    async with running(Told()) as server, connected(server.address) as connection:
        assert connection.max_concurrent_streams == 100
    fewer = replace(GrpcPolicy(listen=LISTEN), max_streams=7)
    async with running(Told(), policy=fewer) as server, connected(server.address) as connection:
        assert connection.max_concurrent_streams == 7


async def test_an_envoy_that_pings_often_is_not_sent_away() -> None:
    async with running(Told()) as server, connected(server.address) as connection:
        for _ in range(50):
            await connection.ping()
        assert await is_allowed(connection)
        assert connection.goaways == 0


async def test_calls_that_are_reset_free_their_places() -> None:
    begun = asyncio.Semaphore(0)

    async def hang(request: CheckRequest, _deadline: Deadline) -> Decision:
        if "x-hang" in request.headers:
            begun.release()
            await asyncio.Event().wait()
        return oracle.decision()

    told = Told()
    async with running(told, hang) as server, connected(server.address) as connection:
        for _ in range(5):
            streams = [await connection.send(CHECK_METHOD, framed(oracle.message({"x-hang": "1"}))) for _ in range(50)]
            for stream in streams:
                await begun.acquire()
                await connection.reset(stream)
        assert await is_allowed(connection)
    assert told.checks == 1
    assert [code for _, _, code in told.rpcs].count("Canceled") == 250


async def test_a_connection_that_is_old_is_asked_to_go() -> None:
    policy = replace(GrpcPolicy(listen=LISTEN), max_connection_age=0.2)
    async with running(Told(), policy=policy) as server:
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")  # and empty settings
        goaway = 7
        while await frame_type(reader) != goaway:
            pass
        writer.close()
        await writer.wait_closed()


async def frame_type(reader: asyncio.StreamReader) -> int:
    """The type of the next frame; fails where the connection ends without one."""
    head = await reader.readexactly(9)
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3]
