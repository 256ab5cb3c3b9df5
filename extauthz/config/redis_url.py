"""Where Redis is: `redis://`, `rediss://`, `redis+sentinel://` and `redis+cluster://`, and which options such a URL takes.

The one set of rules: the configuration is checked by it, and the provider reads its URL with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from extauthz.config.problems import did_you_mean

_PARTS: Final = re.compile(
    r"[a-z+]+://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]+)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?")
_LARGEST_PORT: Final = 65_535
_WORD: Final = re.compile(r"[A-Za-z_]{1,40}")
_YES: Final = frozenset({"1", "true", "yes"})
_SENTINELS: Final = ("username", "password")


class Setup(StrEnum):
    """How Redis is run."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Place(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Form:
    """What the URLs of a scheme look like. `path` may have a service and a database."""

    setup: Setup
    path: re.Pattern[str]
    default_port: int
    text: str
    secure: bool = False


_DATABASE: Final = re.compile(r"(?:/(?P<database>[0-9]{1,4})?)?")
_SERVICE: Final = re.compile(r"/(?P<service>[A-Za-z0-9_.-]+)(?:/(?P<database>[0-9]{1,4}))?/?")
_NOTHING: Final = re.compile(r"(?:/0?)?")

_FORMS: Final = {
    "redis": _Form(Setup.SINGLE, _DATABASE, 6379, "must be of the form redis://host:6379/0"),
    "rediss": _Form(Setup.SINGLE, _DATABASE, 6379, "must be of the form rediss://host:6379/0", secure=True),
    "redis+sentinel": _Form(
        Setup.SENTINEL,
        _SERVICE,
        26379,
        "must name the sentinels and the service: redis+sentinel://host1:26379,host2:26379/service",
    ),
    "redis+cluster": _Form(
        Setup.CLUSTER,
        _NOTHING,
        6379,
        "must name nodes of the cluster, which has no databases by number: redis+cluster://host1:6379,host2:6379",
    ),
}


class _Kind(NamedTuple):
    """The values an option takes."""

    values: re.Pattern[str]
    text: str


_TEXT: Final = _Kind(re.compile(r"(?s:.+)"), "needs a value")
_WHOLE: Final = _Kind(re.compile(r"[0-9]{1,9}"), "must be a whole number")
_NUMBER: Final = _Kind(re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?"), "must be a number")
_CHOICE: Final = _Kind(re.compile(r"(?i:1|true|yes|0|false|no)"), "must be true or false")
_REQUIREMENT: Final = _Kind(re.compile(r"none|optional|required"), "must be none, optional or required")

_OF_TLS: Final = {
    "ssl_ca_certs": _TEXT,
    "ssl_ca_data": _TEXT,
    "ssl_ca_path": _TEXT,
    "ssl_cert_reqs": _REQUIREMENT,
    "ssl_certfile": _TEXT,
    "ssl_check_hostname": _CHOICE,
    "ssl_ciphers": _TEXT,
    "ssl_keyfile": _TEXT,
    "ssl_password": _TEXT,
}
_WITHOUT_EFFECT: Final = {
    "health_check_interval": _WHOLE,
    "max_connections": _WHOLE,
    "retry_on_timeout": _CHOICE,
    "socket_connect_timeout": _NUMBER,
    "socket_timeout": _NUMBER,
    "timeout": _NUMBER,
}
"""Of clients with pools and retries. A URL that is used elsewhere too may have them."""

_OF_ALL: Final = {
    **_OF_TLS,
    **_WITHOUT_EFFECT,
    "client_name": _TEXT,
    "password": _TEXT,
    "socket_keepalive": _CHOICE,
    "ssl": _CHOICE,
    "username": _TEXT,
}
_OPTIONS: Final[Mapping[Setup, Mapping[str, _Kind]]] = {
    Setup.SINGLE: {**_OF_ALL, "db": _WHOLE},
    Setup.SENTINEL: {**_OF_ALL, "db": _WHOLE, **{f"sentinel_{name}": _TEXT for name in _SENTINELS}},
    Setup.CLUSTER: _OF_ALL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisParts:
    """What a URL says, no option of which is unknown. What may hold a password is in no repr.

    `places` are the server, the Sentinels, or some nodes of the cluster; `login` is `user:password` as it was written;
    `options` are of connections to servers, `sentinel_options` of those to Sentinels.
    """

    setup: Setup
    places: tuple[Place, ...]
    service: str
    database: str
    secure: bool
    login: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)
    sentinel_options: Mapping[str, str] = field(repr=False)


def parse_redis(text: str) -> RedisParts:
    """Take a URL to pieces.

    Raises:
        ValueError: it is not valid. The text names an option, and never repeats a value.
    """
    form = _FORMS.get(text.partition(":")[0])
    if form is None:
        raise ValueError("must be redis://, rediss://, redis+sentinel:// or redis+cluster://")
    found = _PARTS.fullmatch(text)
    path = form.path.fullmatch(found["path"] or "") if found else None
    hosts = found["hosts"].split(",") if found else []
    if found is None or path is None or (form.setup is Setup.SINGLE and len(hosts) > 1):
        raise ValueError(form.text)
    places = tuple(_place(host, form) for host in hosts)
    options = _options(found["query"] or "", form.setup)
    secure = options.pop("ssl", "").lower() in _YES or form.secure
    _check_tls(options, secure=secure)
    of_sentinels = {name: options.pop(f"sentinel_{name}") for name in _SENTINELS if f"sentinel_{name}" in options}
    own = {name: value for name, value in options.items() if name not in ("db", *_SENTINELS)}
    named = path.groupdict("")
    return RedisParts(
        setup=form.setup,
        places=places,
        service=named.get("service", ""),
        database=named.get("database", ""),
        secure=secure,
        login=found["login"] or "",
        options=options,
        sentinel_options={**own, **of_sentinels},
    )


def _place(text: str, form: _Form) -> Place:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(f"has a host that is none; it {form.text}")
    port = int(found["port"] or form.default_port)
    if not 0 < port <= _LARGEST_PORT:
        raise ValueError("the port must lie between 1 and 65535")
    return Place(found["six"] or found["host"], port)


def _options(query: str, setup: Setup) -> dict[str, str]:
    known = _OPTIONS[setup]
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(_unknown(name, known))
        if name in options:
            raise ValueError(f"option {name} stands there twice")
        if not known[name].values.fullmatch(value):
            raise ValueError(f"option {name} {known[name].text}")
        options[name] = value
    return options


def _unknown(name: str, known: Mapping[str, _Kind]) -> str:
    """What is no word is not repeated: it may be the rest of a password with a `?` in it."""
    shown = f"option {name}" if _WORD.fullmatch(name) else "an option after ?"
    return f"{shown} is not known. {did_you_mean(name, known)}".rstrip(" .")


def _check_tls(options: Mapping[str, str], *, secure: bool) -> None:
    """An option of TLS without TLS would promise what is not so."""
    vain = next((name for name in options if name in _OF_TLS), None)
    if vain and not secure:
        raise ValueError(f"option {vain} is for TLS: write rediss://, or add ssl=true")
