"""Before something is done that hurts everybody: somebody at a terminal is asked, a script must have said `--yes`."""

import sys
from typing import Final

import click

OR_ONE: Final = ", or name one with --tenant"


def be_sure(question: str, *, yes: bool, instead: str = "") -> None:
    """Go on where `yes` was given, or whoever sits at the terminal agrees. `instead`: what else there is to do, if anything.

    Raises:
        Abort: they do not.
        UsageError: nobody sits there who could be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is here to be asked: add --yes{instead}.")
    click.confirm(question, abort=True)
