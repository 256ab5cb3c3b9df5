"""Where Redis is: `redis://`, `rediss://`, `redis+sentinel://` and `redis+cluster://`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from extauthz.config.redis_url import Place, Setup, parse_redis
from extauthz.errors import ConfigError

_OF_POOLS: Final = frozenset({"timeout", "max_connections"})
"""Options that redis-py's URLs know and single connections do not: there is no pool here."""

_SOME_PORT: Final = 6379


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
    """Read a URL, by the rules that the configuration is checked by, and have redis-py make of it what its connections take.

    Raises:
        ConfigError: it is not valid. The text never repeats a value, which may be a password.
    """
    try:
        parts = parse_redis(url)
    except ValueError as error:
        raise ConfigError(f"a Redis URL: {error}") from None
    return RedisUrl(
        setup=parts.setup,
        places=parts.places,
        login=_login(parts.login, parts.database, parts.options, secure=parts.secure),
        sentinel_login=_login("", "", parts.sentinel_options, secure=parts.secure),
        service=parts.service,
    )


def _login(login: str, database: str, options: Mapping[str, str], *, secure: bool) -> Login:
    """Have redis-py itself read what its own URLs hold, and see that its connections take it."""
    kind: type[AbstractConnection] = SSLConnection if secure else Connection
    text = f"redis://{login + '@' if login else ''}host/{database}?{urlencode(options)}"
    try:
        read = {name: value for name, value in parse_url(text).items() if name not in _OF_POOLS}
        made = Login(kind=kind, options=read)
        made.to(Place("host", _SOME_PORT), 1.0)
    except Exception:  # noqa: BLE001 - whatever it raises may quote what it was given
        raise ConfigError("a Redis URL: redis-py does not take its user, its password or an option") from None
    return made
