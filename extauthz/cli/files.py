"""Reading a configuration for a command."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from extauthz.config import Loaded

config_option = click.option(
    "--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file. [default: none]"
)


def load_config(file: Path | None, flags: Mapping[str, str] | None = None) -> "Loaded":
    """The configuration from the file, the environment and flags by path.

    Raises:
        ConfigError: it has faults.
    """
    from extauthz.config import load  # noqa: PLC0415 - a third of a second that `--help` does not need

    return load(file, os.environ, flags)


def warn(warnings: Iterable[object]) -> None:
    """One line each on standard error."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
