"""The admin token. The configuration itself holds no secret, it only names files that do (peppers: `extauthz.authn`)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from extauthz.config.server import AdminConfig
from extauthz.errors import ConfigError

ADMIN_TOKEN: Final = "EXTAUTHZ_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
_LARGEST_FILE: Final = 65_536


def admin_token(config: AdminConfig, env: Mapping[str, str]) -> str | None:
    """The admin port's token: `EXTAUTHZ_ADMIN_TOKEN`, else the content of `admin.token_file`; None where there is neither.

    An empty variable counts as not set; white space around the token is no part of it.

    Raises:
        ConfigError: the file cannot be read or is empty, or the token holds what no HTTP header can carry.
    """
    token = env.get(ADMIN_TOKEN, "").strip()
    where = f"environment {ADMIN_TOKEN}"
    if not token and config.token_file is not None:
        where = f"admin.token_file: {config.token_file}"
        token = _content(Path(config.token_file), where)
    if token and not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigError(f"{where}: the token must be printable ASCII without spaces")
    return token or None


def _content(file: Path, where: str) -> str:
    try:
        with file.open("rb") as stream:
            text = stream.read(_LARGEST_FILE).decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {_os_text(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: is not UTF-8 text") from None
    if not text:
        raise ConfigError(f"{where}: is empty")
    return text


def _os_text(error: OSError) -> str:
    return (error.strerror or "input/output error").lower()
