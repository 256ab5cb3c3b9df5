"""The admin token: from the environment, else from a file."""

from pathlib import Path

import pytest

from extauthz.config import AdminConfig, admin_token
from extauthz.errors import ConfigError


def test_no_token_is_none() -> None:
    assert admin_token(AdminConfig(), {}) is None
    assert admin_token(AdminConfig(), {"EXTAUTHZ_ADMIN_TOKEN": " \n"}) is None


def test_the_variable_comes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbffrom-file\r\n")
    config = AdminConfig(token_file=str(file))
    assert admin_token(config, {}) == "from-file"
    assert admin_token(config, {"EXTAUTHZ_ADMIN_TOKEN": "from-env\n"}) == "from-env"


def test_a_file_that_is_configured_must_hold_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    config = AdminConfig(token_file=str(file))
    with pytest.raises(ConfigError, match=r"admin\.token_file: .*: cannot be read: no such file or directory"):
        admin_token(config, {})
    file.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        admin_token(config, {})
    file.write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        admin_token(config, {})


@pytest.mark.parametrize("token", ["two words", "línea", "a\nb", "a\x00b"])
def test_a_token_that_no_header_can_carry(token: str) -> None:
    with pytest.raises(ConfigError, match="must be printable ASCII") as caught:
        admin_token(AdminConfig(), {"EXTAUTHZ_ADMIN_TOKEN": token})
    assert token not in str(caught.value)
