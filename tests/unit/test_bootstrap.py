"""The bootstrap that is built and the one that is checked in are the same, and a real Envoy takes both."""

import subprocess
from pathlib import Path

import pytest
import yaml

from extauthz.bootstrap import BootstrapOptions, build, to_yaml
from extauthz.bootstrap.binary import envoy_binary
from extauthz.bootstrap.build import to_dict
from extauthz.bootstrap.parts import address

BUNDLED = Path(__file__).parents[2] / "envoy" / "envoy.yaml"


def test_the_bundled_file_is_the_default_that_is_built() -> None:
    written = yaml.safe_load(BUNDLED.read_text())
    filters = written["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    ext_authz = filters["http_filters"][1]["typed_config"]
    # protobuf's JSON leaves out what is false by default; for a reader of the file it has to be said
    assert ext_authz.pop("failure_mode_allow") is False
    assert written == to_dict(build())


@pytest.mark.parametrize(
    "options",
    [
        BootstrapOptions(),
        BootstrapOptions(listen="[::1]:10000", checks=("127.0.0.1:9191", "unix:/tmp/checks.sock"), timeout=0.2),
    ],
)
def test_a_real_envoy_takes_what_is_built(options: BootstrapOptions, tmp_path: Path) -> None:
    file = tmp_path / "envoy.yaml"
    file.write_text(to_yaml(options))
    validate(file)


def test_a_real_envoy_takes_the_bundled_file() -> None:
    validate(BUNDLED)


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":80", "host:", "host:http"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither host:port nor unix"):
        address(text)


def validate(file: Path) -> None:
    done = subprocess.run(
        [str(envoy_binary()), "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("max_checks", "most"), [(1024, 1152), (256, 288), (1, 2)])
def test_envoys_limits_lie_a_little_above_the_services_own(max_checks: int, most: int) -> None:
    tree = to_dict(build(BootstrapOptions(max_checks=max_checks)))
    (limits,) = tree["static_resources"]["clusters"][0]["circuit_breakers"]["thresholds"]
    assert (limits["max_requests"], limits["max_pending_requests"]) == (most, most)
