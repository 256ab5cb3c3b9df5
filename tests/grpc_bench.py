"""A gRPC server of ours on a free port of this machine, with a decider that does as it is told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

import grpc

from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision
from extauthz.model.request import CheckRequest
from extauthz.server.check import Checker
from extauthz.server.grpcio import CHECK_METHOD, GrpcPolicy, GrpcServer
from tests import oracle

LISTEN = "127.0.0.1:0"


async def at_once(_seconds: float) -> None:
    """Waits for nothing."""


async def allow(_request: CheckRequest, _deadline: Deadline) -> Decision:
    """Says yes."""
    return oracle.decision()


@dataclass
class Told:
    """What the decider was asked and the server told."""

    asked: list[tuple[CheckRequest, Deadline]] = field(default_factory=list)
    rpcs: list[tuple[str, str, str]] = field(default_factory=list)
    checks: int = 0

    def handled(self, service: str, method: str, code: str, seconds: float) -> None:
        """One RPC ended."""
        assert seconds >= 0
        self.rpcs.append((service, method, code))

    def checked(self, _request: CheckRequest | None, _decision: Decision, _seconds: float) -> None:
        """One check was decided."""
        self.checks += 1


@dataclass
class _Decider:
    told: Told
    decides: Callable[[CheckRequest, Deadline], Awaitable[Decision]]

    async def decide(self, request: CheckRequest, deadline: Deadline) -> Decision:
        self.told.asked.append((request, deadline))
        return await self.decides(request, deadline)


def checker(
    told: Told, decides: Callable[[CheckRequest, Deadline], Awaitable[Decision]] = allow, max_checks: int = 1024
) -> Checker:
    """The real check over that decider."""
    return Checker(decider=_Decider(told, decides), observer=told, clock=monotonic, max_checks=max_checks)


@asynccontextmanager
async def running(
    told: Told,
    decides: Callable[[CheckRequest, Deadline], Awaitable[Decision]] = allow,
    policy: GrpcPolicy | None = None,
    sleep: Callable[[float], Awaitable[None]] = at_once,
) -> AsyncIterator[GrpcServer]:
    """A server that serves, and is stopped at the end."""
    chosen = GrpcPolicy(listen=LISTEN) if policy is None else policy
    server = GrpcServer(checks=checker(told, decides), policy=chosen, handled=told.handled, sleep=sleep)
    await server.start()
    try:
        server.serve()
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A client's connection of its own."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as opened:
        yield opened


async def call(opened: grpc.aio.Channel, message: bytes, method: str = CHECK_METHOD) -> bytes:
    """One call that is answered.

    Raises:
        grpc.aio.AioRpcError: it is not.
    """
    stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(method)
    return await stub(message, timeout=10)


async def refused(opened: grpc.aio.Channel, message: bytes, method: str = CHECK_METHOD) -> grpc.StatusCode:
    """The code with which a call is refused; fails where it is answered."""
    try:
        await call(opened, message, method)
    except grpc.aio.AioRpcError as error:
        return error.code()
    raise AssertionError("the call was answered")
