"""Who is told at start that others can reach a provider server, and what is said where it cannot listen."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from extauthz.cli.app import cli
from extauthz.wiring import exposure

EVERYTHING = ("extauthz.provider.v1.LifecycleService", "extauthz.provider.v1.LifecycleAdminService")
LOOK_UPS = EVERYTHING[:1]


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:9292", "127.9.9.9:1", "[::1]:9292", "localhost:9292", "unix:/run/provider.sock"]
)
def test_what_is_of_this_machine_alone_is_no_reason_to_warn(listen: str) -> None:
    assert exposure.warning(listen, EVERYTHING, certificates=False) is None


@pytest.mark.parametrize("listen", ["0.0.0.0:9292", "[::]:9292", "10.0.0.5:9292", "192.0.2.1:9292", "db.internal:9292"])
def test_a_server_that_others_can_reach_says_what_they_can_do(listen: str) -> None:
    open_to_all = exposure.warning(listen, EVERYTHING, certificates=False)
    assert open_to_all is not None
    assert f"whoever can reach {listen} can create and change tenants and issue keys" in open_to_all
    assert "--tls-client-ca" in open_to_all
    assert "--read-only" in open_to_all
    look_ups = exposure.warning(listen, LOOK_UPS, certificates=False)
    assert look_ups is not None
    assert "ask" in look_ups
    assert "issue keys" not in look_ups
    assert exposure.warning(listen, EVERYTHING, certificates=True) is None


def served(listen: str) -> str:
    result = CliRunner().invoke(cli, ["provider", "serve", "--listen", listen])
    assert result.exit_code == 2
    return result.stderr


def test_a_port_in_use_is_told_in_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Not in gRPC's words, which go past Python to the standard error of the process."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as other:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other.bind(f"{tmp_path}/p.sock")
        other.listen()
        for listen in (address, f"unix:{tmp_path}/p.sock"):
            said = f"error: --listen: {listen} is in use by another process; stop that one or choose another\n"
            assert served(listen).endswith(said)
    assert capfd.readouterr().err == ""


def test_what_is_no_address_is_told() -> None:
    assert "error: --listen: 'nowhere' must be host:port" in served("nowhere")
