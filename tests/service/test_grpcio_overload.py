"""More checks than the service takes at once, over real connections."""

import asyncio
import time
from collections import Counter

import grpc

from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision
from extauthz.model.request import CheckRequest
from extauthz.server.grpcio import CHECK_METHOD, GrpcPolicy, GrpcServer
from tests import oracle
from tests.grpc_bench import LISTEN, Told, call, channel, checker, running


async def test_above_max_checks_at_once_the_rest_is_refused_at_once_with_retry_after_1_and_those_inside_are_answered() -> (
    None
):
    go_on = asyncio.Event()

    async def hang(_request: CheckRequest, _deadline: Deadline) -> Decision:
        await go_on.wait()
        return oracle.decision()

    told = Told()
    server = GrpcServer(checks=checker(told, hang, max_checks=16), policy=GrpcPolicy(listen=LISTEN, drain=0.0))
    await server.start()
    try:
        async with channel(server.address) as opened:
            calls = {asyncio.ensure_future(call(opened, oracle.message())) for _ in range(40)}
            while len(calls) > 16:
                done, calls = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
                answers = [oracle.read(each.result()) for each in done]
                assert {(each.http_status, each.body["error"]) for each in answers} == {(503, "overloaded")}
                assert {each.to_client["retry-after"] for each in answers} == {"1"}
            assert len(told.asked) == 16
            go_on.set()
            assert all(oracle.read(raw).allowed for raw in await asyncio.gather(*calls))
            assert oracle.read(await call(opened, oracle.message())).allowed  # room again
    finally:
        await server.stop()


async def test_what_waits_before_a_loop_that_does_not_keep_up_is_bounded_and_the_rest_is_refused_at_once() -> None:
    """The loop stands still, so it is gRPC that says no; a client of its own threads sees it while that lasts."""
    stood = 0.5

    async def stand(_request: CheckRequest, _deadline: Deadline) -> Decision:
        if len(told.asked) == 1:
            time.sleep(stood)  # noqa: ASYNC251 - on purpose
        return oracle.decision()

    told = Told()
    async with running(told, stand, GrpcPolicy(listen=LISTEN, drain=0.0, max_checks=8)) as server:
        codes = await asyncio.to_thread(_flood, server.address, 90)
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}  # as gRPC tells the caller of it
        assert 8 <= codes[grpc.StatusCode.OK] <= 20  # 13 may wait, and some were on their way when the loop stopped
        async with channel(server.address) as opened:
            assert oracle.read(await call(opened, oracle.message())).allowed


def _flood(address: str, calls: int) -> Counter[grpc.StatusCode]:
    """The codes of so many calls at once."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as opened:
        stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(CHECK_METHOD)
        futures = [stub.future(oracle.message(), timeout=10, wait_for_ready=True) for _ in range(calls)]
        return Counter(each.code() for each in futures)  # which waits for it
