"""How far a long command has come: a bar on a terminal, a line now and then elsewhere. On standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click

LINE_EVERY: Final = 100_000
"""Tenants between two lines where nobody watches."""


def counted(tenants: int) -> str:
    """`1 tenant`, `2 tenants`."""
    return "1 tenant" if tenants == 1 else f"{tenants} tenants"


@contextmanager
def meter(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show progress; call what is given with the number done so far. `total` None: not known."""
    if not sys.stderr.isatty():
        yield _Lines(what, total).tell
        return
    from rich.console import Console  # noqa: PLC0415 - rich is loaded when something is shown, not for `--help`
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


class _Lines:
    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._of = "" if total is None else f" of {total}"
        self._next = LINE_EVERY

    def tell(self, done: int) -> None:
        if done >= self._next:
            click.echo(f"{self._what}: {done}{self._of}", err=True)
            self._next = done - done % LINE_EVERY + LINE_EVERY
