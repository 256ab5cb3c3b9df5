"""Where to listen, and where a provider is."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import urlsplit

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


@dataclass(frozen=True, slots=True)
class ProviderUrl:
    """Which backend a provider uses. `text` may hold a password, so it is in no repr; `str()` masks it."""

    scheme: str
    path: str
    """For `sqlite`: the path of the file, relative to the working directory unless it begins with `/`. Else empty."""
    text: str = field(repr=False)

    @property
    def embedded(self) -> bool:
        """Whether it lives inside this process: no network, and so no bulkhead."""
        return self.scheme in ("sqlite", "memory", "none")

    def __str__(self) -> str:
        return mask_url(self.text)


def mask_url(text: str) -> str:
    """The URL with password and query values replaced by `***`; a text that cannot be read as URL is masked whole."""
    try:
        parts = urlsplit(text)
        masked = "***" if parts.password else None
    except ValueError:
        return "***"
    netloc = parts.netloc
    if masked:
        netloc = f"{netloc.partition(':')[0]}:***@{netloc.rpartition('@')[2]}"
    elif "@" in netloc:
        netloc = f"***@{netloc.rpartition('@')[2]}"
    query = re.sub(r"=[^&]*", "=***", parts.query)
    return (
        text if (netloc, query) == (parts.netloc, parts.query) else parts._replace(netloc=netloc, query=query).geturl()
    )


def parse_url(text: object) -> ProviderUrl:
    """A provider's URL, split as far as this service needs it.

    Raises:
        ValueError: no URL, or a `sqlite:` URL that names no file. The text never repeats the URL, which may hold a password.
    """
    if isinstance(text, ProviderUrl):
        return text
    if not isinstance(text, str):
        raise ValueError('must be a URL in quotes, such as "sqlite:///extauthz.db" or "memory:"')  # noqa: TRY004 - see above
    scheme, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ValueError("must be a URL, such as sqlite:///extauthz.db or memory:")
    return ProviderUrl(scheme, _sqlite_path(rest) if scheme == "sqlite" else _no_path(scheme, rest), text)


def _sqlite_path(rest: str) -> str:
    path = rest.removeprefix("///")
    if path == rest or not path or path.endswith("/"):
        raise ValueError("must name a file: sqlite:///file.db (relative) or sqlite:////var/lib/file.db (absolute)")
    if path == ":memory:":
        raise ValueError("for a store in memory write memory:")
    if set(path) & set("?#\0"):
        raise ValueError("a sqlite URL takes no options: sqlite:///file.db")
    return path


def _no_path(scheme: str, rest: str) -> str:
    if scheme in ("memory", "none") and rest:
        raise ValueError(f"takes nothing after the colon: {scheme}:")
    return ""


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

Url = Annotated[
    ProviderUrl,
    BeforeValidator(parse_url),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["sqlite:///extauthz.db", "memory:"]}),
]
"""A provider's URL."""
