"""The gRPC server as a client meets it, over a real connection."""

import asyncio
import socket
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision
from extauthz.model.request import CheckRequest
from extauthz.server.address import Address
from extauthz.server.grpcio import CHECK_METHOD, GrpcPolicy, GrpcServer, ListenError
from tests import oracle
from tests.grpc_bench import LISTEN, Told, call, channel, checker, refused, running

SERVICE = "envoy.service.auth.v3.Authorization"
LIMIT = 256 * 1024


async def test_a_check_is_answered_and_told() -> None:
    told = Told()
    async with running(told) as server, channel(server.address) as opened:
        answer = oracle.read(await call(opened, oracle.message({"x-api-key": "k"})))
    assert answer.headers["x-tenant-id"] == "acme"
    assert told.rpcs == [(SERVICE, "Check", "OK")]
    [(request, _)] = told.asked
    assert request.headers == {"x-api-key": "k"}
    assert not request.trusted_transport


async def test_the_callers_deadline_arrives() -> None:
    told = Told()
    async with running(told) as server, channel(server.address) as opened:
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(CHECK_METHOD)
        await stub(oracle.message(), timeout=600)
        await stub(oracle.message())
    (_, long), (_, none) = told.asked
    assert long.hard_at - long.at > 500  # the caller's 600 s against our budget of 1 s
    assert none.hard_at - none.at == pytest.approx(0.01)


async def test_an_empty_message_is_a_denial_and_no_rpc_error() -> None:
    told = Told()
    async with running(told) as server, channel(server.address) as opened:
        answer = oracle.read(await call(opened, b""))
    assert (answer.http_status, answer.body["reason"]) == (400, "message")
    assert told.rpcs == [(SERVICE, "Check", "OK")]


async def test_bytes_that_are_no_message_are_an_invalid_argument() -> None:
    told = Told()
    async with running(told) as server, channel(server.address) as opened:
        assert await refused(opened, b"\xff\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
    assert told.rpcs == [(SERVICE, "Check", "InvalidArgument")]
    assert told.checks == 0


async def test_a_message_above_the_limit_is_refused_and_one_below_is_not() -> None:
    told = Told()
    async with running(told) as server, channel(server.address) as opened:
        empty = len(oracle.message({"x": ""}))
        below = oracle.message({"x": "a" * (LIMIT - empty - 30)})
        assert LIMIT - 60 < len(below) <= LIMIT
        assert oracle.read(await call(opened, below)).allowed
        above = oracle.message({"x": "a" * LIMIT})
        assert await refused(opened, above) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert oracle.read(await call(opened, oracle.message())).allowed
    assert told.checks == 2


@pytest.mark.parametrize(
    "method",
    ["/envoy.service.auth.v3.Authorization/check", "/envoy.service.auth.v2.Authorization/Check", "/", "/a/b/c"],
)
async def test_any_other_method_is_unimplemented(method: str) -> None:
    told = Told()
    async with running(told) as server, channel(server.address) as opened:
        assert await refused(opened, oracle.message(), method) is grpc.StatusCode.UNIMPLEMENTED
    assert told.asked == []


async def test_a_long_path_is_answered() -> None:
    async with running(Told()) as server, channel(server.address) as opened:
        assert oracle.read(await call(opened, oracle.message(path="/" + "a" * 50_000))).allowed


async def test_the_listed_form_of_headers_is_answered_the_same() -> None:
    async def tell_key(request: CheckRequest, _deadline: Deadline) -> Decision:
        return oracle.decision(strip=(request.headers["x-api-key"],))

    raw = [("X-Api-Key", b"a"), ("x-api-key", b"b\xff")]
    async with running(Told(), tell_key) as server, channel(server.address) as opened:
        listed = oracle.read(await call(opened, oracle.check_request(oracle.http_request(raw_headers=raw))))
        mapped = oracle.read(await call(opened, oracle.message({"x-api-key": "a,b!"})))
    assert listed.removed == mapped.removed == ["x-extauthz-degraded", "a,b!"]


async def test_a_caller_that_leaves_stops_its_check() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(_request: CheckRequest, _deadline: Deadline) -> Decision:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("never")

    told = Told()
    async with running(told, hang) as server, channel(server.address) as opened:
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(CHECK_METHOD)
        leaving = stub(oracle.message(), timeout=10)
        await begun.wait()
        leaving.cancel()
        await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert told.rpcs == [(SERVICE, "Check", "Canceled")]
    assert told.checks == 0


class Broken:
    """Fails in a way that a check never should."""

    async def check(self, _message: bytes, _remaining: float | None, *, trusted_transport: bool) -> bytes:
        raise RuntimeError(f"secret {trusted_transport}")


async def test_an_error_of_ours_says_nothing_of_itself() -> None:
    told = Told()
    server = GrpcServer(checks=Broken(), policy=GrpcPolicy(listen=LISTEN), handled=told.handled)
    await server.start()
    with capture_logs() as logs:
        async with channel(server.address) as opened:
            stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(CHECK_METHOD)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub(oracle.message(), timeout=10)
    await server.stop()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert told.rpcs == [(SERVICE, "Check", "Internal")]
    assert "secret" not in str(logs)
    assert [line["error"] for line in logs] == ["RuntimeError"]


# Where it listens


async def test_a_unix_socket_is_a_trusted_transport(tmp_path: Path) -> None:
    told = Told()
    policy = GrpcPolicy(listen=f"unix:{tmp_path / 's'}")
    async with running(told, policy=policy) as server, channel(server.address) as opened:
        assert server.address == policy.listen
        await call(opened, oracle.message())
    [(request, _)] = told.asked
    assert request.trusted_transport


async def test_a_socket_in_use_is_left_to_who_has_it(tmp_path: Path) -> None:
    policy = GrpcPolicy(listen=f"unix:{tmp_path / 's'}")
    async with running(Told(), policy=policy) as server, channel(server.address) as opened:
        second = GrpcServer(checks=checker(Told()), policy=policy)
        with pytest.raises(ListenError, match="in use"):
            await second.start()
        await second.stop()
        assert oracle.read(await call(opened, oracle.message())).allowed


async def test_a_socket_that_a_dead_server_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    policy = GrpcPolicy(listen=f"unix:{path}")
    async with running(Told(), policy=policy) as server, channel(server.address) as opened:
        assert oracle.read(await call(opened, oracle.message())).allowed


async def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        server = GrpcServer(checks=checker(Told()), policy=GrpcPolicy(listen=listen))
        with pytest.raises(ListenError, match=rf"cannot listen on {listen}: it is in use"):
            await server.start()
        await server.stop()


@pytest.mark.parametrize("listen", ["localhost", "localhost:http", ":99999", "unix:", "127.0.0.1:", "a:-1", "a:²"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match=r"neither host:port|needs a path"):
        Address.parse(listen)


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("0.0.0.0:9191", "127.0.0.1:9191"),
        ("[::]:9191", "[::1]:9191"),
        ("[fe80::1]:9191", "[fe80::1]:9191"),
        ("localhost:9191", "localhost:9191"),
        ("unix:/run/s", "unix:/run/s"),
    ],
)
def test_how_to_reach_ourselves(listen: str, loopback: str) -> None:
    assert str(Address.parse(listen)) == listen
    assert Address.parse(listen).loopback() == loopback
