"""`extauthz db`: which databases there are, how they stand, and what is said of each that is not as it should be."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extauthz.cli.app import cli
from extauthz.config import load
from extauthz.errors import ProviderError
from extauthz.providers import sqlite
from extauthz.providers.sqlite_plans import plans_in_use
from extauthz.wiring.databases import Use, databases

OTHER_PROGRAM = "CREATE TABLE things (id INTEGER)"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default URLs name files in the working directory."""
    monkeypatch.chdir(tmp_path)


def run(*args: str, code: int = 0, **env: str) -> Result:
    result = CliRunner().invoke(cli, ["db", *args], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result


def told(*args: str, code: int = 0, **env: str) -> list[dict[str, object]]:
    shown = json.loads(run(*args, "--output", "json", code=code, **env).stdout)["databases"]
    assert isinstance(shown, list)
    return shown


def states(*args: str, code: int = 0, **env: str) -> list[object]:
    return [row["state"] for row in told(*args, code=code, **env)]


def change(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


# Which there are


def test_each_database_is_there_once_with_all_that_use_it() -> None:
    found = databases(load(None, {}).config)
    assert [(each.url.path, each.use, each.providers) for each in found] == [
        ("extauthz.db", Use.STATE, ("credentials", "lifecycle", "billing")),
        ("extauthz-events.db", Use.EVENTS, ("events",)),
    ]


def test_two_ways_to_write_one_place_are_one_and_two_places_are_two(tmp_path: Path) -> None:
    env = {
        "EXTAUTHZ_PROVIDERS__BILLING__URL": f"sqlite:///{tmp_path}/./extauthz.db",
        "EXTAUTHZ_PROVIDERS__CREDENTIALS__URL": "sqlite:///keys.db",
        "EXTAUTHZ_PROVIDERS__EVENTS__URL": "none:",
    }
    found = databases(load(None, env).config)
    assert [each.providers for each in found] == [("credentials",), ("lifecycle", "billing")]


def test_state_and_events_in_one_postgresql_are_two_sets_of_tables() -> None:
    url = "postgresql://somebody:s3cret@db.example/extauthz"
    env = {f"EXTAUTHZ_PROVIDERS__{name}__URL": url for name in ("CREDENTIALS", "LIFECYCLE", "BILLING", "EVENTS")}
    found = databases(load(None, env).config)
    assert [(each.use, len(each.providers)) for each in found] == [(Use.STATE, 3), (Use.EVENTS, 1)]
    assert "s3cret" not in repr(found) + str(found[0].url)


def test_without_a_database_there_is_nothing_to_do() -> None:
    env = {f"EXTAUTHZ_PROVIDERS__{name}__URL": "memory:" for name in ("CREDENTIALS", "LIFECYCLE", "BILLING", "EVENTS")}
    for verb in ("status", "upgrade", "check"):
        assert "has no database of its own" in run(verb, code=1, **env).stderr


# How they stand


def test_from_nothing_to_current_and_looking_makes_nothing(tmp_path: Path) -> None:
    assert states("status") == ["absent", "absent"]
    assert run("check").stdout == "everything is in order\n"
    assert list(tmp_path.iterdir()) == []
    assert states("upgrade") == states("upgrade") == states("status") == ["current", "current"]
    shown = run("status").stdout
    assert "sqlite:///extauthz.db" in shown
    assert "credentials, lifecycle, billing" in shown
    assert run("check").stdout == "everything is in order\n"


def test_an_empty_file_is_set_up_by_the_service_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "extauthz.db").touch()
    assert states("status") == ["empty", "absent"]
    run("check")


def test_an_older_schema_names_the_upgrade_which_mends_it() -> None:
    run("upgrade")
    change(
        "extauthz.db",
        "UPDATE alembic_version SET version_num = '0001'",
        *(f"DROP TABLE {name}" for name in ("changes", "replicas", "planned_terminations")),
    )
    assert states("status", code=1) == ["older", "current"]
    assert "run `extauthz db upgrade`" in run("check", code=1).stdout
    assert states("upgrade") == ["current", "current"]


def test_a_newer_schema_is_never_taken_back() -> None:
    run("upgrade")
    change("extauthz.db", "UPDATE alembic_version SET version_num = '9999'")
    assert states("status", code=1) == ["newer", "current"]
    assert "it was upgraded by a newer version" in run("upgrade", code=1).stderr
    assert "it was upgraded by a newer version" in run("check", code=1).stdout


def test_one_that_cannot_be_used_does_not_hide_the_others() -> None:
    change("extauthz.db", OTHER_PROGRAM)
    result = run("upgrade", code=1)
    assert "error: extauthz.db: this is a database of another program" in result.stderr
    assert states("status", code=1) == ["error", "current"]
    assert "another program" in run("check", code=1).stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("path", "said"),
    [("no/such/folder/state.db", "cannot be made (No such file or directory)"), (".", "is a directory")],
)
def test_a_path_that_cannot_be(path: str, said: str) -> None:
    url = f"sqlite:///{path}"
    env = {f"EXTAUTHZ_PROVIDERS__{name}__URL": url for name in ("CREDENTIALS", "LIFECYCLE", "BILLING")}
    assert said in run("upgrade", code=1, **env).stderr


