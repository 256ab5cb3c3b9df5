"""Which handler a gRPC method has."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


class Router(grpc.GenericRpcHandler):
    """Knows methods by their full name; gRPC answers UNIMPLEMENTED for every other one."""

    def __init__(self, methods: Mapping[str, Handler]) -> None:
        self._methods = dict(methods)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """The handler of one call, None where there is none."""
        return self._methods.get(handler_call_details.method)

    @contextmanager
    def also(self, method: str, handler: Handler) -> Iterator[None]:
        """Know one more method for a while."""
        self._methods[method] = handler
        try:
            yield
        finally:
            del self._methods[method]
