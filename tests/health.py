"""Whether a replica says that it lives and serves, as Envoy and Kubernetes ask."""

from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from extauthz.server.health import CHECK_SERVICE
from tests.served import Served

_CHECK: Final = "/grpc.health.v1.Health/Check"


async def serving(channel: grpc.aio.Channel, within: float = 1.0) -> bool:
    """What gRPC health says; False also where nobody answers within so many seconds."""
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
    message = health_pb2.HealthCheckRequest(service=CHECK_SERVICE).SerializeToString()
    try:
        answer = await ask(message, timeout=within)
    except grpc.aio.AioRpcError:
        return False
    return bool(health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING)


async def status_of(replica: Served, path: str) -> int:
    """The HTTP status of an open path of the admin port."""
    async with replica.http.get(replica.admin_url + path) as answer:
        return answer.status
