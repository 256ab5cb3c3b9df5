"""Where the peppers come from: the environment, a file, or made on the spot for an embedded store (spec section 3.2)."""

import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.authn.pepper import MIN_LENGTH, PepperBook
from extauthz.errors import ConfigError

ENV_NAME: Final = "EXTAUTHZ_PEPPER"
FILE_FIELD: Final = "providers.credentials.pepper_file"
SUFFIX: Final = ".pepper"

_MAX_FILE_BYTES: Final = 65_536
_NEW_BYTES: Final = 32
_SEPARATORS: Final = re.compile(r"[,\r\n]+")
_ANYBODY: Final = stat.S_IROTH | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPeppers:
    """The peppers, and what an operator should be told about where they came from."""

    book: PepperBook
    warnings: tuple[str, ...] = ()


def load_peppers(
    *, env_value: str | None, pepper_file: Path | None = None, sqlite_file: Path | None = None, in_memory: bool = False
) -> LoadedPeppers:
    """The peppers of this deployment. With a SQLite file call it before the database is opened.

    Args:
        env_value: the value of `EXTAUTHZ_PEPPER`, None where it is not set. It comes before `pepper_file`.
        pepper_file: `providers.credentials.pepper_file`, None where it is not configured. It must exist.
        sqlite_file: the file of the credential store where that is SQLite: a pepper is made beside it where none is given.
        in_memory: the credential store ends with the process, and so may its pepper.

    Raises:
        ConfigError: none is given where one must be, or what is given is not usable. It names the field and the remedy.
    """
    if env_value is not None:
        return LoadedPeppers(book=_parse(env_value, ENV_NAME))
    if pepper_file is not None:
        return _read(pepper_file, FILE_FIELD)
    if sqlite_file is not None:
        return _beside(sqlite_file)
    if in_memory:
        return LoadedPeppers(book=PepperBook([_new_value()]))
    raise ConfigError(
        f"{FILE_FIELD}: this credential store needs a pepper that is given; set {ENV_NAME} or {FILE_FIELD} to one value"
        f" of at least {MIN_LENGTH} characters, the same on every replica"
    )


def _new_value() -> str:
    return secrets.token_hex(_NEW_BYTES)


def _parse(text: str, name: str) -> PepperBook:
    """The peppers in `text`: separated by commas, in a file by line ends too; spaces around them do not count."""
    values = [value.strip() for value in _SEPARATORS.split(text.strip(" \t\r\n"))]
    return PepperBook([] if values == [""] else values, name=name)


def _read(path: Path, name: str) -> LoadedPeppers:
    where = f"{name} ({path})"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        remedy = f"give a file that this process may read, or set {ENV_NAME}"
        raise ConfigError(f"{where}: cannot be read: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"{where}: is not a text; give a file with one pepper of at least {MIN_LENGTH} characters"
        ) from None
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError(f"{where}: is larger than {_MAX_FILE_BYTES} bytes; this is no file of peppers")
    return LoadedPeppers(book=_parse(text, where), warnings=_warn_of_mode(where, mode))


def _warn_of_mode(where: str, mode: int) -> tuple[str, ...]:
    """What to say of a file that every user of the machine can read or write."""
    if not mode & _ANYBODY:
        return ()
    return (f"{where}: every user of this machine can read or change it (mode {stat.S_IMODE(mode):04o}); chmod 600 it",)


def _beside(sqlite_file: Path) -> LoadedPeppers:
    """The pepper in the file beside the database, made where there is none."""
    path = sqlite_file.with_name(sqlite_file.name + SUFFIX)
    name = "the pepper beside the database"
    if path.exists():
        return _read(path, name)
    orphans = sqlite_file.exists()
    _make(path, name)
    loaded = _read(path, name)
    if not orphans:
        return loaded
    warning = (
        f"{name} ({path}): a new one was made although the database exists already: API keys issued under another pepper"
        f" do not verify; put the old file back, or set {ENV_NAME}"
    )
    return LoadedPeppers(book=loaded.book, warnings=(*loaded.warnings, warning))


def _make(path: Path, name: str) -> None:
    """Write a new pepper. Where two processes do so at once, the file of one stays, whole, and both read that one."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(_new_value() + "\n")
                file.flush()
                os.fsync(descriptor)
            # A link, unlike a rename, fails where the name is taken, and unlike O_EXCL on the name itself never shows
            # another process an empty file.
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        return
    except OSError as error:
        remedy = f"make the folder writable, or set {ENV_NAME}"
        raise ConfigError(f"{name} ({path}): cannot be made: {error.strerror}; {remedy}") from None
