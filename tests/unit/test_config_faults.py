"""What is told of faults: no secret, and no more than a line of a log can hold."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from extauthz.cli.app import cli
from extauthz.config import InvalidConfig, load


def faults(file: Path, text: str) -> list[str]:
    """The lines of the error that loading `text` raises."""
    file.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        load(file)
    return [line.strip() for line in str(caught.value).split("\n")[1:]]


@pytest.fixture(name="file")
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "extauthz.yaml"


# How much


def test_the_text_of_many_faults_names_the_first_and_the_listing_all(file: Path) -> None:
    file.write_text("".join(f"k{number}: 1\n" for number in range(5000)))
    with pytest.raises(InvalidConfig) as caught:
        load(file)
    lines = str(caught.value).split("\n")
    assert lines[0] == "the configuration has 5000 errors:"
    assert (len(lines), lines[-1]) == (22, "  and 4980 more")
    assert len(caught.value.summary) < 20 * (len(str(file)) + 10)
    assert caught.value.summary.endswith(", and 4980 more")
    assert len(caught.value.listing.split("\n")) == 5001


@pytest.mark.parametrize("command", [["config", "validate"], ["serve", "--validate", "--config"]])
def test_whoever_asks_whether_it_is_valid_is_told_every_fault(file: Path, command: list[str]) -> None:
    file.write_text("".join(f"k{number}: 1\n" for number in range(50)))
    result = CliRunner().invoke(cli, [*command, str(file)], env={})
    assert result.exit_code == 2
    assert [f":{number + 1}: k{number}: unknown key" in result.output for number in range(50)] == [True] * 50


def test_the_text_of_one_fault_has_an_end(file: Path) -> None:
    plans = ", ".join(f"plan-{number}: {{name: P, tier: PRO}}" for number in range(2000))
    file.write_text(f"plans: {{{plans}}}\ndefault_plan: none\n")
    with pytest.raises(InvalidConfig) as caught:
        load(file)
    only = str(caught.value).split("\n")[1]
    assert only.endswith(" …")
    assert len(only) < len(str(file)) + 1050


# No secret


def test_no_secret_is_in_an_error(file: Path) -> None:
    found = faults(
        file,
        "admin: {token: hunter2, token_file: [hunter2]}\n"
        "providers:\n"
        "  credentials: {url: 'postgresql://bob:hunter2@db:x/x', pepper: hunter2, pepper_file: 7}\n"
        "  lifecycle: {url: 'mysql://bob:hunter2@db/x'}\n"
        "  billing: {url: 'bob:hunter2@db'}\n"
        "  protection: {url: 'hunter2'}\n",
    )
    assert len(found) == 8
    assert "hunter2" not in "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "admin: hunter2\n",
        "providers: {lifecycle: 'postgresql://u:hunter2@h/db'}\n",
        "providers: {lifecycle: {breaker: hunter2}}\n",
        "providers: {'postgresql://u:hunter2@h/db': x}\n",
        "providers: {? 'u:hunter2@h' : 1, ? 'u:hunter2@h' : 2}\n",
        "server: {workers: 'u:hunter2@h'}\n",
        "admin: {hosts: 'u:hunter2@h'}\n",
        "plans: {'u:hunter2@h': {name: X, tier: PRO}}\n",
        "default_plan: 'u:hunter2@h'\n",
        "plans: {'u:hunter2@h': {name: X, tier: PRO}}\ndefault_plan: free\n",
        "admin: {token_file: *hunter2}\n",
        "admin: {token_file: !hunter2 x}\n",
        "admin: {token_file: !!hunter2 x}\n",
        "admin: {token_file: !hunter2! x}\n",
        "admin: {token_file: !hunter2!x x}\n",
        "admin: {token_file: &hunter2 x, hosts: [&hunter2 y]}\n",
        "default_plan: 'hunter2/'\n",
    ],
)
def test_what_stands_in_the_wrong_place_is_not_repeated(file: Path, text: str) -> None:
    found = faults(file, text)
    assert all(line.startswith(f"{file}:") for line in found)
    assert "hunter2" not in "\n".join(found)


def test_yaml_is_explained_all_the_same(file: Path) -> None:
    assert "found undefined alias" in faults(file, "server: *nobody\n")[0]
    assert "found character '@' that cannot start any token" in faults(file, "server: @x\n")[0]
