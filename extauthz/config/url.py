"""Where a provider is."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from extauthz.config.redis_url import parse_redis

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_EMBEDDED: Final = frozenset({"sqlite", "memory", "none"})
_TLS_FILES: Final = frozenset({"ca", "cert", "key"})


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
        return self.scheme in _EMBEDDED

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
    """A provider's URL, split as far as this service needs it. A scheme that is not ours is left to whoever serves it.

    Raises:
        ValueError: no URL, or one that names no place. The text never repeats the URL, which may hold a password.
    """
    if isinstance(text, ProviderUrl):
        return text
    if not isinstance(text, str):
        raise ValueError('must be a URL in quotes, such as "sqlite:///extauthz.db" or "memory:"')  # noqa: TRY004 - pydantic collects ValueError, a TypeError would pass through it
    scheme, colon, rest = text.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise ValueError("must be a URL, such as sqlite:///extauthz.db or memory:")
    if scheme == "sqlite":
        return ProviderUrl(scheme, _sqlite_path(rest), text)
    if scheme in _CHECKS:
        _CHECKS[scheme](scheme, text)
    return ProviderUrl(scheme, "", text)


def _sqlite_path(rest: str) -> str:
    path = rest.removeprefix("///")
    if path == rest or not path or path.endswith("/"):
        raise ValueError("must name a file: sqlite:///file.db (relative) or sqlite:////var/lib/file.db (absolute)")
    if path == ":memory:":
        raise ValueError("for a store in memory write memory:")
    if set(path) & set("?#\0"):
        raise ValueError("a sqlite URL takes no options: sqlite:///file.db")
    return path


def _check_bare(scheme: str, text: str) -> None:
    if text != f"{scheme}:":
        raise ValueError(f"takes nothing after the colon: {scheme}:")


def _check_postgresql(scheme: str, text: str) -> None:
    hosts, _, query = _split(scheme, text, f"{scheme}://user@host:5432/database")
    if not hosts and "host" not in query:
        raise ValueError(f"must name a host, or a unix socket's directory: {scheme}:///database?host=/run/postgresql")


def _check_redis(_scheme: str, text: str) -> None:
    parse_redis(text)


def _check_grpc(scheme: str, text: str) -> None:
    form = f"{scheme}://host:port"
    hosts, path, query = _split(scheme, text, form)
    socket = scheme == "grpc" and not hosts and path not in ("", "/")  # grpc:///run/provider.sock
    if not socket and (len(hosts) != 1 or hosts[0] is None or path not in ("", "/")):
        raise ValueError(f"must be of the form {form}")
    allowed = _TLS_FILES if scheme == "grpcs" else frozenset[str]()
    if not query.keys() <= allowed:
        files = "ca, cert and key (files)" if allowed else "no options; for TLS write grpcs://"
        raise ValueError(f"{scheme}: takes {files}")
    if ("cert" in query) != ("key" in query):
        raise ValueError("a client certificate needs both cert and key")


_CHECKS: Final[dict[str, Callable[[str, str], None]]] = {
    "memory": _check_bare,
    "none": _check_bare,
    "postgresql": _check_postgresql,
    "redis": _check_redis,
    "rediss": _check_redis,
    "redis+sentinel": _check_redis,
    "redis+cluster": _check_redis,
    "grpc": _check_grpc,
    "grpcs": _check_grpc,
}


def _split(scheme: str, text: str, form: str) -> tuple[list[int | None], str, dict[str, list[str]]]:
    """The ports of the hosts (None where one has none), the path, and the query."""
    try:
        parts = urlsplit(text)
        query = parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        raise ValueError(f"must be of the form {form}") from None
    if not text.startswith(f"{scheme}://") or parts.fragment:
        raise ValueError(f"must be of the form {form}")
    # A password's `/` or `?` ended the host, and the rest of it would be shown.
    if "@" in parts.path + parts.query.partition("=")[0]:
        raise ValueError("has an @ behind the host; in a password write / as %2F, ? as %3F, # as %23 and @ as %40")
    hosts = parts.netloc.rpartition("@")[2]
    return [_port(host, form) for host in hosts.split(",")] if hosts else [], parts.path, query


def _port(host: str, form: str) -> int | None:
    found = _HOST.fullmatch(host)
    if found is None:
        raise ValueError(f"has a host that is none; it must be of the form {form}")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 1 <= port <= 65_535:  # noqa: PLR2004 - the range of TCP ports
        raise ValueError("the port must lie between 1 and 65535")
    return port


Url = Annotated[
    ProviderUrl,
    BeforeValidator(parse_url),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "examples": [
                "sqlite:///extauthz.db",
                "postgresql://extauthz@db/extauthz",
                "redis://cache:6379/0",
                "memory:",
            ],
        }
    ),
]
"""A provider's URL."""
