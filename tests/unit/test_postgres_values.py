"""What PostgreSQL is told and what it tells, without a server: URLs, errors, texts, and the pause between tries."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from asyncpg import exceptions as pg
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.errors import ConfigError, ExtauthzError, InvalidRecord, NotFound, ProviderError, ProviderTimeout
from extauthz.providers.postgres_dial import Backoff, limits, session_settings
from extauthz.providers.postgres_errors import is_lost, keeps_connection, translated
from extauthz.providers.postgres_schema import Lineage, status_of
from extauthz.providers.postgres_text import escaped, is_storable, lower_bound, storable, unescaped
from extauthz.providers.postgres_url import parse_target
from extauthz.providers.schema_status import Migrations, SchemaState
from extauthz.testing.clock import FakeClock

SECRET = "s3cr3t"

# URLs


def test_a_url_keeps_its_options_and_shows_no_password() -> None:
    url = f"postgresql://ada:{SECRET}@db.example:6432/x?sslmode=require&application_name=y"
    target = parse_target(url)
    assert target.hosts == (url,)
    assert target.place == "postgresql://db.example:6432/x"
    assert SECRET not in repr(target)
    assert not target.pooled


def test_several_hosts_are_tried_one_by_one_and_one_that_takes_changes_is_wanted() -> None:
    target = parse_target(f"postgresql://ada:{SECRET}@a:1,b:2/x?sslmode=disable")
    assert target.hosts == (
        f"postgresql://ada:{SECRET}@a:1/x?sslmode=disable&target_session_attrs=read-write",
        f"postgresql://ada:{SECRET}@b:2/x?sslmode=disable&target_session_attrs=read-write",
    )
    assert target.place == "postgresql://a:1,b:2/x"
    chosen = parse_target("postgresql://a,b/x?target_session_attrs=any")
    assert chosen.hosts == (
        "postgresql://a/x?target_session_attrs=any",
        "postgresql://b/x?target_session_attrs=any",
    )


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("host=a,b", ["host=a", "host=b"]),
        ("host=a%2Cb&port=1", ["host=a&port=1", "host=b&port=1"]),
        ("port=1,2&host=a,b", ["host=a&port=1", "host=b&port=2"]),
        ("host=%2Frun%2Fa,b:7", ["host=%2Frun%2Fa", "host=b:7"]),
    ],
)
def test_several_hosts_in_the_query_are_like_those_before_the_path(query: str, hosts: list[str]) -> None:
    target = parse_target(f"postgresql://ada@/x?{query}&sslmode=disable")
    wanted = "sslmode=disable&target_session_attrs=read-write"
    assert target.hosts == tuple(f"postgresql://ada@/x?{wanted}&{host}" for host in hosts)
    one = parse_target("postgresql:///x?host=a&port=1")
    assert one.hosts == ("postgresql:///x?host=a&port=1",)
    assert parse_target("postgresql:///x?port=1").hosts == ("postgresql:///x?port=1",)


def test_a_unix_socket_is_named_by_its_directory() -> None:
    target = parse_target("postgresql:///x?host=%2Frun%2Fpg")
    assert target.hosts == ("postgresql:///x?host=%2Frun%2Fpg",)
    assert target.place == "postgresql:///run/pg/x"
    assert parse_target("postgresql:///x").place == "postgresql://localhost/x"


def test_the_size_of_the_statement_cache_is_our_own_option() -> None:
    target = parse_target("postgresql://h/x?statement_cache_size=0&sslmode=disable")
    assert target.hosts == ("postgresql://h/x?sslmode=disable",)
    assert target.statement_cache_size == 0
    assert target.pooled


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ada:{SECRET}@h/x",
        f"postgresql://ada:{SECRET}@[h/x",
        f"postgresql://ada:{SECRET}@h/x?statement_cache_size=many",
        f"postgresql://ada:{SECRET}@h/x?statement_cache_size=-1",
        f"postgresql://ada:{SECRET}@/x?host=a,b,c&port=1,2",
        f"postgres://ada:{SECRET}@h/x",  # the configuration knows no such scheme either
        "",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_target(url)
    assert SECRET not in str(caught.value)


def test_behind_a_pooler_the_session_is_told_no_limits() -> None:
    plain, pooled = (
        session_settings(parse_target(f"postgresql://h/x{options}"), 0.35)
        for options in ("", "?statement_cache_size=0&application_name=y")
    )
    assert plain == {**limits(0.35), "application_name": "extauthz"}
    assert limits(0.35) == {"statement_timeout": "350", "idle_in_transaction_session_timeout": "350"}
    assert pooled == {}


# Errors


@pytest.mark.parametrize(
    ("error", "ours", "says"),
    [
        (pg.QueryCanceledError(SECRET), ProviderTimeout, "in time (57014)"),
        (TimeoutError(SECRET), ProviderTimeout, "in time (TimeoutError)"),
        (pg.CharacterNotInRepertoireError(SECRET), InvalidRecord, "cannot keep (22021)"),
        (pg.InvalidPasswordError(SECRET), ProviderError, "password is not accepted (28P01)"),
        (pg.InvalidCatalogNameError(SECRET), ProviderError, "no such database"),
        (pg.InsufficientPrivilegeError(SECRET), ProviderError, "no permission"),
        (pg.TooManyConnectionsError(SECRET), ProviderError, "no more connections"),
        (pg.DiskFullError(SECRET), ProviderError, "space left"),
        (pg.UndefinedTableError(SECRET), ProviderError, "tables are missing"),
        (pg.ReadOnlySQLTransactionError(SECRET), ProviderError, "takes no changes"),
        (pg.TargetServerAttributeNotMatched(SECRET), ProviderError, "takes no changes"),
        (pg.DeadlockDetectedError(SECRET), ProviderError, "met another"),
        (pg.UniqueViolationError(SECRET), ProviderError, "refused the change"),
        (pg.CannotConnectNowError(SECRET), ProviderError, "starting or ending"),
        (pg.ClientConfigurationError(SECRET), ProviderError, "URL cannot be used"),
        (ssl.SSLError(SECRET), ProviderError, "no TLS"),
        (pg.ConnectionDoesNotExistError(SECRET), ProviderError, "connection was lost"),
        (pg.InterfaceError(SECRET), ProviderError, "connection was lost"),
        (ConnectionRefusedError(SECRET), ProviderError, "cannot be reached"),
        (pg.SyntaxOrAccessError(SECRET), ProviderError, "PostgreSQL refused"),
    ],
)
def test_the_drivers_errors_become_ours_and_say_nothing_secret(
    error: Exception, ours: type[ExtauthzError], says: str
) -> None:
    told = translated("postgresql://h/x", error)
    assert type(told) is ours
    assert str(told).startswith("postgresql://h/x: ")
    assert says in str(told)
    assert SECRET not in str(told)


def test_what_is_not_the_drivers_is_passed_on() -> None:
    for error in (NotFound("x"), ZeroDivisionError()):
        assert translated("h", error) is error


def test_a_lost_connection_is_told_from_a_slow_one_and_from_an_answer() -> None:
    lost = (
        pg.ConnectionDoesNotExistError(),
        pg.AdminShutdownError(),
        ConnectionResetError(),
        pg.InterfaceError("closed"),
    )
    assert all(is_lost(error) and not keeps_connection(error) for error in lost)
    answers = (pg.UniqueViolationError(), pg.QueryCanceledError(), NotFound("x"))
    assert all(keeps_connection(error) and not is_lost(error) for error in answers)
    for error in (TimeoutError(), ZeroDivisionError()):
        assert not is_lost(error)
        assert not keeps_connection(error)
    demoted = pg.ReadOnlySQLTransactionError()  # the next connection may find the new primary
    assert not is_lost(demoted)
    assert not keeps_connection(demoted)


# Texts

texts = st.text(st.characters() | st.sampled_from("\0\\0é\udcff"))


@settings(deadline=None)
@given(texts)
def test_an_escaped_text_holds_no_nul_and_comes_back_as_it_was(text: str) -> None:
    assert "\0" not in escaped(text)
    assert unescaped(escaped(text)) == text


@settings(deadline=None)
@given(texts)
def test_what_is_made_storable_is_storable_and_what_was_stays(text: str) -> None:
    assert is_storable(storable(text))
    assert (storable(text) == text) is is_storable(text)


@settings(deadline=None)
@given(st.text(), st.text())
def test_above_the_lower_bound_lie_the_same_ids(after: str, tenant_id: str) -> None:
    bound = lower_bound(after)
    assert is_storable(bound)
    if is_storable(tenant_id):
        assert (tenant_id.encode() > bound.encode()) is (tenant_id > after)


# The pause between tries


def test_the_pause_grows_is_spread_and_ends_with_a_success() -> None:
    clock = FakeClock()
    backoff = Backoff(clock, lambda: 0.5)
    assert (backoff.troubled, backoff.resting) == (False, False)
    pauses = []
    for _ in range(7):
        backoff.failed()
        assert (backoff.troubled, backoff.resting) == (True, True)
        pauses.append(backoff.remaining)
        clock.advance(backoff.remaining + 0.001)
        assert (backoff.troubled, backoff.resting) == (True, False)
    assert pauses == pytest.approx([0.025, 0.05, 0.1, 0.2, 0.25, 0.25, 0.25])
    backoff.succeeded()
    assert (backoff.troubled, backoff.remaining) == (False, 0)


def test_replicas_do_not_come_back_in_step() -> None:
    clock = FakeClock()
    replicas = [Backoff(clock) for _ in range(20)]
    for replica in replicas:
        replica.failed()
    assert len({replica.remaining for replica in replicas}) > 1


# The schema, told from what there is

LINEAGE = Lineage(name="state", migrations=Migrations(directory=Path(), revisions=("a", "b")))


def test_a_schema_is_told_from_its_tables_and_its_revision() -> None:
    assert status_of("h", LINEAGE, [], []).state is SchemaState.EMPTY
    assert status_of("h", LINEAGE, ["alembic_version_events", "events"], []).state is SchemaState.EMPTY
    there = ["alembic_version_state"]
    for revision, state in (("a", SchemaState.OLDER), ("b", SchemaState.CURRENT), ("c", SchemaState.NEWER)):
        assert status_of("h", LINEAGE, there, [(revision,)]).state is state


def test_the_driver_is_not_imported_with_the_package() -> None:
    code = "import sys, extauthz.wiring, extauthz.cli.app; print('asyncpg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
