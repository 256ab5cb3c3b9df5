"""Commands that talk to the admin port: what they send, what they show, what they say when it goes wrong."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from extauthz.cli.admin import AdminPort
from extauthz.cli.app import Stop, cli
from tests.fake_admin import FakeAdmin, fake_admin

TENANT = {
    "id": "acme",
    "name": "Acme",
    "onboarding": "COMPLETE",
    "lifecycle": {"state": "ACTIVE", "source": "cache", "age_ms": 1200},
    "billing": {"state": "TRIAL", "plan": "free", "source": "default", "age_ms": None},
    "limits": {"rate": 60, "burst": None, "max_requests_per_day": 1000, "max_cost_per_day": "5"},
    "usage": {"requests_today": 12, "cost_today": "1.25"},
}
KEY = "exak_" + "a" * 24 + "_" + "b" * 52


@pytest.fixture(name="admin")
def an_admin_port() -> Iterator[FakeAdmin]:
    with fake_admin() as admin:
        yield admin


def run(admin: FakeAdmin, *args: str, token: str = "t0ken", stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, [*args, "--admin", admin.url], env={"EXTAUTHZ_ADMIN_TOKEN": token}, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    ("args", "method", "path", "body"),
    [
        (["tenant", "get", "acme"], "GET", "/tenants/acme", None),
        (["tenant", "get", "acme", "--fresh"], "GET", "/tenants/acme?fresh=1", None),
        (["tenant", "list"], "GET", "/tenants?limit=100", None),
        (["tenant", "list", "--after", "a.b", "--limit", "5"], "GET", "/tenants?limit=5&after=a.b", None),
        (["tenant", "create", "acme", "--reason", "new"], "POST", "/tenants", {"id": "acme", "reason": "new"}),
        (
            [
                "tenant",
                "create",
                "acme",
                "--name",
                "N",
                "--plan",
                "pro",
                "--onboarding",
                "complete",
                "--billing",
                "active",
                "--reason",
                "new",
            ],
            "POST",
            "/tenants",
            {
                "id": "acme",
                "name": "N",
                "plan": "pro",
                "onboarding": "COMPLETE",
                "billing_state": "ACTIVE",
                "reason": "new",
            },
        ),
        (
            ["tenant", "suspend", "acme", "--reason", 'a "q"\n'],
            "POST",
            "/tenants/acme/lifecycle",
            {"to": "SUSPENDED", "reason": 'a "q"\n'},
        ),
        (
            ["tenant", "resume", "acme", "--reason", "r"],
            "POST",
            "/tenants/acme/lifecycle",
            {"to": "ACTIVE", "reason": "r"},
        ),
        (
            ["tenant", "terminate", "acme", "--reason", "r"],
            "POST",
            "/tenants/acme/lifecycle",
            {"to": "TERMINATED", "reason": "r"},
        ),
        (
            ["tenant", "archive", "acme", "--reason", "r"],
            "POST",
            "/tenants/acme/lifecycle",
            {"to": "ARCHIVED", "reason": "r"},
        ),
        (
            ["tenant", "billing", "acme", "--state", "past_due", "--reason", "r"],
            "PUT",
            "/tenants/acme/billing",
            {"state": "PAST_DUE", "reason": "r"},
        ),
        (
            ["tenant", "billing", "acme", "--plan", "pro", "--reason", "r"],
            "PUT",
            "/tenants/acme/billing",
            {"plan": "pro", "reason": "r"},
        ),
        (
            ["tenant", "onboarding", "acme", "--reason", "r"],
            "PUT",
            "/tenants/acme/onboarding",
            {"state": "COMPLETE", "reason": "r"},
        ),
        (["tenant", "history", "acme"], "GET", "/tenants/acme/history", None),
        (["key", "list", "acme"], "GET", "/tenants/acme/keys", None),
        (["key", "create", "acme", "--reason", "r"], "POST", "/tenants/acme/keys", {"reason": "r"}),
        (
            ["key", "create", "acme", "--scope", "a", "--scope", "b", "--expires-in", "90d", "--reason", "r"],
            "POST",
            "/tenants/acme/keys",
            {"reason": "r", "scopes": ["a", "b"], "expires_in": "90d"},
        ),
        (["key", "create", "--operator", "--reason", "r"], "POST", "/operators/keys", {"reason": "r"}),
        (["tenant", "history", "_system"], "GET", "/tenants/_system/history", None),
        (
            ["usage", "report", "acme", "--cost", "1.25", "--idempotency-key", "run 17"],
            "POST",
            "/usage",
            {"tenant": "acme", "cost": "1.25", "idempotency_key": "run 17"},
        ),
        (
            ["ratelimits", "clear", "--tenant", "acme", "--reason", "r"],
            "DELETE",
            "/ratelimits?tenant=acme",
            {"reason": "r"},
        ),
        (["ratelimits", "clear", "--yes", "--reason", "r"], "DELETE", "/ratelimits", {"reason": "r"}),
        (["key", "revoke", "acme", "abc234", "--reason", "r"], "DELETE", "/tenants/acme/keys/abc234", {"reason": "r"}),
    ],
)
def test_a_command_is_one_call(admin: FakeAdmin, args: list[str], method: str, path: str, body: object) -> None:
    assert run(admin, *args).exit_code == 0
    assert admin.asked == [(method, path, body, "Bearer t0ken")]


def test_check_allows_with_0_and_denies_with_1(admin: FakeAdmin) -> None:
    admin.answers(
        {"decision": "allow", "status": 200, "gate": "none", "reason": "none", "steps": [], "degraded": ["billing"]}
    )
    allowed = run(admin, "check", "--tenant", "acme", "--path", "/x?y", "--method", "post")
    assert (allowed.exit_code, admin.asked[0][1:3]) == (
        0,
        ("/check", {"tenant": "acme", "method": "POST", "path": "/x?y"}),
    )
    assert re.search(r"degraded\s+billing", allowed.output)
    step = {"gate": "lifecycle", "verdict": "deny", "mode": "enforce", "source": "stale", "age_ms": 7}
    admin.answers({"decision": "deny", "status": 403, "gate": "lifecycle", "reason": "suspended", "steps": [step]})
    denied = run(admin, "check", "--tenant", "acme", "--path", "/x")
    assert denied.exit_code == 1
    assert re.search(r"reason\s+suspended", denied.output)
    assert re.search(r"lifecycle\s+deny\s+enforce\s+stale\s+7\s+-", denied.output)


def test_a_tenant_is_shown_as_a_readable_table(admin: FakeAdmin) -> None:
    admin.answers(TENANT)
    lines = [" ".join(line.split()) for line in run(admin, "tenant", "get", "acme").output.splitlines()]
    assert lines == [
        "tenant acme",
        "name Acme",
        "onboarding COMPLETE",
        "lifecycle ACTIVE (cache, 1.2 s old)",
        "billing TRIAL (default)",
        "plan free",
        "rate 60 a minute",
        "burst unlimited",
        "requests today 12 of 1000",
        "cost today 1.25 of 5",
    ]


def test_json_is_the_answer_itself(admin: FakeAdmin) -> None:
    admin.answers(TENANT)
    assert json.loads(run(admin, "tenant", "get", "acme", "--output", "json").output) == TENANT


def test_no_colours_on_a_pipe(admin: FakeAdmin) -> None:
    admin.answers({"tenants": [{"id": "acme"}], "next": "acme"})
    result = run(admin, "tenant", "list")
    assert "\x1b" not in result.stdout
    assert "acme" in result.stdout
    assert "more: extauthz tenant list --after acme" in result.stderr


def test_an_issued_key_stands_alone_on_standard_output(admin: FakeAdmin) -> None:
    admin.answers({"key_id": "abc", "key": KEY}, 201)
    result = run(admin, "key", "create", "acme", "--reason", "ci")
    assert result.stdout == f"{KEY}\n"
    assert "shown this once" in result.stderr


def test_lists_of_keys_and_changes(admin: FakeAdmin) -> None:
    admin.answers({"keys": [{"key_id": "abc", "scopes": ["a", "b"], "revoked_at": None}]})
    assert re.search(r"abc\s+a, b\s+-", run(admin, "key", "list", "acme").output)
    change = {
        "at": "2026-01-01T00:00:00Z",
        "what": "w",
        "from": "A",
        "to": "B",
        "actor": {"id": "admin"},
        "reason": "[red]x",
    }
    admin.answers({"history": [change]})
    assert re.search(r"2026\S+\s+w\s+A\s+B\s+admin\s+\[red\]x", run(admin, "tenant", "history", "acme").output)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"from": "ACTIVE", "to": "SUSPENDED", "revoked_keys": 0}, "acme: ACTIVE -> SUSPENDED\n"),
        ({"from": "ACTIVE", "to": "TERMINATED", "revoked_keys": 2}, "acme: ACTIVE -> TERMINATED, 2 keys revoked\n"),
        ({"from": "SUSPENDED", "to": "SUSPENDED"}, "acme: was SUSPENDED already\n"),
        (
            {"from": "ACTIVE", "to": "TERMINATED", "revoked_keys": 1, "pending_replicas": ["b"]},
            "acme: ACTIVE -> TERMINATED, 1 key revoked, not yet confirmed by b\n",
        ),
    ],
)
def test_a_move_is_told_in_one_line(admin: FakeAdmin, answer: dict[str, object], said: str) -> None:
    admin.answers(answer)
    assert run(admin, "tenant", "suspend", "acme", "--reason", "r").output == said


def test_an_answer_that_lacks_what_is_shown_shows_dashes(admin: FakeAdmin) -> None:
    admin.answers({"lifecycle": [], "usage": 5})
    assert run(admin, "tenant", "get", "acme").exit_code == 0
    admin.answers({"tenants": 5})
    assert run(admin, "tenant", "list").exit_code == 0


def test_what_an_answer_holds_cannot_steer_the_terminal(admin: FakeAdmin) -> None:
    admin.answers(TENANT | {"name": "a\x1b[31mb\nc", "onboarding": True})
    output = run(admin, "tenant", "get", "acme").output
    assert "\x1b" not in output
    assert "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c" in output
    admin.answers({"error": "x", "detail": "a\x1b[31mb"}, 409)
    assert "\x1b" not in run(admin, "tenant", "get", "acme").stderr


# When it goes wrong


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (401, {"error": "unauthorized"}, "the admin token is not the right one: set EXTAUTHZ_ADMIN_TOKEN"),
        (403, {"error": "admin_disabled", "detail": "d"}, "the service has no admin token: start it with"),
        (
            403,
            {"error": "foreign_host", "detail": "d"},
            "foreign_host: d (the name in --admin URL must be listed there)",
        ),
        (404, {"error": "not_found", "detail": "there is no tenant 'acme'"}, "not_found: there is no tenant 'acme'"),
        (409, {"error": "invalid_transition", "detail": "no way"}, "invalid_transition: no way"),
        (500, {"error": "internal"}, "internal"),
        (500, {}, "500"),
        (302, {}, "302"),
    ],
)
def test_a_refusal_is_one_line_with_the_remedy(admin: FakeAdmin, status: int, content: object, said: str) -> None:
    admin.answers(content, status)
    admin.location = "http://elsewhere.invalid/"
    result = run(admin, "tenant", "suspend", "acme", "--reason", "r")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {said}")
    assert result.stderr.count("\n") == 1
    assert "t0ken" not in result.output


def test_no_token_is_told_apart_from_a_wrong_one(admin: FakeAdmin) -> None:
    admin.answers({"error": "unauthorized"}, 401)
    result = run(admin, "tenant", "get", "acme", token="")
    assert result.stderr.startswith("error: the admin token is missing")
    assert admin.asked[0][3] == ""


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"[" * 100_000, b"\xff", b"5"])
def test_an_answer_that_is_no_json_object(admin: FakeAdmin, body: bytes) -> None:
    admin.body = body
    result = run(admin, "tenant", "get", "acme")
    assert result.exit_code == 1
    assert "no JSON object; is this the admin port of extauthz?" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "nothing listens there; start `extauthz serve`"),
        ("http://no-such-host.invalid:9190", "there is no such host"),
    ],
)
def test_nobody_there(url: str, said: str) -> None:
    result = CliRunner().invoke(cli, ["tenant", "get", "acme", "--admin", url])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: cannot reach the admin port at {url}: {said}")
    assert result.stderr.count("\n") == 1


def test_https_where_http_is_spoken(admin: FakeAdmin) -> None:
    admin.url = admin.url.replace("http:", "https:")
    assert "is it http:// rather than https://?" in run(admin, "tenant", "get", "acme").stderr


@pytest.mark.parametrize(
    "args",
    [
        ["tenant", "get", "../x"],
        ["tenant", "get", "a/b"],
        ["tenant", "get", "_system"],
        ["tenant", "get", "x" * 129],
        ["tenant", "get"],
        ["tenant", "suspend", "acme"],
        ["tenant", "create", "acme"],
        ["tenant", "create", "acme", "--billing", "banana", "--reason", "r"],
        ["tenant", "billing", "acme", "--reason", "r"],
        ["tenant", "list", "--limit", "0"],
        ["key", "create", "--reason", "r"],
        ["key", "create", "acme", "--operator", "--reason", "r"],
        ["key", "create", "--operator", "--scope", "x", "--reason", "r"],
        ["key", "revoke", "acme", KEY, "--reason", "r"],
        ["key", "revoke", "acme", "../../x", "--reason", "r"],
        ["usage", "report", "acme", "--cost", "1"],
        ["usage", "report", "_system", "--cost", "1", "--idempotency-key", "k"],
        ["ratelimits", "clear"],
        ["ratelimits", "clear", "--tenant", "a/b", "--reason", "r"],
        ["check", "--tenant", "acme"],
        ["tenant", "banana"],
    ],
)
def test_wrong_usage_is_2_and_asks_nobody(admin: FakeAdmin, args: list[str]) -> None:
    result = run(admin, *args)
    assert result.exit_code == 2
    assert admin.asked == []


@pytest.mark.parametrize("url", ["127.0.0.1:9190", "ftp://x", "http://", "http://x:99999", "http://x:0", "http://["])
def test_an_admin_url_that_is_none(url: str) -> None:
    result = CliRunner().invoke(cli, ["tenant", "get", "acme", "--admin", url])
    assert result.exit_code == 2
    assert "must be a URL such as http://127.0.0.1:9190" in result.stderr


def test_a_token_that_no_header_can_carry(admin: FakeAdmin) -> None:
    result = run(admin, "tenant", "get", "acme", token="a\nb")
    assert result.exit_code == 2
    assert admin.asked == []


def test_an_answer_that_does_not_come(admin: FakeAdmin) -> None:
    admin.hangs = True
    with pytest.raises(Stop, match=r"gave no answer within 0\.05 s"):
        AdminPort(url=admin.url, token="", timeout=0.05).call("GET", "tenants")


def test_what_speaks_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(1024)
            connection.sendall(b"SSH-2.0-nobody\r\n")
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Stop, match="does not speak HTTP"):
            AdminPort(url=url, token="").call("GET", "tenants")
        thread.join(10)


@pytest.mark.parametrize(("answer", "code", "asked"), [(b"n\n", 1, 0), (b"y\n", 0, 1)])
@pytest.mark.parametrize(
    ("command", "question"),
    [
        (["tenant", "terminate", "acme"], "Terminate acme and revoke all its keys? This cannot be undone."),
        (["ratelimits", "clear"], "Clear the rate-limit state and today's counts of all tenants?"),
    ],
)
def test_what_cannot_be_undone_is_asked_of_whoever_sits_at_a_terminal(
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


@pytest.mark.parametrize("command", [["tenant", "terminate", "acme"], ["ratelimits", "clear"]], ids=" ".join)
def test_a_command_can_be_told_not_to_ask(admin: FakeAdmin, command: list[str]) -> None:
    assert run(admin, *command, "--yes", "--reason", "r").exit_code == 0
    assert len(admin.asked) == 1


def test_usage_and_cleared_limits_are_told_in_one_line(admin: FakeAdmin) -> None:
    admin.answers({"cost_today": "3.5"})
    report = ["usage", "report", "acme", "--cost", "1", "--idempotency-key", "k"]
    assert run(admin, *report).output == "acme: cost today 3.5\n"
    admin.answers({"tenant": None, "cleared": True})
    assert (
        run(admin, "ratelimits", "clear", "--yes", "--reason", "r").output
        == "all tenants: rate-limit state is cleared\n"
    )


def test_usage_that_is_not_known_is_a_dash(admin: FakeAdmin) -> None:
    admin.answers(TENANT | {"usage": {"requests_today": None, "cost_today": None}})
    assert re.search(r"requests today\s+- of 1000\s+cost today\s+- of 5", run(admin, "tenant", "get", "acme").output)
