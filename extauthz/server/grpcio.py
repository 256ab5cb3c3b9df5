"""The front end over grpc.aio: raw bytes in, raw bytes out, limits, drain."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil
from typing import Final, TypeAlias

import grpc
import structlog

from extauthz.errors import ExtauthzError
from extauthz.model.deadline import Clock
from extauthz.server import warmup
from extauthz.server.address import Address
from extauthz.server.check import Checks, DeadlinePassed
from extauthz.server.decode import MalformedMessage
from extauthz.server.health import CHECK_SERVICE, Health
from extauthz.server.reflection import add_reflection
from extauthz.server.router import Handler, Router

CHECK_METHOD: Final = f"/{CHECK_SERVICE}/Check"
_WARM_UP_METHOD: Final = "/extauthz.WarmUp/Check"
_MOST: Final = 1_000_000  # gRPC takes no number above 2**31

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


Handled = Callable[[str, str, str, float], None]
"""Told of each RPC: service, method, code as go-grpc-prometheus names it (`OK`, `InvalidArgument`), seconds."""

_log = structlog.stdlib.get_logger(__name__)

# Go's names of the codes, which dashboards know.
_CODE_NAMES: Final = {code: code.name.title().replace("_", "") for code in grpc.StatusCode} | {
    grpc.StatusCode.OK: "OK",
    grpc.StatusCode.CANCELLED: "Canceled",
}


class ListenError(ExtauthzError):
    """The server cannot listen where it should; the text says where and what to look for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcPolicy:
    """How the gRPC server behaves.

    `listen` is `host:port` (port 0: any free one) or `unix:/path`. `max_message_bytes` bounds a request, `max_streams` the
    calls at once on one connection. About as many calls as `max_checks`, from all connections, may wait until they are looked at;
    above a quarter more gRPC itself refuses some, above half as many more all (the caller sees CANCELLED). `max_connection_age` in seconds, None: no end. `drain` is how long (seconds) NOT_SERVING is
    told before calls are refused, `grace` how long running calls then have. `reflection` describes the service to who asks.
    """

    listen: str
    max_message_bytes: int = 256 * 1024
    max_streams: int = 100
    max_checks: int = 1024
    max_connection_age: float | None = None
    drain: float = 5.0
    grace: float = 5.0
    reflection: bool = False

    def options(self) -> list[tuple[str, int]]:
        """The same in gRPC's words."""
        chosen = [
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # Without it one connection that opens and resets streams makes most calls of all others fail.
            ("grpc.max_concurrent_streams", self.max_streams),
            # Where the loop does not keep up, calls queue before it where no code of ours is. A queue that takes longer than its
            # callers wait answers nobody. Above the bound of one Envoy, or its health checks would be refused too.
            ("grpc.server.max_pending_requests", min(_MOST, ceil(self.max_checks * 5 / 4) + 1)),
            ("grpc.server.max_pending_requests_hard_limit", min(_MOST, ceil(self.max_checks * 3 / 2)) + 1),
            # Two processes on one port would share its connections by chance; a port in use is an error instead.
            ("grpc.so_reuseport", 0),
            # An Envoy that pings often, or without calls, is no reason to send it away.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_ping_strikes", 0),
        ]
        if self.max_connection_age is not None:
            chosen.append(("grpc.max_connection_age_ms", int(self.max_connection_age * 1000)))
            chosen.append(("grpc.max_connection_age_grace_ms", int(self.grace * 1000)))
        return chosen


def _ignore(_service: str, _method: str, _code: str, _seconds: float) -> None:
    """Nobody wants to know."""


class GrpcServer:
    """Serves checks over gRPC.

    `credentials` None: plain text, trusted only on a unix socket. `sleep` waits while draining.
    Use: `start`, `warm_up`, `serve`; at the end `stop`.
    """

    def __init__(
        self,
        *,
        checks: Checks,
        policy: GrpcPolicy,
        handled: Handled = _ignore,
        credentials: grpc.ServerCredentials | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._checks = checks
        self._policy = policy
        self._handled = handled
        self._credentials = credentials
        self._clock = clock
        self._sleep = sleep
        self._address = Address.parse(policy.listen)
        self._trusted = self._address.is_socket
        self._health = Health()
        self._router = Router(self._health.methods() | {CHECK_METHOD: _unary(self._check)})
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens: `host:port` with the port that was bound, or `unix:/path`."""
        return str(self._address)

    @property
    def serving(self) -> bool:
        """Whether health says SERVING."""
        return self._health.serving

    async def start(self) -> None:
        """Listen and answer; health says NOT_SERVING until `serve`.

        Raises:
            ListenError: the address is in use or cannot be listened on.
        """
        self._server = grpc.aio.server(handlers=[self._router], options=self._policy.options())
        if self._policy.reflection:
            add_reflection(self._server)
        self._address = self._address.bound_to(self._bind(self._server))
        await self._server.start()

    def _bind(self, server: grpc.aio.Server) -> int:
        if self._address.is_answering():
            raise ListenError(f"cannot listen on {self._address}: it is in use by another process")
        try:
            if self._credentials is None:
                return server.add_insecure_port(self.address)
            return server.add_secure_port(self.address, self._credentials)
        except RuntimeError:
            raise ListenError(
                f"cannot listen on {self._address}: it is in use by another process, or is not an address of this machine"
            ) from None

    async def warm_up(self, rehearsal: Checks, message: bytes | None = None) -> None:
        """Run `rehearsal` in process and through our own port: checks without effect on the same code as the real ones.

        `message` is what is checked; None: a typical one, whose API key nobody knows.
        """
        message = warmup.typical_message() if message is None else message
        await warmup.rehearse(rehearsal, message)
        if self._credentials is not None:
            return  # our own port would want a certificate of us
        answer = rehearsal.check

        async def handle(received: bytes, context: _Context) -> bytes:
            return await answer(received, context.time_remaining(), trusted_transport=self._trusted)

        with self._router.also(_WARM_UP_METHOD, _unary(handle)):
            await warmup.call(self._address.loopback(), _WARM_UP_METHOD, message)

    def serve(self) -> None:
        """Let health say SERVING."""
        self._health.tell(serving=True)

    async def stop(self) -> None:
        """Say NOT_SERVING, wait `drain` seconds for callers to notice, let running calls finish, end.

        A server that never said SERVING has nobody to wait for. Again, or before `start`: does nothing.
        """
        server, self._server = self._server, None
        if server is None:
            return
        if self._health.serving:
            self._health.tell(serving=False)
            await self._sleep(self._policy.drain)
        stopping = asyncio.ensure_future(server.stop(self._policy.grace))
        self._health.close()
        await stopping

    async def _check(self, message: bytes, context: _Context) -> bytes:
        started = self._clock()
        code = grpc.StatusCode.OK
        try:
            return await self._checks.check(message, context.time_remaining(), trusted_transport=self._trusted)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:  # noqa: BLE001 - grpc.aio would tell the caller the error's text
            code, details = _rpc_error(error)
            await context.abort(code, details)
        finally:
            self._handled(CHECK_SERVICE, "Check", _CODE_NAMES[code], self._clock() - started)


def _rpc_error(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, MalformedMessage):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, DeadlinePassed):
        return grpc.StatusCode.DEADLINE_EXCEEDED, str(error)
    _log.error("check_failed", error=type(error).__name__)
    return grpc.StatusCode.INTERNAL, "internal error"


def _unary(handle: Callable[[bytes, _Context], Awaitable[bytes]]) -> Handler:
    """Without a deserializer: grpc.aio would turn bytes that do not parse into UNKNOWN."""
    return grpc.unary_unary_rpc_method_handler(handle)
