"""A PostgreSQL URL, as libpq reads it, taken apart as far as this service needs it."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from extauthz.errors import ConfigError

_CACHE_SIZE: Final = "statement_cache_size"
_DEFAULT_CACHE_SIZE: Final = 100
"""Prepared statements per connection; we have fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a database is.

    `hosts` are URLs of one host each, in the order given: a host that is silent is then given up in time for the next one.
    They may hold a password, so they are in no repr. `place` says in errors and logs which database is meant. `pooled` is
    true where a pooler (PgBouncer in transaction mode) stands in between and nothing may be kept on a connection.
    """

    place: str
    hosts: tuple[str, ...] = field(repr=False)
    statement_cache_size: int = _DEFAULT_CACHE_SIZE

    @property
    def pooled(self) -> bool:
        """Whether consecutive transactions may meet different sessions of the server."""
        return self.statement_cache_size == 0


def parse_target(url: str) -> Target:
    """`postgresql://user:password@host:port,host:port/database?option=value`.

    Options are those of libpq (`sslmode`, `host` for the directory of a unix socket, …), and `statement_cache_size`, which is
    0 for PgBouncer in transaction mode. With several hosts the one that takes changes is wanted, unless
    `target_session_attrs` says otherwise: a standby may still show a state that is over.

    Raises:
        ConfigError: it is no such URL. The text never repeats it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError("a PostgreSQL URL that cannot be read") from None
    if parts.scheme != "postgresql":
        raise ConfigError("a PostgreSQL URL begins with postgresql://")
    size, options = _split_options(parts.query)
    user, at, names = parts.netloc.rpartition("@")
    places = _split_places(names, options)
    if len(places) > 1 and not any(option.startswith("target_session_attrs=") for option in options):
        options = [*options, "target_session_attrs=read-write"]
    return Target(
        place=_place(names, parts.path, parts.query),
        hosts=tuple(f"postgresql://{user}{at}{host}{parts.path}{_query([*options, *own])}" for host, own in places),
        statement_cache_size=size,
    )


def _split_places(names: str, options: list[str]) -> list[tuple[str, list[str]]]:
    """Each host as it stands before the path, and the options that are its own: hosts may stand in the query as well.

    What belongs to one host is taken out of `options`.
    """
    if names:
        return [(name, []) for name in names.split(",")]
    hosts, ports = _taken(options, "host"), _taken(options, "port")
    if len(ports) not in (0, 1, len(hosts)):
        raise ConfigError("a PostgreSQL URL needs one port, or as many as hosts")
    own = [[f"host={host}"] for host in hosts] or [[]]
    for number, of_host in enumerate(own):
        if ports:
            of_host.append(f"port={ports[number % len(ports)]}")
    return [("", of_host) for of_host in own]


def _taken(options: list[str], name: str) -> list[str]:
    """The values of an option, apart by commas; it is removed. The last one that is given holds."""
    values: list[str] = []
    for option in tuple(options):
        key, _, value = option.partition("=")
        if key == name:
            options.remove(option)
            values = value.replace("%2C", ",").replace("%2c", ",").split(",")
    return values


def _query(options: list[str]) -> str:
    return "?" + "&".join(options) if options else ""


def _split_options(query: str) -> tuple[int, list[str]]:
    """Our own option, and the others as they stand."""
    size, others = _DEFAULT_CACHE_SIZE, list[str]()
    for option in filter(None, query.split("&")):
        name, _, value = option.partition("=")
        if name != _CACHE_SIZE:
            others.append(option)
        elif value.isdecimal():
            size = int(value)
        else:
            raise ConfigError(f"{_CACHE_SIZE} of a PostgreSQL URL must be a whole number, 0 or more")
    return size, others


def _place(names: str, path: str, query: str) -> str:
    host = names or ",".join(parse_qs(query).get("host", ["localhost"]))
    return f"postgresql://{host}{unquote(path)}"
