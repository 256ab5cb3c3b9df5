"""Times, sizes, amounts, addresses and URLs."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.config import Address, ProviderUrl, ServerConfig, format_duration, format_size, parse_duration, parse_size
from extauthz.config.address import parse_address
from extauthz.config.units import show_amount
from extauthz.config.url import mask_url, parse_url


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("90d", 7_776_000),
        ("1.5s", 1.5),
        ("0s", 0),
        ("0.5ms", 0.0005),
    ],
)
def test_a_duration_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-1s",
        "+1s",
        "1 s",
        "1s ",
        "1S",
        "1h30m",
        "nan",
        "nans",
        "infs",
        "1e3s",
        ".5s",
        "5.s",
        "\u0665s",
        "1w",
        "4000d",
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"time with its unit|ten years"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=315_000_000_000))
def test_a_duration_of_whole_milliseconds_is_shown_as_it_is_read(millis: int) -> None:
    seconds = millis / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250ms"), (60.0, "1m"), (90.0, "90s"), (86_400.0, "1d"), (0.0005, "0.5ms")]
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**12 - 1), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_a_size_is_shown_as_it_is_read(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    shown = format_size(size)
    assert len(shown) > 15 or parse_size(shown) == size


@pytest.mark.parametrize("text", ["1", "1GB", "1 GiB", "-1KiB", "1.5GiB", "gib"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size with its unit"):
        parse_size(text)


def test_an_amount_is_shown_as_a_plain_number() -> None:
    assert show_amount(Decimal("5.000000")) == 5
    assert str(show_amount(Decimal("999999999.999999"))) == "999999999.999999"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9191", Address("127.0.0.1", 9191)),
        ("[::1]:0", Address("::1", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("unix:/run/x.sock", Address("", 0, "/run/x.sock")),
    ],
)
def test_an_address_is_shown_as_it_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert parse_address(address) is address
    assert address.is_unix == text.startswith("unix:")


def test_the_two_forms_of_a_socket_are_one() -> None:
    assert parse_address("unix:///run/x.sock") == parse_address("unix:/run/x.sock")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":9191",
        "9191",
        "localhost",
        "localhost:",
        "a b:1",
        "::1:9191",
        "h:65536",
        "h:-1",
        "/run/x",
        9191,
        "unix:x",
        "unix:/" + "x" * 107,
    ],
)
def test_anything_else_is_no_address(text: object) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("sqlite:///a.db", "sqlite", "a.db"),
        ("sqlite:////var/a.db", "sqlite", "/var/a.db"),
        ("memory:", "memory", ""),
        ("none:", "none", ""),
    ],
)
def test_a_url_names_its_backend(text: str, scheme: str, path: str) -> None:
    url = parse_url(text)
    assert (url.scheme, url.path, url.text, str(url)) == (scheme, path, text, text)
    assert url.embedded
    assert parse_url(url) is url


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://db",
        "postgresql://bob:p%40ss@db:5432/extauthz?sslmode=verify-full",
        "postgresql://db1:5432,db2:5433/extauthz?target_session_attrs=primary",
        "postgresql:///extauthz?host=/run/postgresql",
        "redis://cache",
        "redis://:pw@[::1]:6379/3",
        "rediss://bob:pw@cache:6380/0?ssl_ca_certs=/etc/ca.pem",
        "redis+sentinel://:pw@s1:26379,s2:26379,s3/mymaster/2",
        "redis+cluster://n1:7000,n2:7001",
        "grpc://provider:9292",
        "grpc:///run/provider.sock",
        "grpcs://provider:443?ca=/etc/ca.pem&cert=/etc/c.pem&key=/etc/k.pem",
        "acme-billing:anything at all",
    ],
)
def test_a_url_of_a_network_provider_is_kept_as_it_is(text: str) -> None:
    url = parse_url(text)
    assert (url.scheme, url.text, url.path, url.embedded) == (text.partition(":")[0], text, "", False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql:x", "must be of the form postgresql://"),
        ("postgresql:///x", "must name a host, or a unix socket's directory"),
        ("postgresql://db:65536/x", "the port must lie between"),
        ("postgresql://db:0/x", "the port must lie between"),
        ("postgresql://a b/x", "a host that is none"),
        ("postgresql://bob:pw@[db/x", "must be of the form"),
        ("postgresql://db/x#y", "must be of the form"),
        ("postgresql://bob:12345/pw@db/x", "in a password write / as %2F"),
        ("postgresql://bob:12345?pw@db/x", "in a password write / as %2F"),
        ("redis://", "must be of the form redis://host:6379/0"),
        ("redis://a,b", "must be of the form"),
        ("redis://a/b", "must be of the form"),
        ("redis+sentinel://a", "must name the sentinels and the service"),
        ("redis+sentinel:///mymaster", "must name the sentinels"),
        ("redis+cluster://a/1", "has no databases by number"),
        ("redis+cluster://", "must name nodes"),
        ("grpc://host", "must be of the form grpc://host:port"),
        ("grpc://host:1/x", "must be of the form"),
        ("grpcs:///run/x.sock", "must be of the form"),
        ("grpc://", "must be of the form"),
        ("grpc://host:1?ca=x", "for TLS write grpcs://"),
        ("grpcs://host:1?password=x", "takes ca, cert and key"),
        ("grpcs://host:1?cert=x", "needs both cert and key"),
    ],
)
def test_a_url_that_names_no_place_is_refused_with_its_form_and_without_its_secret(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse_url(text)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:a.db",
        "sqlite://a.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a?x=1",
        "memory:x",
        "none:x",
        "memory",
        "",
        "Memory:",
        5,
        None,
    ],
)
def test_anything_else_is_no_url(text: object) -> None:
    with pytest.raises(ValueError, match=r"must|takes|write"):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://bob:hunter2@db:5432/x", "postgresql://bob:***@db:5432/x"),
        ("redis://:hunter2@cache", "redis://:***@cache"),
        ("redis://hunter2@cache", "redis://***@cache"),
        ("postgresql://db/x?password=hunter2&sslkey=hunter2", "postgresql://db/x?password=***&sslkey=***"),
        ("postgresql://bob:hunter2@[db/x", "***"),
    ],
)
def test_no_secret_of_a_url_is_shown(text: str, shown: str) -> None:
    assert mask_url(text) == shown
    url = ProviderUrl("postgresql", "", text)
    assert "hunter2" not in f"{url} {url!r}"
    assert not url.embedded


def test_a_float_in_python_is_a_duration_that_was_read_before() -> None:
    assert ServerConfig(budget=0.5).budget == 0.5
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must"):
            ServerConfig(margin=seconds)
