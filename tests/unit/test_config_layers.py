"""Defaults, file, environment, flags: the later one wins, and each fault names where it was written."""

from pathlib import Path

import pytest

from extauthz.config import Address, InvalidConfig, Origin, load
from extauthz.config.content import MAX_BYTES
from extauthz.config.document import read_value
from extauthz.config.schema import every_path, type_at


def only_fault(env: dict[str, str] | None = None, flags: dict[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(InvalidConfig) as caught:
        load(file, env, flags)
    (problem,) = caught.value.problems
    return str(problem)


def test_environment_over_file_and_flags_over_both(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server:\n  listen: 127.0.0.1:1\n  drain: 1s\n  margin: 1ms\n")
    env = {"EXTAUTHZ_SERVER__LISTEN": "127.0.0.1:2", "EXTAUTHZ_SERVER__DRAIN": "2s"}
    loaded = load(file, env, {"server.listen": "127.0.0.1:3"})
    server = loaded.config.server
    assert (server.listen, server.drain, server.margin, server.budget) == (Address("127.0.0.1", 3), 2, 0.001, 1)
    assert loaded.sources["server.listen"] == Origin(name="command line")
    assert loaded.sources["server.drain"] == Origin(name="environment EXTAUTHZ_SERVER__DRAIN")
    assert str(loaded.sources["server.margin"]) == f"{file}:4"
    assert "server.budget" not in loaded.sources


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("EXTAUTHZ_PROVIDERS__LIFECYCLE__TIMEOUT", "300ms", ("providers", "lifecycle", "timeout"), 0.3),
        ("EXTAUTHZ_PROVIDERS__EVENTS__URL", "memory:", ("providers", "events", "url", "scheme"), "memory"),
        ("EXTAUTHZ_PROVIDERS__EVENTS__ALLOW_SAMPLE_RATE", "0.5", ("providers", "events", "allow_sample_rate"), 0.5),
        ("EXTAUTHZ_SERVER__REFLECTION", " true ", ("server", "reflection"), True),
        ("EXTAUTHZ_SERVER__MAX_CHECKS", "7", ("server", "max_checks"), 7),
        ("EXTAUTHZ_GATES__BILLING__MODE", "off", ("gates", "billing", "mode"), "off"),
        ("EXTAUTHZ_ADMIN__HOSTS", "[a.example, b.example]", ("admin", "hosts"), ("a.example", "b.example")),
        ("EXTAUTHZ_ADMIN__TOKEN_FILE", '"/run/7"', ("admin", "token_file"), "/run/7"),
        ("EXTAUTHZ_DEFAULT_PLAN", "free", ("default_plan",), "free"),
    ],
)
def test_a_variable_is_written_as_in_the_file(name: str, text: str, path: tuple[str, ...], value: object) -> None:
    found: object = load(None, {name: text}).config
    for step in path:
        found = getattr(found, step)
    assert found == value


def test_a_whole_section_in_one_variable() -> None:
    env = {"EXTAUTHZ_PROVIDERS__BILLING__BREAKER": "{failures: 9}"}
    assert load(None, env).config.providers.billing.breaker.failures == 9


def test_one_figure_of_a_built_in_plan() -> None:
    loaded = load(None, {"EXTAUTHZ_PLANS__FREE__LIMITS__RATE": "7"})
    limits = loaded.config.plans["free"].limits
    assert (limits.rate, limits.burst) == (7, 10)


def test_a_plan_is_found_whatever_the_case_of_its_id(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("plans: {Gold: {name: G, tier: PRO}}\ndefault_plan: Gold\n")
    loaded = load(file, {"EXTAUTHZ_PLANS__GOLD__NAME": "Golden"})
    assert loaded.config.plans["Gold"].name == "Golden"


@pytest.mark.parametrize(
    "name",
    [
        "EXTAUTHZ_SERVICE_HOST",
        "EXTAUTHZ_PORT",
        "EXTAUTHZ_PORT_9191_TCP",
        "EXTAUTHZ_ADMIN_PORT",
        "EXTAUTHZ_ADMIN_TOKEN",
        "EXTAUTHZ_PEPPER",
        "EXTAUTHZ_",
        "EXTAUTHZ",
        "OTHER__SERVER__LISTEN",
    ],
)
def test_variables_of_others_are_left_alone(name: str) -> None:
    assert load(None, {name: "tcp://10.0.0.1:9191"}) == load()


def test_a_variable_that_names_no_key() -> None:
    assert only_fault({"EXTAUTHZ_SERVER__LISTN": "hunter2"}) == (
        "environment EXTAUTHZ_SERVER__LISTN: names no key of the configuration. did you mean EXTAUTHZ_SERVER__LISTEN?"
    )
    assert only_fault({"EXTAUTHZ_X__Y": "1"}) == "environment EXTAUTHZ_X__Y: names no key of the configuration."
    assert "names no key" in only_fault({"EXTAUTHZ_SERVER__LISTEN__PORT": "1"})


def test_a_variable_with_a_bad_value() -> None:
    assert only_fault({"EXTAUTHZ_SERVER__BUDGET": "5"}).startswith(
        "environment EXTAUTHZ_SERVER__BUDGET: server.budget: must be a time with its unit"
    )
    assert "not valid YAML" in only_fault({"EXTAUTHZ_ADMIN__HOSTS": "[a"})
    assert "must be host:port" in only_fault({"EXTAUTHZ_SERVER__LISTEN": ""})


def test_a_variable_below_something_that_holds_no_keys_leaves_the_file_to_blame(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: 5\n")
    assert only_fault({"EXTAUTHZ_SERVER__BUDGET": "1s"}, file=file) == f"{file}:1: server: must hold keys"


def test_a_variable_for_a_plan_that_is_not_there_is_to_blame_itself(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("plans:\n  free: {name: Free, tier: FREE}\n")
    name = "EXTAUTHZ_PLANS__PRO__LIMITS__RATE"
    said = f"environment {name}: plans.pro: there is no such plan: take this out, or give the plan a name and a tier"
    assert only_fault({name: "77"}, file=file) == said
    assert only_fault({name: "77"}) == said
    whole = {name: "77", "EXTAUTHZ_PLANS__PRO__NAME": "Pro", "EXTAUTHZ_PLANS__PRO__TIER": "PRO"}
    assert load(file, whole).config.plans["pro"].limits.rate == 77
    file.write_text("plans:\n  pro: {name: Pro}\n  free: {name: Free, tier: FREE}\n")
    assert only_fault({name: "77"}, file=file) == f"{file}:2: plans.pro.tier: is missing"


@pytest.mark.parametrize("content", [b"\xff", b"#" * (MAX_BYTES + 1), b"plans: [", b"", b"{}"])
def test_of_a_file_that_cannot_be_read_nothing_else_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidConfig) as caught:
        load(file, {"EXTAUTHZ_PLANS__PRO__LIMITS__RATE": "77"}, may_be_empty=False)
    (only,) = caught.value.problems
    assert str(only).startswith(f"{file}")


def test_what_a_variable_holds_in_the_wrong_place_is_not_repeated() -> None:
    assert only_fault({"EXTAUTHZ_ADMIN": "hunter2"}) == "environment EXTAUTHZ_ADMIN: admin: must hold keys"
    assert only_fault({"LIFECYCLE_BYPASS": "u:hunter2@h"}) == "environment LIFECYCLE_BYPASS: must be true or false"
    assert "hunter2" not in only_fault({"EXTAUTHZ_ADMIN__HOSTS": "[*hunter2]"})


def test_a_flag_with_a_bad_value() -> None:
    assert only_fault(flags={"server.listen": "here"}).startswith("command line: server.listen: must be host:port")
    assert only_fault(flags={"server.listn": "x"}) == "command line: server.listn: unknown key"


def test_a_value_is_one_plain_word_unless_it_looks_like_yaml() -> None:
    assert read_value("a: b", "x").value == "a: b"
    assert read_value("", "x").value is None
    assert read_value("'1'", "x").value == "1"


def test_every_key_can_be_named_by_a_variable() -> None:
    paths = list(every_path())
    assert len(paths) > 70
    assert all(type_at(path) is not None for path in paths if "[]" not in path)


def test_where_a_value_was_written() -> None:
    loaded = load(None, {}, {"server.listen": "127.0.0.1:3"})
    assert loaded.where("server.listen") == "command line: server.listen"
    assert loaded.where("server.budget") == "server.budget"


def test_a_number_beyond_all_numbers_is_a_fault_of_its_variable() -> None:
    name = "EXTAUTHZ_PLANS__FREE__LIMITS__MAX_COST_PER_DAY"
    for text in ("1e99999999999999999999", "1e-99999999999999999999", "1e999999", "1e-999999", ".inf", ".nan"):
        assert only_fault({name: text}).startswith(f"environment {name}: ")
