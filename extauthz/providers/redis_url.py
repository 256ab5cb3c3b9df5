"""Where Redis is: `redis://`, `rediss://`, `redis+sentinel://` and `redis+cluster://`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from extauthz.errors import ConfigError

_PARTS: Final = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]+)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?")
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_LARGEST_PORT: Final = 65_535
_YES: Final = frozenset({"1", "true", "yes"})
_SENTINELS: Final = ("username", "password")
_OF_POOLS: Final = frozenset({"timeout", "max_connections"})
"""Options that redis-py's URLs know and single connections do not: there is no pool here."""


class Setup(StrEnum):
    """How Redis is run."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SETUPS: Final = {
    "redis": Setup.SINGLE,
    "rediss": Setup.SINGLE,
    "redis+sentinel": Setup.SENTINEL,
    "redis+cluster": Setup.CLUSTER,
}


class Place(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How to open connections of one kind: redis-py's class for them, and its arguments apart from host and port."""

    kind: type[AbstractConnection]
    options: Mapping[str, Any] = field(repr=False)

    def to(self, place: Place, timeout: float) -> AbstractConnection:
        """A connection that is not open yet. `timeout` is for its TCP handshake alone; nothing is ever retried by redis-py.

        Waiting for answers is bounded by whoever waits, and RESP2 needs no greeting.
        """
        options = {
            **self.options,
            "host": place.host,
            "port": place.port,
            "socket_timeout": None,
            "socket_connect_timeout": timeout,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "protocol": 2,
        }
        return self.kind(**options)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """What a URL says. `places` are the server, the Sentinels, or some nodes of the cluster."""

    setup: Setup
    places: tuple[Place, ...]
    login: Login
    sentinel_login: Login
    service: str = ""


def parse_redis_url(url: str) -> RedisUrl:
    """Read a URL.

    The query holds options of redis-py's connections, such as `ssl_ca_certs`; with Sentinel and Cluster also `ssl=true`, and
    with Sentinel `sentinel_username` and `sentinel_password`.

    Raises:
        ConfigError: it is not valid. The text never repeats the URL, which may hold a password.
    """
    found = _PARTS.fullmatch(url)
    setup = _SETUPS.get(found["scheme"]) if found else None
    if found is None or setup is None:
        raise ConfigError("a Redis URL must be redis://, rediss://, redis+sentinel:// or redis+cluster://, with a host")
    hosts = found["hosts"].split(",")
    if setup is Setup.SINGLE and len(hosts) > 1:
        raise ConfigError("redis:// names one server; for several use redis+sentinel:// or redis+cluster://")
    service, database = _path(setup, found["path"] or "")
    query = dict(parse_qsl(found["query"] or ""))
    secure = found["scheme"] == "rediss" or query.pop("ssl", "").lower() in _YES
    of_sentinels = {name: query.pop(f"sentinel_{name}") for name in _SENTINELS if f"sentinel_{name}" in query}
    default_port = _SENTINEL_PORT if setup is Setup.SENTINEL else _REDIS_PORT
    return RedisUrl(
        setup=setup,
        places=tuple(_place(host, default_port) for host in hosts),
        login=_login(found["login"], database, query, secure=secure),
        sentinel_login=_login(None, "", {**query, **of_sentinels}, secure=secure),
        service=service,
    )


def _path(setup: Setup, path: str) -> tuple[str, str]:
    """The name of the service, and the number of the database."""
    parts = [part for part in path.split("/") if part]
    service = parts.pop(0) if setup is Setup.SENTINEL and parts else ""
    if setup is Setup.SENTINEL and not service:
        raise ConfigError("redis+sentinel:// must end in the name of the service: redis+sentinel://host:26379/mymaster")
    if len(parts) > 1 or (parts and (setup is Setup.CLUSTER or not parts[0].isdigit())):
        raise ConfigError("the path of a Redis URL is the number of the database; a cluster has none")
    return service, parts[0] if parts else ""


def _place(text: str, default_port: int) -> Place:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or default_port) if found else 0
    if found is None or not 0 < port <= _LARGEST_PORT:
        raise ConfigError("a host of a Redis URL must be host, host:port or [ipv6]:port")
    return Place(found["six"] or found["host"], port)


def _login(login: str | None, database: str, query: Mapping[str, str], *, secure: bool) -> Login:
    """Have redis-py itself read what its own URLs hold, and see that its connections take it."""
    kind: type[AbstractConnection] = SSLConnection if secure else Connection
    text = f"redis://{login + '@' if login else ''}host/{database}?{urlencode(query)}"
    try:
        options = {name: value for name, value in parse_url(text).items() if name not in _OF_POOLS}
        made = Login(kind=kind, options=options)
        made.to(Place("host", _REDIS_PORT), 1.0)
    except Exception:  # noqa: BLE001 - whatever it raises may quote what it was given
        raise ConfigError("a Redis URL has an option that is not known or not valid (see its part after ?)") from None
    return made
