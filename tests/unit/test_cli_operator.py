"""What an operator does in an outage, from a terminal: circuits, caches, bypasses (spec sections 7 and 8)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from extauthz.cli.app import cli
from tests.fake_admin import FakeAdmin, fake_admin

BREAKERS = {
    "breakers": [
        {"provider": "lifecycle", "state": "open", "failures": 3, "opened_for_ms": 12340, "retry_in_ms": 17660},
        {"provider": "billing", "state": "closed", "failures": 0, "opened_for_ms": None, "retry_in_ms": None},
    ]
}
BYPASS = {
    "bypass": [
        {
            "gate": "billing",
            "active": True,
            "until": "2026-01-01T00:15:00Z",
            "reason": "billing is down",
            "source": "operator",
            "since": "2026-01-01T00:00:00Z",
        },
        {"gate": "lifecycle", "active": False, "until": None, "reason": None, "source": None, "since": None},
    ]
}
CACHES = {
    "caches": [
        {
            "provider": "billing",
            "operation": "find_billing",
            "entries": 12,
            "max_entries": 100,
            "hits": 90,
            "misses": 9,
            "stale": 1,
            "hit_rate": 0.9,
        },
        {"provider": "credentials", "operation": "refused", "entries": 0, "max_entries": 100, "hits": 0},
    ]
}
EVERYBODY = [["ratelimits", "clear"], ["cache", "clear", "billing"]]
RISKY = [["breaker", "open", "credentials"], ["bypass", "set", "lifecycle", "--ttl", "15m"]]


@pytest.fixture(name="admin")
def an_admin_port() -> Iterator[FakeAdmin]:
    with fake_admin() as admin:
        yield admin


def run(admin: FakeAdmin, *args: str) -> Result:
    result = CliRunner().invoke(cli, [*args, "--admin", admin.url], env={"EXTAUTHZ_ADMIN_TOKEN": "t0ken"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def shown(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("args", "method", "path", "body"),
    [
        (["breaker", "list"], "GET", "/breakers", None),
        (["breaker", "close", "lifecycle", "--reason", "r"], "POST", "/breakers/lifecycle/close", {"reason": "r"}),
        (["breaker", "open", "BILLING", "--reason", "r"], "POST", "/breakers/billing/open", {"reason": "r"}),
        (
            ["breaker", "open", "credentials", "--yes", "--reason", "r"],
            "POST",
            "/breakers/credentials/open",
            {"reason": "r"},
        ),
        (["breaker", "close", "credentials", "--reason", "r"], "POST", "/breakers/credentials/close", {"reason": "r"}),
        (["cache", "list"], "GET", "/caches", None),
        (["cache", "clear", "lifecycle", "--yes", "--reason", "r"], "DELETE", "/caches/lifecycle", {"reason": "r"}),
        (
            ["cache", "clear", "credentials", "--tenant", "acme", "--reason", "r"],
            "DELETE",
            "/caches/credentials?tenant=acme",
            {"reason": "r"},
        ),
        (["bypass", "list"], "GET", "/bypass", None),
        (
            ["bypass", "set", "billing", "--ttl", "15m", "--reason", "r"],
            "PUT",
            "/bypass/billing",
            {"ttl": "15m", "reason": "r"},
        ),
        (
            ["bypass", "set", "lifecycle", "--ttl", "15m", "--yes", "--reason", "r"],
            "PUT",
            "/bypass/lifecycle",
            {"ttl": "15m", "reason": "r"},
        ),
        (
            ["bypass", "set", "protection", "--ttl", "1d", "--reason", "r"],
            "PUT",
            "/bypass/protection",
            {"ttl": "1d", "reason": "r"},
        ),
        (["bypass", "lift", "billing", "--reason", "r"], "DELETE", "/bypass/billing", {"reason": "r"}),
    ],
)
def test_a_command_is_one_call(admin: FakeAdmin, args: list[str], method: str, path: str, body: object) -> None:
    assert run(admin, *args).exit_code == 0
    assert admin.asked == [(method, path, body, "Bearer t0ken")]


@pytest.mark.parametrize(
    "args",
    [
        ["breaker", "close", "lifecycle"],
        ["breaker", "close", "--reason", "r"],
        ["breaker", "close", "lifecycle", "--reason", " "],
        ["breaker", "half-open", "lifecycle", "--reason", "r"],
        ["cache", "clear", "lifecycle", "--yes"],
        ["cache", "clear", "lifecycle", "--tenant", "a/b", "--reason", "r"],
        ["bypass", "set", "billing", "--reason", "r"],
        ["bypass", "set", "billing", "--ttl", "15m"],
        ["bypass", "lift", "billing"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_asks_nobody(admin: FakeAdmin, args: list[str]) -> None:
    assert run(admin, *args).exit_code == 2
    assert admin.asked == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["breaker", "open", "lifecylce"], "'credentials', 'lifecycle', 'billing', 'protection'"),
        (["cache", "clear", "../x"], "'credentials', 'lifecycle', 'billing', 'protection'"),
        (["bypass", "lift", "banana"], "'lifecycle', 'billing', 'protection'"),
        (["bypass", "lift", "auth"], "auth has no bypass: without it nobody would know who is calling"),
        (["bypass", "set", "Auth", "--ttl", "15m"], "auth has no bypass"),
        (["bypass", "set", "billing", "--ttl", "25h"], "'25h' must be above 0 and at most 24h"),
        (["bypass", "set", "billing", "--ttl", "0s"], "'0s' must be above 0 and at most 24h"),
        (["bypass", "set", "billing", "--ttl", "15"], "'15' must be a time with its unit, such as 250ms, 30s, 5m"),
    ],
)
def test_an_argument_that_is_none_is_told_with_what_there_is(admin: FakeAdmin, args: list[str], said: str) -> None:
    result = run(admin, *args, "--reason", "r")
    assert (result.exit_code, admin.asked) == (2, [])
    assert said in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["breaker", "lifecycle", "close"], "did you mean extauthz breaker close lifecycle?"),
        (["breaker", "clsoe", "lifecycle"], "did you mean close? there are: list, close, open"),
        (["bypass", "billing"], "No such command 'billing'; there are: list, set, lift"),
        (["bypass", "remove", "billing"], "No such command 'remove'; there are: list, set, lift"),
        (["braeker", "list"], "No such command 'braeker'; did you mean breaker? there are: serve, "),
    ],
)
def test_a_command_that_is_none_is_told_with_what_was_meant_or_what_there_is(args: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, args, prog_name="extauthz")
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_address_of_the_port_may_stand_in_the_environment(admin: FakeAdmin) -> None:
    env = {"EXTAUTHZ_ADMIN_TOKEN": "t0ken", "EXTAUTHZ_ADMIN_URL": f"{admin.url}/"}
    assert CliRunner().invoke(cli, ["breaker", "list"], env=env).exit_code == 0
    assert [path for _, path, _, _ in admin.asked] == ["/breakers"]


# What is shown


def test_breakers_are_a_table(admin: FakeAdmin) -> None:
    admin.answers(BREAKERS)
    assert shown(run(admin, "breaker", "list")) == [
        "provider state failures open for tried again in",
        "lifecycle open 3 12.3 s 17.7 s",
        "billing closed 0 - -",
    ]


def test_bypasses_are_a_table(admin: FakeAdmin) -> None:
    admin.answers(BYPASS)
    assert shown(run(admin, "bypass", "list")) == [
        "gate active until since source reason",
        "billing yes 2026-01-01T00:15:00Z 2026-01-01T00:00:00Z operator billing is down",
        "lifecycle no - - - -",
    ]


def test_caches_are_a_table(admin: FakeAdmin) -> None:
    admin.answers(CACHES)
    assert shown(run(admin, "cache", "list")) == [
        "provider operation entries max_entries hits misses stale hit rate",
        "billing find_billing 12 100 90 9 1 90.0%",
        "credentials refused 0 100 0 - - -",
    ]


@pytest.mark.parametrize("args", [["breaker", "list"], ["cache", "list"], ["bypass", "list"]], ids=" ".join)
def test_json_is_the_answer_itself(admin: FakeAdmin, args: list[str]) -> None:
    admin.answers(BREAKERS | BYPASS)
    assert json.loads(run(admin, *args, "--output", "json").stdout) == BREAKERS | BYPASS


@pytest.mark.parametrize("args", [["breaker", "list"], ["cache", "list"], ["bypass", "list"]], ids=" ".join)
def test_an_answer_that_lacks_what_is_shown_is_a_head_alone(admin: FakeAdmin, args: list[str]) -> None:
    admin.answers({})
    assert len(shown(run(admin, *args))) == 1


@pytest.mark.parametrize(
    ("args", "answer", "said"),
    [
        (
            ["breaker", "close", "lifecycle"],
            {"provider": "lifecycle", "state": "closed"},
            "lifecycle: the circuit is closed",
        ),
        (["breaker", "open", "billing"], {"provider": "billing", "state": "open"}, "billing: the circuit is open"),
        (
            ["cache", "clear", "billing", "--yes"],
            {"cleared": 12, "kept": 2},
            "billing: 12 answers cleared for all tenants; 2 that deny stay as last known",
        ),
        (
            ["cache", "clear", "billing", "--tenant", "acme"],
            {"cleared": 1, "kept": 0},
            "billing: 1 answer cleared for acme",
        ),
        (
            ["bypass", "set", "billing", "--ttl", "15m"],
            {"gate": "billing", "active": True, "until": "2026-01-01T00:15:00Z"},
            "billing: bypassed until 2026-01-01T00:15:00Z",
        ),
        (
            ["bypass", "lift", "billing"],
            {"gate": "billing", "active": False, "until": None},
            "billing: not bypassed",
        ),
    ],
)
def test_a_change_is_told_in_one_line(admin: FakeAdmin, args: list[str], answer: object, said: str) -> None:
    admin.answers(answer)
    assert shown(run(admin, *args, "--reason", "r")) == [said]


@pytest.mark.parametrize(
    ("status", "code", "detail"),
    [(404, "not_found", "there is no breaker"), (409, "conflict", "set in the environment"), (503, "x", "y")],
)
def test_a_refusal_is_1_and_in_the_words_of_the_service(admin: FakeAdmin, status: int, code: str, detail: str) -> None:
    admin.answers({"error": code, "detail": detail}, status)
    result = run(admin, "bypass", "lift", "billing", "--reason", "r")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"error: {code}: {detail}\n")


# What is done to everybody


@pytest.mark.parametrize("command", EVERYBODY, ids=" ".join)
def test_where_nobody_can_be_asked_everybody_needs_yes(admin: FakeAdmin, command: list[str]) -> None:
    result = run(admin, *command, "--reason", "r")
    assert (result.exit_code, admin.asked) == (2, [])
    assert "of all tenants? Nobody is here to be asked: add --yes" in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", EVERYBODY, ids=" ".join)
def test_one_tenant_needs_no_yes(admin: FakeAdmin, command: list[str]) -> None:
    assert run(admin, *command, "--tenant", "acme", "--reason", "r").exit_code == 0
    assert len(admin.asked) == 1


@pytest.mark.parametrize("command", RISKY, ids=" ".join)
def test_where_nobody_can_be_asked_what_denies_or_lets_in_many_needs_yes(admin: FakeAdmin, command: list[str]) -> None:
    result = run(admin, *command, "--reason", "r")
    assert (result.exit_code, admin.asked) == (2, [])
    assert "Nobody is here to be asked: add --yes." in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("command", "question"),
    [
        (RISKY[0], "Every key that is not cached is denied (503) then. Go on?"),
        (RISKY[1], "Suspended and terminated tenants get in then, and billing denies nobody. Go on?"),
        (["cache", "clear", "billing"], "Clear the billing cache of all tenants?"),
    ],
)
@pytest.mark.parametrize(("answer", "code", "asked"), [(b"n\n", 1, 0), (b"y\n", 0, 1)])
def test_whoever_sits_at_a_terminal_is_asked(
    admin: FakeAdmin, command: list[str], question: str, answer: bytes, code: int, asked: int
) -> None:
    ours, theirs = os.openpty()
    os.write(ours, answer)
    args = [sys.executable, "-m", "extauthz", *command, "--reason", "r", "--admin", admin.url]
    done = subprocess.run(args, stdin=theirs, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, len(admin.asked)) == (code, asked), done.stderr
    assert question in done.stdout


# Help


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        ([], {"breaker", "cache", "bypass", "ratelimits"}),
        (["breaker"], {"list", "close", "open"}),
        (["cache"], {"list", "clear"}),
        (["bypass"], {"list", "set", "lift"}),
        (["breaker", "close"], {"credentials", "lifecycle", "billing", "protection"}),
        (["cache", "clear"], {"credentials", "lifecycle", "billing", "protection"}),
        (["bypass", "set"], {"lifecycle", "billing", "protection"}),
    ],
)
def test_a_shell_can_complete_it(before: list[str], offered: set[str]) -> None:
    complete = ShellComplete(cli, {}, "extauthz", "_EXTAUTHZ_COMPLETE")
    assert {item.value for item in complete.get_completions(before, "")} >= offered
