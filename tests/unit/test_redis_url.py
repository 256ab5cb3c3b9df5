"""Where Redis is, as a URL says it; and that no text about it ever repeats a password."""

from pathlib import Path

import pytest
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from extauthz.config import InvalidConfig, load
from extauthz.config.redis_url import _OPTIONS, Place, Setup
from extauthz.config.url import parse_url
from extauthz.errors import ConfigError, ExtauthzError, InvalidRecord, ProviderBusy, ProviderError, ProviderTimeout
from extauthz.providers.redis_errors import again, translated
from extauthz.providers.redis_protection import RedisProtection
from extauthz.providers.redis_url import parse_redis_url

SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    ("url", "setup", "places", "service"),
    [
        ("redis://cache", Setup.SINGLE, [("cache", 6379)], ""),
        ("redis://cache:7000/3", Setup.SINGLE, [("cache", 7000)], ""),
        ("redis://[::1]:7000", Setup.SINGLE, [("::1", 7000)], ""),
        ("rediss://u:p@cache.example.org", Setup.SINGLE, [("cache.example.org", 6379)], ""),
        ("redis+sentinel://a,b:5,[::1]/main", Setup.SENTINEL, [("a", 26379), ("b", 5), ("::1", 26379)], "main"),
        ("redis+sentinel://:p@a/main/2", Setup.SENTINEL, [("a", 26379)], "main"),
        ("redis+cluster://a:7000,b:7001", Setup.CLUSTER, [("a", 7000), ("b", 7001)], ""),
    ],
)
def test_a_url_names_the_setup_and_the_places(
    url: str, setup: Setup, places: list[tuple[str, int]], service: str
) -> None:
    read = parse_redis_url(url)
    assert (read.setup, [tuple(place) for place in read.places], read.service) == (setup, places, service)


def test_user_password_database_and_options_reach_the_connection() -> None:
    login = parse_redis_url("redis+sentinel://us%40er:p%2Fw@a/main/2?socket_keepalive=false").login
    connection = login.to(Place("h", 1), 0.1)
    assert isinstance(connection, Connection)
    assert (connection.username, connection.password, connection.db) == ("us@er", "p/w", 2)
    assert (connection.host, connection.port, connection.socket_keepalive) == ("h", 1, False)


def test_nothing_is_retried_and_no_timeout_of_redis_py_gets_in_the_way() -> None:
    login = parse_redis_url("redis://a?socket_timeout=9&retry_on_timeout=true&health_check_interval=3&timeout=4").login
    connection = login.to(Place("h", 1), 0.1)
    assert connection.retry.get_retries() == 0
    assert connection.socket_timeout is None
    assert connection.socket_connect_timeout == 0.1
    assert connection.health_check_interval == 0


@pytest.mark.parametrize("url", ["rediss://a?ssl_ca_certs=/x.pem", "redis+cluster://a?ssl=true&ssl_ca_certs=/x.pem"])
def test_tls_is_of_the_scheme_or_of_an_option(url: str) -> None:
    connection = parse_redis_url(url).login.to(Place("h", 1), 0.1)
    assert isinstance(connection, SSLConnection)
    assert connection.ca_certs == "/x.pem"


def test_sentinels_have_their_own_password() -> None:
    read = parse_redis_url(f"redis+sentinel://:{SECRET}@a/main?sentinel_username=s&sentinel_password=t")
    sentinel = read.sentinel_login.to(Place("h", 1), 0.1)
    assert (sentinel.username, sentinel.password) == ("s", "t")
    assert read.login.to(Place("h", 1), 0.1).password == SECRET
    plain = parse_redis_url(f"redis+sentinel://:{SECRET}@a/main").sentinel_login.to(Place("h", 1), 0.1)
    assert plain.password is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis://",
        "memcached://a",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@a,b",
        f"redis://:{SECRET}@a/one",
        f"redis://:{SECRET}@a/1/2",
        f"redis://:{SECRET}@a:0",
        f"redis://:{SECRET}@a:65536",
        f"redis://:{SECRET}@a b",
        f"redis://:{SECRET}@a?colour={SECRET}",
        f"redis://:{SECRET}@a?ssl_ca_certs=/x.pem",
        f"redis://:{SECRET}@a?db={SECRET}",
        f"redis+sentinel://:{SECRET}@a",
        f"redis+sentinel://:{SECRET}@a/main/1/2",
        f"redis+cluster://:{SECRET}@a/1",
        f"redis+cluster://:{SECRET}@a,,b",
    ],
)
def test_what_is_no_url_of_a_redis_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisProtection(url, timeout=0.1)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# One set of rules: what the configuration takes can be connected with, and what it does not names the option


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"rediss://h?ssl_ca_cert=/{SECRET}", "option ssl_ca_cert is not known. did you mean ssl_ca_certs?"),
        (f"redis://h?foo={SECRET}", "option foo is not known"),
        (f"redis://h?{SECRET}@real.example.org", "an option after ? is not known"),
        ("redis://h?client_name", "option client_name needs a value"),
        (f"redis://h?db={SECRET}", "option db must be a whole number"),
        ("redis+cluster://h?db=1", "option db is not known"),
        ("redis://h?sentinel_password=x", "option sentinel_password is not known. did you mean ssl_password?"),
        (f"redis://h?socket_timeout={SECRET}", "option socket_timeout must be a number"),
        (f"rediss://h?ssl_check_hostname={SECRET}", "option ssl_check_hostname must be true or false"),
        (f"rediss://h?ssl_cert_reqs={SECRET}", "option ssl_cert_reqs must be none, optional or required"),
        (f"redis://h?ssl_ca_certs=/{SECRET}", "option ssl_ca_certs is for TLS: write rediss://, or add ssl=true"),
        (f"redis://h?client_name=a&client_name={SECRET}", "option client_name stands there twice"),
        (f"redis://:{SECRET}@h/x", "must be of the form redis://host:6379/0"),
        (f"redis://:{SECRET}@[h/0", "has a host that is none; it must be of the form redis://host:6379/0"),
        (f"redis+cluster://:{SECRET}@a,b:70000", "the port must lie between 1 and 65535"),
    ],
)
def test_the_configuration_and_the_provider_refuse_with_the_same_text(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_redis_url(url)
    assert str(caught.value) == f"a Redis URL: {said}"
    file = tmp_path / "extauthz.yaml"
    file.write_text(f"providers:\n  protection:\n    url: {url!r}\n")
    with pytest.raises(InvalidConfig) as told:
        load(file)
    (problem,) = told.value.problems
    assert str(problem) == f"{file}:3: providers.protection.url: {said}"
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("setup", "name", "value"),
    [
        (setup, name, value)
        for setup, options in _OPTIONS.items()
        for name, kind in options.items()
        for value in ("7", "2.5", "true", "No", "optional", "a/b%2Fc")
        if kind.values.fullmatch(value)
    ],
)
def test_whatever_option_the_configuration_takes_a_connection_takes_too(setup: Setup, name: str, value: str) -> None:
    scheme, path = {
        Setup.SINGLE: ("rediss", "/0"),
        Setup.SENTINEL: ("redis+sentinel", "/main/0"),
        Setup.CLUSTER: ("redis+cluster", "/0"),
    }[setup]
    secure = "" if setup is Setup.SINGLE or name == "ssl" else "&ssl=true"
    url = f"{scheme}://u:p@h{path}?{name}={value}{secure}"
    read = parse_redis_url(parse_url(url).text)
    for login in (read.login, read.sentinel_login):
        assert isinstance(login.to(Place("h", 1), 0.1), Connection)


