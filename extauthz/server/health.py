"""gRPC health (grpc.health.v1): NOT_SERVING until the service is warm and from the moment it drains.

`grpcio-health-checking` has a servicer too, but it writes to a watcher while it holds the lock that a change of status needs:
one watcher that stops reading would keep the service from draining.
"""

import asyncio
from typing import Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

CHECK_SERVICE: Final = "envoy.service.auth.v3.Authorization"
HEALTH_SERVICE: Final = "grpc.health.v1.Health"
_SERVICES: Final = frozenset({"", CHECK_SERVICE})

_Status: TypeAlias = int
_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

_UNKNOWN: Final[_Status] = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_SERVING: Final[_Status] = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final[_Status] = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Says whether the service serves, to who asks and to who watches."""

    def __init__(self) -> None:
        self._serving = False
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def serving(self) -> bool:
        """What is told now."""
        return self._serving

    def tell(self, *, serving: bool) -> None:
        """Tell from now on that the service serves, or that it does not."""
        self._serving = serving
        self._wake()

    def close(self) -> None:
        """End every watch; a server that stops would otherwise wait for them until its grace is over."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def methods(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """The handlers by full method name."""
        return {
            f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{HEALTH_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    async def _check(self, message: bytes, context: _Context) -> bytes:
        status = self._status(await _service(message, context))
        if status == _UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return _answer(status)

    async def _watch(self, message: bytes, context: _Context) -> None:
        service = await _service(message, context)
        told = None
        while True:
            changed = self._changed  # taken before the status is read, so that no change is missed
            status = self._status(service)
            if status != told:
                await context.write(_answer(status))
                told = status
            elif self._closed:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")
            else:
                await changed.wait()

    def _status(self, service: str) -> _Status:
        if service not in _SERVICES:
            return _UNKNOWN
        return _SERVING if self._serving else _NOT_SERVING


async def _service(message: bytes, context: _Context) -> str:
    try:
        service: str = health_pb2.HealthCheckRequest.FromString(message).service
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are no HealthCheckRequest")
    return service


def _answer(status: _Status) -> bytes:
    written: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return written
