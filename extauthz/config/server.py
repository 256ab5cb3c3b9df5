"""`server` and `admin`: the two ports."""

from enum import StrEnum

from extauthz.config.address import Address, Listen, ListenTcp
from extauthz.config.section import Section
from extauthz.config.units import Count, Duration, DurationOrZero, Flag


class Frontend(StrEnum):
    """What accepts the Check calls."""

    GRPCIO = "grpcio"
    ENVOY = "envoy"


class ServerConfig(Section):
    """The gRPC port that Envoy asks."""

    listen: Listen = Address("127.0.0.1", 9191)
    """Where Envoy finds the service: `host:port`, `[ipv6]:port` or `unix:/path`."""
    frontend: Frontend = Frontend.GRPCIO
    """What accepts the calls."""
    workers: Count = 1
    """How many processes serve, each with a port of its own counted up from `listen`."""
    budget: Duration = 1.0
    """The time for one check where the caller brings no deadline of its own."""
    margin: DurationOrZero = 0.010
    """Taken off every deadline, so that the answer is back before the caller has given up."""
    drain: DurationOrZero = 5.0
    """After SIGTERM: how long the service goes on answering while its health says NOT_SERVING."""
    max_checks: Count = 1024
    """Checks in flight at once; more are answered 503 `overloaded`."""
    max_connection_age: Duration | None = None
    """The age at which a connection is closed gently, so that callers spread over new replicas. Not set: never."""
    reflection: Flag = False
    """Whether gRPC server reflection is on (`--reflection`)."""


class AdminConfig(Section):
    """The HTTP port for operators: health, metrics, changes."""

    listen: ListenTcp = Address("127.0.0.1", 9190)
    """Where it listens: `host:port`."""
    token_file: str | None = None
    """A file with the admin token, used where `EXTAUTHZ_ADMIN_TOKEN` is not set."""
    hosts: tuple[str, ...] = ()
    """Names accepted in `Host` besides the listen address and localhost."""
