"""What is counted of gRPC calls, named as go-grpc-prometheus names it."""

from collections.abc import Callable
from typing import Final

from extauthz.telemetry.metrics_family import Counters, Histograms

CODES: Final = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented"),
    *("Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)
"""Go's names of the gRPC status codes in the order of their numbers: what dashboards made for go-grpc-prometheus ask for."""

METHODS: Final = (
    ("envoy.service.auth.v3.Authorization", "Check"),
    ("grpc.health.v1.Health", "Check"),
    ("grpc.health.v1.Health", "Watch"),
)
"""The methods whose series are there from the start."""


class RpcMetrics:
    """The families of the gRPC server."""

    def __init__(self) -> None:
        self.handled = Counters(
            "grpc_server_handled_total",
            "RPCs ended on the server, whatever their result.",
            ("grpc_service", "grpc_method", "grpc_code"),
            [(*method, code) for method in METHODS for code in CODES],
        )
        self.handling = Histograms(
            "grpc_server_handling_seconds",
            "Time the server took for an RPC.",
            ("grpc_service", "grpc_method"),
            METHODS,
        )
        self.families = (self.handled, self.handling)

    def watch(self, service: str, method: str) -> Callable[[int, float], None]:
        """What to call at the end of every RPC of this method: with the number of its gRPC status code, and seconds."""
        by_code = [self.handled.of(service, method, code) for code in CODES]
        seconds = self.handling.of(service, method)

        def ended(code: int, took: float) -> None:
            by_code[code].value += 1
            seconds.observe(took)

        return ended
