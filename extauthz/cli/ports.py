"""Whether the service can listen where it shall, found out before anything is started."""

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from extauthz.config import Address, Loaded

_WHY: Final = {
    errno.EADDRINUSE: "is in use by another process; stop that one or choose another",
    errno.EACCES: "may not be used by this user; ports below 1024 need a privilege",
    errno.EADDRNOTAVAIL: "is no address of this machine; 0.0.0.0 means all of them",
}


def require_free(loaded: "Loaded") -> None:
    """Look whether both ports are free.

    gRPC itself would share a port with an older process without a word (SO_REUSEPORT), and half the checks would go astray.

    Raises:
        InvalidConfig: one is not; the text names where it was configured.
    """
    from extauthz.config import InvalidConfig, Problem  # noqa: PLC0415 - loaded when needed, so that `--help` is quick

    config = loaded.config
    problems = []
    for section, address in (("server", config.server.listen), ("admin", config.admin.listen)):
        why = _why_not(address)
        if why is not None:
            origin = loaded.sources.get(f"{section}.listen")
            problems.append(Problem(path=(section, "listen"), text=f"{address} {why}", origin=origin))
    if problems:
        raise InvalidConfig(problems)


def require_free_at(listen: str) -> None:
    """Look whether the address of `--listen` is free, before gRPC says in its own words that it is not.

    Raises:
        ConfigError: it is not, or it is no address.
    """
    from extauthz.config.address import parse_address  # noqa: PLC0415 - as above

    try:
        address = parse_address(listen)
    except ValueError as error:
        raise ConfigError(f"--listen: {listen!r} {error}") from None
    why = _why_not(address)
    if why is not None:
        raise ConfigError(f"--listen: {address} {why}")


def _why_not(address: "Address") -> str | None:
    return _why_not_unix(address.path) if address.is_unix else _why_not_tcp(address.host, address.port)


def _why_not_tcp(host: str, port: int) -> str | None:
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: what lingers of connections that ended is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(name)
    except socket.gaierror:
        return "names no host that is known here"
    except OSError as error:
        return _WHY.get(error.errno or 0, (error.strerror or "cannot be used").lower())
    return None


def _why_not_unix(path: str) -> str | None:
    folder = os.path.dirname(path)  # noqa: PTH120 - Path would do no more
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"cannot be made: {folder} is no folder that this user may write to"
    with socket.socket(socket.AF_UNIX) as probe:
        # A file that nobody listens on was left by a process that ended, and is replaced.
        return None if probe.connect_ex(path) else _WHY[errno.EADDRINUSE]
