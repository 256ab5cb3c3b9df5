"""Health, warm-up and drain over a real connection."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision
from extauthz.model.request import CheckRequest
from extauthz.server import warmup
from extauthz.server.grpcio import GrpcPolicy, GrpcServer
from extauthz.server.health import CHECK_SERVICE
from tests import oracle
from tests.grpc_bench import LISTEN, Told, call, channel, checker, refused, running

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


def about(service: str) -> bytes:
    message: bytes = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    return message


def status_in(answer: bytes) -> int:
    status: int = health_pb2.HealthCheckResponse.FromString(answer).status
    return status


async def health(opened: grpc.aio.Channel, service: str = "") -> int:
    return status_in(await call(opened, about(service), CHECK))


async def watched(opened: grpc.aio.Channel, service: str) -> AsyncIterator[int]:
    stub: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = opened.unary_stream(WATCH)
    async for answer in stub(about(service), timeout=10):
        yield status_in(answer)


@pytest.mark.parametrize("service", ["", CHECK_SERVICE])
async def test_health_follows_the_service(service: str) -> None:
    server = GrpcServer(checks=checker(Told()), policy=GrpcPolicy(listen=LISTEN, drain=0))
    await server.start()
    async with channel(server.address) as opened:
        watch = watched(opened, service)
        assert await health(opened, service) == NOT_SERVING
        assert await anext(watch) == NOT_SERVING
        server.serve()
        assert await anext(watch) == SERVING
        assert await health(opened, service) == SERVING
        await server.stop()
        assert await anext(watch) == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await anext(watch)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not server.serving


async def test_health_of_another_service_is_not_known() -> None:
    async with running(Told()) as server, channel(server.address) as opened:
        assert await refused(opened, about("other"), CHECK) is grpc.StatusCode.NOT_FOUND
        assert await anext(watched(opened, "other")) == UNKNOWN


async def test_bytes_that_are_no_health_request() -> None:
    async with running(Told()) as server, channel(server.address) as opened:
        assert await refused(opened, b"\xff", CHECK) is grpc.StatusCode.INVALID_ARGUMENT


async def test_health_calls_are_no_checks() -> None:
    told = Told()
    async with running(told) as server, channel(server.address) as opened:
        await health(opened)
    assert told.rpcs == []


class Waiting:
    """A sleep that lasts until it is released."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = asyncio.Event()
        self.seconds = 0.0

    async def __call__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun.set()
        await self.over.wait()


async def test_a_server_that_drains_says_so_and_goes_on_answering() -> None:
    waiting = Waiting()
    hanging, go_on = asyncio.Event(), asyncio.Event()

    async def hang(request: CheckRequest, _deadline: Deadline) -> Decision:
        if "x-hang" in request.headers:
            hanging.set()
            await go_on.wait()
        return oracle.decision()

    policy = GrpcPolicy(listen=LISTEN, drain=1.5, grace=60)
    async with running(Told(), hang, policy, waiting) as server, channel(server.address) as opened:
        assert await health(opened) == SERVING
        slow = asyncio.create_task(call(opened, oracle.message({"x-hang": "1"})))
        await hanging.wait()
        stopping = asyncio.create_task(server.stop())
        await waiting.begun.wait()
        assert waiting.seconds == 1.5
        assert await health(opened) == NOT_SERVING
        assert oracle.read(await call(opened, oracle.message())).allowed
        waiting.over.set()
        go_on.set()
        assert oracle.read(await slow).allowed, "what was running is finished"
        await stopping
        assert await refused(opened, oracle.message()) is grpc.StatusCode.UNAVAILABLE


async def test_who_watches_does_not_hold_up_the_end() -> None:
    policy = GrpcPolicy(listen=LISTEN, grace=3600)
    async with running(Told(), policy=policy) as server, channel(server.address) as opened:
        watch = watched(opened, "")
        assert await anext(watch) == SERVING
        await server.stop()  # in far less than its grace
        assert await anext(watch) == NOT_SERVING


async def test_a_server_that_never_served_does_not_drain() -> None:
    waiting = Waiting()
    server = GrpcServer(checks=checker(Told()), policy=GrpcPolicy(listen=LISTEN), sleep=waiting)
    await server.start()
    await server.stop()
    await server.stop()
    assert not waiting.begun.is_set()


async def test_a_warm_up_rehearses_and_leaves_no_trace() -> None:
    told, rehearsed = Told(), Told()
    server = GrpcServer(checks=checker(told), policy=GrpcPolicy(listen=LISTEN), handled=told.handled)
    await server.start()
    assert not server.serving
    await server.warm_up(checker(rehearsed))
    assert rehearsed.checks == warmup.IN_PROCESS + warmup.OVER_LOOPBACK
    assert (told.asked, told.rpcs, told.checks) == ([], [], 0)
    async with channel(server.address) as opened:
        assert await refused(opened, b"", "/extauthz.WarmUp/Check") is grpc.StatusCode.UNIMPLEMENTED
    await server.stop()


async def test_a_warm_up_message_of_ones_own() -> None:
    rehearsed = Told()
    server = GrpcServer(checks=checker(Told()), policy=GrpcPolicy(listen=LISTEN))
    await server.start()
    await server.warm_up(checker(rehearsed), oracle.message(path="/own"))
    await server.stop()
    assert {request.path for request, _ in rehearsed.asked} == {"/own"}


async def test_with_credentials_the_warm_up_stays_in_process() -> None:
    rehearsed = Told()
    server = GrpcServer(
        checks=checker(Told()),
        policy=GrpcPolicy(listen=LISTEN),
        credentials=grpc.local_server_credentials(grpc.LocalConnectionType.LOCAL_TCP),
    )
    await server.start()
    await server.warm_up(checker(rehearsed))
    assert rehearsed.checks == warmup.IN_PROCESS
    credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    async with grpc.aio.secure_channel(server.address, credentials) as opened:
        assert oracle.read(await call(opened, oracle.message())).allowed
    await server.stop()


async def test_a_warm_up_that_cannot_reach_its_own_port_is_logged_and_done() -> None:
    async with running(Told()) as server:
        with capture_logs() as logs:
            await warmup.call(server.address, "/extauthz.WarmUp/Check", b"")
    assert [(line["event"], line["code"]) for line in logs] == [("warm_up_call_failed", "UNIMPLEMENTED")]


def test_the_warm_up_message_can_be_read_as_envoys() -> None:
    from envoy_data_plane.envoy.service.auth.v3 import CheckRequest as EnvoyRequest  # noqa: PLC0415

    http = EnvoyRequest.parse(warmup.typical_message("exak_key")).attributes
    assert http is not None
    assert http.request is not None
    assert http.request.http is not None
    assert http.request.http.headers["x-api-key"] == "exak_key"
