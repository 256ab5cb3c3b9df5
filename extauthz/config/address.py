"""Where to listen."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_HOST_PORT: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
_LONGEST_SOCKET_PATH: Final = 107
_LISTEN_HELP: Final = "must be host:port, such as 127.0.0.1:9191 or [::1]:9191"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, or the path of a unix socket. Port 0 means any free port; `path` is empty for TCP."""

    host: str
    port: int
    path: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return bool(self.path)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """`host:port`, `[ipv6]:port` or `unix:/path`.

    Raises:
        ValueError: anything else.
    """
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise ValueError(_LISTEN_HELP)  # noqa: TRY004 - pydantic collects ValueError, a TypeError would pass through it
    if text.startswith("unix:"):
        return _unix(text)
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise ValueError(_LISTEN_HELP + (", or unix:/path/of/a.sock" if "/" in text else ""))
    port = int(found["port"])
    if port > 65_535:  # noqa: PLR2004 - the largest TCP port
        raise ValueError("the port must lie between 0 and 65535")
    return Address(found["six"] or found["host"], port)


def _unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    path = path.removeprefix("//") if path.startswith("///") else path
    if not path.startswith("/"):
        raise ValueError("the path of a unix socket must be absolute: unix:/run/extauthz.sock")
    if len(path.encode()) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a unix socket must have at most {_LONGEST_SOCKET_PATH} bytes")
    return Address("", 0, path)


def _tcp_only(address: Address) -> Address:
    if address.is_unix:
        raise ValueError(_LISTEN_HELP + "; a unix socket is for the gRPC port only")
    return address


Listen = Annotated[
    Address,
    BeforeValidator(parse_address),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:9191", "[::1]:9191", "unix:/run/extauthz.sock"]}),
]
"""An address to listen on: host:port or a unix socket."""

ListenTcp = Annotated[
    Address,
    BeforeValidator(lambda value: _tcp_only(parse_address(value))),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:9190"]}),
]
"""An address to listen on: host:port."""
