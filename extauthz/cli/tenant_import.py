"""`extauthz tenant import`."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import click

from extauthz.cli.admin import AdminPort, talks_to_admin
from extauthz.cli.app import Stop
from extauthz.cli.meter import counted, meter

FORMATS = click.Choice(["csv", "jsonl"])


@click.command("import", short_help="Add the tenants of a file, CSV or JSON lines.")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--format", "form", type=FORMATS, help="How FILE is written. [default: by its name, else how it begins]")
@click.option("--dry-run", is_flag=True, help="Look through FILE, say what is wrong with it, and change nothing.")
@click.option("--reason", metavar="TEXT", help="Why; it stands in the audit trail. [default: import of FILE]")
@talks_to_admin
def import_(port: AdminPort, source: Path, form: str | None, reason: str | None, *, dry_run: bool) -> None:
    """Add the tenants of FILE (`-`: standard input), as CSV with a head or as JSON lines.

    Columns are id, name, plan, onboarding, lifecycle, billing_state, created_at; all but id may be missing or empty. The whole
    file is looked through first, and nothing is sent where a line is wrong. Tenants that are there already, the same, are
    passed over: after an interruption the same command again goes on where it stopped.

    \b
    Example:
      extauthz tenant import tenants.csv --dry-run
      extauthz tenant import tenants.csv --reason "moved from the old system"
      extauthz tenant export --format jsonl | extauthz tenant import - --admin http://127.0.0.1:9290
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    from extauthz.cli.tenant_check import check_file, plans_of  # noqa: PLC0415 - pydantic; `--help` does without it
    from extauthz.cli.tenant_rows import RowFormat, guess_format  # noqa: PLC0415 - see the line above
    from extauthz.cli.tenant_send import Sending  # noqa: PLC0415 - see above

    with _opened(source) as file:
        rows = RowFormat(form) if form else guess_format(source.name, _begin(file))
        plans = plans_of(port.call("GET", "config"))
        with meter("checked", None) as tell:
            checked = check_file(file, rows, plans, tell)
        if checked.faults:
            raise Stop("\n  ".join([f"{source} is not in order, nothing was imported:", *checked.faults]))
        if dry_run:
            port.show({"tenants": checked.count}, lambda _: click.echo(f"{counted(checked.count)}, all in order"))
            return
        file.seek(0)
        with meter("imported", checked.count) as tell:
            sending = Sending(reason or f"import of {source}", checked.count, tell)
            sending.run(port, file, rows)
    answer = {"created": sending.created, "existing": sending.existing}
    port.show(answer, lambda _: click.echo(f"{sending.created} created, {sending.existing} there already"))


@contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """The file, which is read twice: what cannot be read again is kept in a temporary file."""
    with ExitStack() as opened:
        try:
            file: IO[bytes] = sys.stdin.buffer if str(source) == "-" else opened.enter_context(source.open("rb"))
            if str(source) == "-" or not file.seekable():
                spooled = opened.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(file, spooled)
                spooled.seek(0)
                file = spooled
        except OSError as error:
            raise Stop(f"{source}: cannot be read ({error.strerror})") from None
        yield file


def _begin(file: IO[bytes]) -> bytes:
    begin = file.read(4096)
    file.seek(0)
    return begin