def test_events_where_tenants_should_be() -> None:
    run("upgrade")
    env = {"EXTAUTHZ_PROVIDERS__EVENTS__URL": "none:"} | {
        f"EXTAUTHZ_PROVIDERS__{name}__URL": "sqlite:///extauthz-events.db"
        for name in ("CREDENTIALS", "LIFECYCLE", "BILLING")
    }
    assert "this is the database of events" in run("status", code=1, **env).stderr


# What is in them


def test_plans_that_the_configuration_does_not_have_are_named_with_a_tenant() -> None:
    sqlite.upgrade("extauthz.db")
    tenants = [("a", "free"), ("b", "gold"), ("c", "gold"), ("d", "old"), ("e", None)]
    with closing(sqlite3.connect("extauthz.db")) as connection, connection:
        for tenant_id, plan in tenants:
            connection.execute("INSERT INTO tenants VALUES (?, 'n', 'ACTIVE', 'COMPLETE', 1.0)", (tenant_id,))
            connection.execute("INSERT INTO billing VALUES (?, 'ACTIVE', ?)", (tenant_id, plan))
    faults = json.loads(run("check", "--output", "json", code=1).stdout)["faults"]
    where, why = "sqlite:///extauthz.db: ", "which the configuration does not have: their limits do not hold"
    assert faults == [
        f"{where}2 tenants are ('b' is one) on plan 'gold', {why}",
        f"{where}tenant 'd' is on plan 'old', {why}",
    ]


def test_a_row_that_cannot_be_read_is_named() -> None:
    sqlite.upgrade("extauthz.db")
    change("extauthz.db", "INSERT INTO tenants VALUES ('a', 'n', 'banana', 'COMPLETE', 1.0)")
    assert "tenant 'a'" in run("check", code=1).stdout


def test_a_table_that_is_missing_is_told() -> None:
    sqlite.upgrade("extauthz.db")
    change("extauthz.db", "DROP TABLE billing")
    assert "SQLite refused" in run("check", code=1).stdout
    with pytest.raises(ProviderError, match="SQLite refused"):
        plans_in_use(Path("extauthz.db"))


def test_a_file_that_is_no_database_at_all(tmp_path: Path) -> None:
    (tmp_path / "extauthz.db").write_bytes(b"not a database " * 100)
    assert "not an SQLite database" in run("check", code=1).stdout
    assert "not an SQLite database" in run("status", code=1).stderr


def test_a_configuration_that_is_not_valid_is_2(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("plans: {}")
    assert "plans" in run("status", "--config", str(file), code=2).stderr
