"""The command itself: help, exit codes, and the commands that need no running service."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from extauthz import __version__
from extauthz.cli import ports
from extauthz.cli.app import cli, told_plainly
from extauthz.config import load
from extauthz.errors import ConfigError, SchemaMismatch

ROOT = Path(__file__).parents[2]


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(cli, list(args), env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def every_command(
    group: click.Group = cli, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*above, name))


COMMANDS = dict(every_command())


def test_every_command_of_this_version_is_there() -> None:
    names = {" ".join(path) for path in COMMANDS}
    assert names >= {"serve", "demo", "check", "config show", "config schema", "config validate", "envoy bootstrap"}
    verbs = ["create", "get", "list", "suspend", "resume", "terminate", "archive", "billing", "onboarding", "history"]
    assert names >= {f"tenant {verb}" for verb in verbs}
    assert names >= {"key create", "key list", "key revoke", "tenant import", "tenant export"}
    assert names >= {"usage report", "ratelimits clear", "db upgrade", "db status", "db check"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_teaches_with_an_example(path: tuple[str, ...]) -> None:
    for flag in ("--help", "-h"):
        result = run(*path, flag)
        assert result.exit_code == 0
        assert "Example:" in result.output
        assert f"extauthz {path[0]}" in result.output.partition("Example:")[2]


@pytest.mark.parametrize(
    "path", [path for path, command in COMMANDS.items() if isinstance(command, click.Group)], ids=" ".join
)
def test_no_help_line_is_cut(path: tuple[str, ...]) -> None:
    assert "..." not in run(*path, "--help").output.partition("Commands:")[2]


@pytest.mark.parametrize("args", [[], ["banana"], ["--banana"], ["serve", "--banana"], ["tenant", "banana"]])
def test_wrong_usage_is_2(args: list[str]) -> None:
    assert run(*args).exit_code == 2


def test_help_and_version() -> None:
    overview = run("--help")
    assert overview.exit_code == 0
    assert all(f"  {path[0]}" in overview.output for path in COMMANDS)
    assert run("--version").output == f"extauthz {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from extauthz.cli.app import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "heavy = {'aiohttp', 'pydantic', 'yaml', 'rich', 'grpc', 'google.protobuf', 'envoy_data_plane', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "extauthz", "config", "validate", "nowhere.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: the configuration is not valid:\n  nowhere.yaml: there is no such file\n"


# config


def test_config_show_is_the_effective_configuration(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: {drain: 1s}")
    shown = run("config", "show", str(file), env={"EXTAUTHZ_SERVER__MARGIN": "3ms"})
    assert shown.exit_code == 0
    content = yaml.safe_load(shown.stdout)
    assert (content["server"]["drain"], content["server"]["margin"], content["server"]["budget"]) == ("1s", "3ms", "1s")
    as_json = run("config", "show", "--config", str(file), "--output", "json", env={"EXTAUTHZ_SERVER__MARGIN": "3ms"})
    assert json.loads(as_json.stdout) == content


def test_config_schema_is_json() -> None:
    assert json.loads(run("config", "schema").stdout)["title"] == "extauthz configuration"


def test_config_validate_says_what_is_right_and_what_will_surprise() -> None:
    result = run("config", "validate")
    assert (result.exit_code, result.stdout) == (0, "the configuration is valid\n")
    assert "warning: providers.credentials.url: credentials live in the same database" in result.stderr


def test_config_validate_tells_every_fault_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: {budgt: 1s}\nadmin: {listen: here}\n")
    for args in (
        ["config", "validate", str(file)],
        ["config", "show", "--config", str(file)],
        ["serve", "--config", str(file)],
    ):
        result = run(*args)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: the configuration has 2 errors:\n")
        assert f"  {file}:1: server.budgt: unknown key; did you mean budget?" in result.stderr
        assert f"  {file}:2: admin.listen: must be host:port" in result.stderr


def test_the_file_is_given_once() -> None:
    assert run("config", "validate", "a", "--config", "b").exit_code == 2


# envoy


def test_envoy_bootstrap_follows_the_configuration() -> None:
    env = {"EXTAUTHZ_SERVER__LISTEN": "0.0.0.0:7777", "EXTAUTHZ_SERVER__BUDGET": "1500ms"}
    result = run("envoy", "bootstrap", "--upstream", "127.0.0.1:3000", env=env)
    assert result.exit_code == 0
    text = json.dumps(yaml.safe_load(result.stdout))
    assert '"address": "127.0.0.1", "port_value": 7777' in text
    assert '"port_value": 3000' in text
    assert '"timeout": "1.5' in text


def test_envoy_bootstrap_wants_addresses() -> None:
    result = run("envoy", "bootstrap", "--upstream", "nowhere")
    assert result.exit_code == 2
    assert "must be host:port" in result.stderr


def test_our_own_bootstrap_passes_our_own_check(tmp_path: Path) -> None:
    file = tmp_path / "envoy.yaml"
    file.write_text(run("envoy", "bootstrap").stdout)
    assert run("config", "validate", "--envoy", str(file)).exit_code == 0


# serve


def test_serve_validate_starts_nothing() -> None:
    result = run("serve", "--validate", "--listen", "127.0.0.1:1", "--admin-listen", "127.0.0.1:2", "--reflection")
    assert (result.exit_code, result.stdout) == (0, "the configuration is valid\n")


def test_flags_of_serve_are_checked_like_the_file() -> None:
    result = run("serve", "--validate", "--listen", "here", "--admin-listen", "there")
    assert result.exit_code == 2
    assert "command line: server.listen: must be host:port" in result.stderr
    assert "command line: admin.listen: must be host:port" in result.stderr


def test_a_port_in_use_is_2_and_names_where_it_was_configured(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file = tmp_path / "c.yaml"
        file.write_text(f"admin: {{listen: '127.0.0.1:0'}}\nserver:\n  listen: {address}\n")
        result = run("serve", "--config", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        f"{file}:3: server.listen: {address} is in use by another process; stop that one or choose another"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("192.0.2.1:9191", "is no address of this machine"),
        ("no-such-host.invalid:9191", "names no host that is known here"),
        ("unix:/no/such/folder/x.sock", "/no/such/folder is no folder that this user may write to"),
    ],
)
def test_an_address_that_cannot_be_used(listen: str, said: str) -> None:
    result = run("serve", "--listen", listen, "--admin-listen", "127.0.0.1:0")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_socket_that_somebody_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "s"
    loaded = load(None, {}, {"server.listen": f"unix:{path}", "admin.listen": "127.0.0.1:0"})
    ports.require_free(loaded)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        result = run("serve", "--listen", f"unix:{path}", "--admin-listen", "127.0.0.1:0")
    assert result.exit_code == 2
    assert "is in use by another process" in result.stderr
    ports.require_free(loaded)  # the file is still there, and nobody listens


def test_a_secret_that_cannot_be_used_is_2_and_not_shown(tmp_path: Path) -> None:
    env = {
        "EXTAUTHZ_PEPPER": "hunter2",
        "EXTAUTHZ_PROVIDERS__EVENTS__URL": "memory:",
        "EXTAUTHZ_PROVIDERS__LIFECYCLE__SNAPSHOT": str(tmp_path / "blocked"),
        "EXTAUTHZ_PROVIDERS__EVENTS__DEAD_LETTER": str(tmp_path / "dead"),
    } | {f"EXTAUTHZ_PROVIDERS__{kind}__URL": "memory:" for kind in ("CREDENTIALS", "LIFECYCLE", "BILLING")}
    result = run("serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", env=env)
    assert result.exit_code == 2
    assert "EXTAUTHZ_PEPPER" in result.stderr
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("bad"), 2, "bad"),
        (SchemaMismatch("run extauthz db upgrade"), 1, "run extauthz db upgrade"),
        (RuntimeError("secret detail"), 1, "internal error (RuntimeError); `python -X dev -m extauthz …` shows where"),
        (click.UsageError("wrong"), 2, "wrong"),
    ],
)
def test_errors_become_one_line_and_an_exit_code(error: Exception, code: int, said: str) -> None:
    with pytest.raises(click.ClickException) as caught, told_plainly():
        raise error
    assert (caught.value.exit_code, caught.value.format_message()) == (code, said)


def test_a_fault_of_ours_has_its_traceback_in_developer_mode() -> None:
    script = "from extauthz.cli.app import told_plainly\nwith told_plainly():\n    raise RuntimeError('here')\n"
    done = subprocess.run([sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, check=False)
    assert "RuntimeError: here" in done.stderr


async def test_serve_runs_until_sigterm_and_ends_with_0(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")}
    args = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "extauthz",
        *args,
        cwd=tmp_path,
        env=env | {"EXTAUTHZ_SERVER__DRAIN": "0s", "LOG_FORMAT": "json"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    seen = b""
    while b"serving" not in seen:
        line = await process.stdout.readline()
        assert line, seen
        seen += line
    process.send_signal(signal.SIGTERM)
    rest, _ = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in seen + rest
