"""Where a server listens."""

import socket
from dataclasses import dataclass, replace
from typing import Final

_SOCKET: Final = "unix:"
_MAX_PORT: Final = 65_535
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`host:port`, or a unix socket at `path`. An IPv6 host is kept without its brackets."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`host:port`, `[ipv6]:port` or `unix:/path`.

        Raises:
            ValueError: it is none of these.
        """
        if text.startswith(_SOCKET):
            path = text.removeprefix(_SOCKET)
            if not path:
                raise ValueError("unix: needs a path")
            return cls(path=path)
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
            raise ValueError(f"{text!r} is neither host:port nor unix:/path")
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    def __str__(self) -> str:
        if self.is_socket:
            return f"{_SOCKET}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_socket(self) -> bool:
        """Whether it is a unix socket: who reaches it was let in by the file system."""
        return bool(self.path)

    def bound_to(self, port: int) -> "Address":
        """The same with the port that was really bound."""
        return self if self.is_socket else replace(self, port=port)

    def loopback(self) -> str:
        """What to call from this machine."""
        return str(self) if self.is_socket else f"{_ANY[self.host]}:{self.port}" if self.host in _ANY else str(self)

    def is_answering(self) -> bool:
        """Whether somebody listens on this unix socket. gRPC would take the file away from a running server."""
        if not self.is_socket:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(self.path)
            except OSError:
                return False
        return True
