"""The secrets of the service: the admin token and the peppers. The configuration itself only names files that hold them."""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from extauthz.config.providers import CredentialsConfig
from extauthz.config.server import AdminConfig
from extauthz.errors import ConfigError

ADMIN_TOKEN: Final = "EXTAUTHZ_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
PEPPER: Final = "EXTAUTHZ_PEPPER"
SHORTEST_PEPPER: Final = 32
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


def peppers(config: CredentialsConfig, env: Mapping[str, str]) -> tuple[bytes, ...]:
    """The peppers, newest first: `EXTAUTHZ_PEPPER`, else `pepper_file`, else one made for the store.

    With `sqlite:` it is made once and kept, mode 0600, beside the database (`extauthz.db.pepper`); with `memory:` it lives as
    long as the process.

    Raises:
        ConfigError: a file cannot be read or written, a value is shorter than 32 characters, or the store is one that other
            processes share, for which a pepper must be given.
    """
    text = env.get(PEPPER, "").strip()
    if text:
        return _split(text, f"environment {PEPPER}")
    if config.pepper_file is not None:
        where = f"providers.credentials.pepper_file: {config.pepper_file}"
        return _split(_content(Path(config.pepper_file), where), where)
    if config.url.scheme == "memory":
        return (_new().encode(),)
    if config.url.scheme == "sqlite":
        file = Path(f"{config.url.path}.pepper")
        return _split(_kept(file), str(file))
    raise ConfigError(f"providers.credentials.url: {config.url.scheme}: needs a pepper; set {PEPPER} or pepper_file")


def _split(text: str, where: str) -> tuple[bytes, ...]:
    values = [value.strip() for value in text.split(",")]
    short = [index for index, value in enumerate(values, 1) if len(value) < SHORTEST_PEPPER]
    if short:
        which = f"value {short[0]} of {len(values)}" if len(values) > 1 else "the pepper"
        raise ConfigError(
            f"{where}: {which} must have at least {SHORTEST_PEPPER} characters (values are parted by commas)"
        )
    return tuple(value.encode() for value in values)


def _new() -> str:
    return secrets.token_hex(32)


def _kept(file: Path) -> str:
    """The pepper in `file`, which is made where it is missing."""
    try:
        if not file.exists():
            _make(file)
    except OSError as error:
        raise ConfigError(f"{file}: the pepper cannot be written: {_os_text(error)}") from None
    return _content(file, str(file))


def _make(file: Path) -> None:
    """Write a new pepper, whole and synced before it has its name: a second process or a crash never sees half of one."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(f"{_new()}\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, file)
    except FileExistsError:
        pass  # another process was faster: its pepper is the one
    finally:
        draft.unlink()


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
