"""Before something is done to everybody: somebody at a terminal is asked, a script must have said `--yes`."""

import sys

import click


def be_sure(question: str, *, yes: bool) -> None:
    """Go on where `yes` was given, or whoever sits at the terminal agrees.

    Raises:
        Abort: they do not.
        UsageError: nobody sits there who could be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is here to be asked: add --yes, or name one with --tenant.")
    click.confirm(question, abort=True)