def test_what_is_for_the_servers_alone_does_not_reach_the_sentinels() -> None:
    read = parse_redis_url("redis+sentinel://a/main?db=3&username=u&password=p&client_name=n")
    server, sentinel = (login.to(Place("h", 1), 0.1) for login in (read.login, read.sentinel_login))
    assert (server.username, server.password, server.db, server.client_name) == ("u", "p", 3, "n")
    assert (sentinel.username, sentinel.password, sentinel.db, sentinel.client_name) == (None, None, 0, "n")


def test_no_repr_holds_a_password() -> None:
    read = parse_redis_url(f"redis+sentinel://:{SECRET}@a/main?sentinel_password={SECRET}")
    assert SECRET not in repr(read)


def refusal(text: str, code: str | None = None) -> ResponseError:
    return ResponseError(text, status_code=code)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (RedisTimeout(SECRET), ProviderTimeout, "no answer in time"),
        (TimeoutError(SECRET), ProviderTimeout, "no answer in time"),
        (AuthenticationError(SECRET), ProviderError, "user or password"),
        (NoPermissionError(SECRET), ProviderError, "may not do that"),
        (BusyLoadingError(SECRET), ProviderError, "loading"),
        (OutOfMemoryError(SECRET, status_code="OOM"), ProviderError, "out of memory"),
        (ReadOnlyError(SECRET, status_code="READONLY"), ProviderError, "a replica"),
        (refusal(f"ERR Error running script: -READONLY You can't write {SECRET}"), ProviderError, "a replica"),
        (refusal(f"ERR Protocol error: unauthenticated multibulk length {SECRET}"), ProviderError, "user or password"),
        (refusal(f"WRONGTYPE Operation {SECRET}"), InvalidRecord, "holds something else"),
        (refusal(f"ERR in script: WRONGTYPE Operation {SECRET}"), InvalidRecord, "holds something else"),
        (refusal(f"MISCONF no disk {SECRET}"), ProviderError, "the error MISCONF"),
        (refusal(f"{SECRET} is no word"), ProviderError, "the error ERR"),
        (RedisConnectionError(SECRET), ProviderError, "connection lost or refused"),
        (ConnectionRefusedError(111, "Connection refused"), ProviderError, "Connection refused"),
        (OSError(SECRET), ProviderError, "OSError"),
        (ValueError(SECRET), ProviderError, "ValueError"),
        (ProviderBusy("too much"), ProviderBusy, "too much"),
    ],
)
def test_every_error_becomes_ours_and_repeats_no_text_of_others(
    error: Exception, kind: type[ExtauthzError], text: str
) -> None:
    ours = translated(error, "cache:6379")
    assert type(ours) is kind
    assert text in str(ours)
    assert SECRET not in str(ours)
    assert (type(again(ours)), str(again(ours))) == (kind, str(ours))
    assert again(ours) is not ours


def test_what_the_operating_system_said_is_told_though_the_driver_wraps_it() -> None:
    wrapped = RedisConnectionError(SECRET)
    wrapped.__context__ = ConnectionRefusedError(111, "Connection refused")
    assert str(translated(wrapped, "cache:6379")) == "Redis at cache:6379: not reached (Connection refused)"
