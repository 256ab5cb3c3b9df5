"""Files that commands read and write."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from extauthz.cli.app import Stop
from extauthz.errors import ConfigError

if TYPE_CHECKING:
    from extauthz.config import Content, Loaded

config_option = click.option(
    "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file. [default: none]"
)


def load_config(
    file: "Content | Path | None", flags: Mapping[str, str] | None = None, *, may_be_empty: bool = True
) -> "Loaded":
    """The configuration from the file or what was read of it, the environment and flags by path; a file that is empty is a fault if it may not be.

    Raises:
        ConfigError: it has faults.
    """
    from extauthz.config import load  # noqa: PLC0415 - a third of a second that `--help` does not need

    return load(file, os.environ, flags, may_be_empty=may_be_empty)


def checked_config(file: Path | None, flags: Mapping[str, str] | None = None) -> "Loaded":
    """As `load_config`, for who asks whether the configuration is valid: the error names every fault, however many there are.

    Raises:
        ConfigError: it has faults.
    """
    from extauthz.config import InvalidConfig  # noqa: PLC0415 - see load_config

    try:
        return load_config(file, flags)
    except InvalidConfig as error:
        raise ConfigError(error.listing) from None


def warn(warnings: Iterable[object]) -> None:
    """One line each on standard error."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


@contextmanager
def written_whole(target: Path) -> Iterator[IO[bytes]]:
    """Somewhere to write that becomes `target` when the context is left without an error; `-` is standard output.

    What is no regular file (a pipe, a device) is written as it is.

    Raises:
        Stop: it cannot be written.
    """
    try:
        if str(target) == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
        else:
            yield from _beside(target.resolve())
    except BrokenPipeError:
        raise  # whoever read it has enough
    except OSError as error:
        raise Stop(f"{target}: cannot be written ({error.strerror})") from None


def _beside(target: Path) -> Iterator[IO[bytes]]:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
