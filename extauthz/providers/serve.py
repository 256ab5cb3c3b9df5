"""The provider contracts, served over gRPC from any backend: what `extauthz provider serve` runs."""

import asyncio
import socket
import traceback
from contextlib import suppress
from dataclasses import replace
from typing import Final, NoReturn, Self, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from extauthz.config.address import Address, parse_address
from extauthz.errors import ConfigError, ExtauthzError, ProviderTimeout
from extauthz.model import trace
from extauthz.providers.remote_errors import ERROR_WORD, Refusal, refusal_of
from extauthz.providers.remote_rpc import PACKAGE
from extauthz.providers.serve_backends import Backends, ServePolicy, ServeTls
from extauthz.providers.serve_calls import AnyServed, BadRequest
from extauthz.resilience.bounded import within

__all__ = ["Backends", "ProviderServer", "ServePolicy", "ServeTls"]

PATIENCE: Final = 60.0
"""Seconds that a call may take at most, also one that came without a deadline."""

_HEALTH_PATIENCE: Final = 1.0

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

_log = structlog.stdlib.get_logger(__name__)


class ProviderServer:
    """Serves the contracts from backends, which whoever made them starts before and closes after.

        async with ProviderServer("127.0.0.1:9292", Backends(lifecycle=store, billing=store, credentials=store)) as server:
            await server.wait()

    Args:
        listen: `host:port` (port 0: any free one) or `unix:/path`.
        backends: what answers.
        policy: how the server behaves.
        tls: None for plain text.

    Raises:
        ConfigError: `listen` is no address.
    """

    def __init__(
        self, listen: str, backends: Backends, *, policy: ServePolicy | None = None, tls: ServeTls | None = None
    ) -> None:
        try:
            self._address = parse_address(listen)
        except ValueError as error:
            raise ConfigError(f"{listen!r} {error}") from None
        self._policy = policy or ServePolicy()
        self._tls = tls
        self._stopping = asyncio.Event()
        self._calls = {served.rpc.path: served for served in backends.calls(self._stopping)}
        self._health = health_aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens: `host:port` with the port that was bound, or `unix:/path`."""
        return str(self._address)

    @property
    def services(self) -> frozenset[str]:
        """The full names of the services it serves."""
        return frozenset(f"{PACKAGE}.{served.rpc.service}" for served in self._calls.values())

    async def start(self) -> None:
        """Listen and answer.

        Raises:
            ConfigError: the address is in use, or a file for TLS cannot be read.
        """
        handlers = {path: self._handler(served) for path, served in self._calls.items()}
        server = grpc.aio.server(handlers=[_Handlers(handlers)], options=self._policy.options())
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._address = self._bind(server)
        await server.start()
        self._server = server
        for service in self.services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def _bind(self, server: grpc.aio.Server) -> Address:
        if self._address.is_unix and _is_answering(self._address.path):
            raise ConfigError(f"cannot listen on {self.address}: it is in use")
        try:
            if self._tls is None:
                port = server.add_insecure_port(self.address)
            else:
                port = server.add_secure_port(self.address, self._tls.credentials())
        except RuntimeError:
            raise ConfigError(f"cannot listen on {self.address}: it is in use, or no address of this machine") from None
        return self._address if self._address.is_unix else replace(self._address, port=port)

    async def stop(self) -> None:
        """Say NOT_SERVING, let running calls finish, end. Again, or before `start`: does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        self._stopping.set()
        with suppress(ProviderTimeout):  # a watcher that does not read keeps the lock that this needs
            await within(_HEALTH_PATIENCE, self._health.enter_graceful_shutdown())
        await server.stop(self._policy.grace)

    async def wait(self) -> None:
        """Return when it was stopped."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _handler(self, served: AnyServed) -> _Handler:
        async def handle(message: bytes, context: _Context) -> bytes:
            with trace.tracing(_traceparent(context)):
                try:
                    return await served.answer(message, _seconds(context))
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if task is None or task.cancelling():
                        raise
                    await _refuse(context, _internal(served, error))  # or the caller would wait for ever
                except ExtauthzError as error:
                    await _refuse(context, _bad(error) if isinstance(error, BadRequest) else refusal_of(error))
                except Exception as error:  # noqa: BLE001 - grpc.aio would tell the caller the error's text
                    await _refuse(context, _internal(served, error))

        return grpc.unary_unary_rpc_method_handler(handle)


def _is_answering(path: str) -> bool:
    """Whether somebody listens on this unix socket. gRPC would take the file away from a running server."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0


class _Handlers(grpc.GenericRpcHandler):
    """Takes raw bytes: with a deserializer, grpc.aio would turn bytes that do not parse into UNKNOWN."""

    def __init__(self, handlers: dict[str, _Handler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "_Handler | None":
        """The handler of one call; gRPC answers UNIMPLEMENTED for None."""
        return self._handlers.get(handler_call_details.method)


def _seconds(context: _Context) -> float:
    left: float | None = context.time_remaining()
    return PATIENCE if left is None else min(left, PATIENCE)


def _traceparent(context: _Context) -> str:
    found = dict(context.invocation_metadata() or ()).get(trace.HEADER, "")
    return found if isinstance(found, str) else ""


def _bad(error: ExtauthzError) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _internal(served: AnyServed, error: BaseException) -> Refusal:
    """The log is told the error's class and its places in the code. Its text stays out: it may quote a request or a secret."""
    _log.error(
        "provider_call_failed",
        service=served.rpc.service,
        method=served.rpc.method,
        error=type(error).__name__,
        places="".join(traceback.format_tb(error.__traceback__)),
    )
    return Refusal(grpc.StatusCode.INTERNAL, "internal error")


async def _refuse(context: _Context, refusal: Refusal) -> NoReturn:
    word = ((ERROR_WORD, refusal.word),) if refusal.word else ()
    await context.abort(refusal.code, refusal.details, trailing_metadata=word)
