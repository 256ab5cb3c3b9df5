"""What a command shows: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_PIPE_WIDTH: Final = 200
"""Columns of a table that nobody looks at on a terminal: a value is never cut where a program may read it."""

Json = Mapping[str, object]


def show_json(content: object) -> None:
    """JSON on standard output, keys in the order of the answer."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table with a head; colours on a terminal only."""
    from rich.table import Table  # noqa: PLC0415 - rich is loaded when something is shown, not for `--help`

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line."""
    from rich.table import Table  # noqa: PLC0415 - see show_table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(_cell(name), _cell(value))
    console().print(table)


def console() -> "Console":
    """Where tables go: colours and the terminal's width on a terminal, neither on a pipe."""
    from rich.console import Console  # noqa: PLC0415 - see show_table

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def _cell(value: object) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - see show_table

    return Text(word(value))


def word(value: object) -> str:
    """A value of an answer as people read it. Control characters, which could steer the terminal, are left out."""
    if value is None or value in ([], ""):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(word(item) for item in value)
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))


def seconds(ms: object) -> str | None:
    """Milliseconds of an answer as people read them; None where there are none."""
    return f"{ms / 1000:.1f} s" if isinstance(ms, int | float) else None


def at(content: object, *path: str) -> object:
    """What stands at `path` in an answer; None where the answer has no such thing."""
    for step in path:
        content = content.get(step) if isinstance(content, Mapping) else None
    return content


def items(content: Json, name: str) -> list[object]:
    """The list called `name` in an answer; empty where the answer has none."""
    found = content.get(name)
    return found if isinstance(found, list) else []
