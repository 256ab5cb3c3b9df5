"""What is run before the service says that it serves, so that the first request is as fast as the hundredth."""

from typing import Final

import grpc
import structlog

from extauthz._gen.wire.v3 import external_auth_pb2 as wire
from extauthz.server.check import Checks

IN_PROCESS: Final = 300
OVER_LOOPBACK: Final = 20
_TIMEOUT: Final = 5.0
_OPTIONS: Final = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))

_log = structlog.stdlib.get_logger(__name__)


def typical_message(key: str = "warm-up") -> bytes:
    """A CheckRequest like those Envoy sends, with `key` as API key."""
    http = wire.AttributeContext.HttpRequest(
        id="1", method="POST", path="/api/v1/runs", host="warm.up", scheme="https", protocol="HTTP/1.1"
    )
    given = {":authority": "warm.up", ":method": "POST", ":path": "/api/v1/runs", ":scheme": "https", "accept": "*/*"}
    given |= {"content-type": "application/json", "user-agent": "warm-up", "x-api-key": key, "x-request-id": "1"}
    http.headers.update(given)
    request = wire.CheckRequest(
        attributes=wire.AttributeContext(request=wire.AttributeContext.Request(http=http)),
    )
    request.attributes.source.address.socket_address.address = "127.0.0.1"
    return request.SerializeToString()


async def rehearse(rehearsal: Checks, message: bytes) -> None:
    """Answer `message` some hundred times in process."""
    for _ in range(IN_PROCESS):
        await rehearsal.check(message, _TIMEOUT, trusted_transport=False)


async def call(target: str, method: str, message: bytes) -> None:
    """Call `method` on our own port some times. A port that cannot be reached from here is logged and nothing more."""
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        try:
            for _ in range(OVER_LOOPBACK):
                await stub(message, timeout=_TIMEOUT, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            _log.warning("warm_up_call_failed", code=error.code().name)
