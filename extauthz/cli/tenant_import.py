"""`extauthz tenant import`."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from extauthz.cli.admin import REASON, AdminPort, talks_to_admin
from extauthz.cli.app import Stop
from extauthz.cli.files import warn
from extauthz.cli.meter import counted, meter
from extauthz.model.lifecycle import MAX_REASON

if TYPE_CHECKING:
    from extauthz.cli.tenant_send import Sending

FORMATS = click.Choice(["csv", "jsonl"])


@click.command("import", short_help="Add the tenants of a file, CSV or JSON lines.")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--format", "form", type=FORMATS, help="How FILE is written. [default: by its name, else how it begins]")
@click.option("--dry-run", is_flag=True, help="Look through FILE, say what is wrong with it, and change nothing.")
@click.option(
    "--on-conflict",
    type=click.Choice(["stop", "keep"]),
    default="stop",
    show_default=True,
    help="What to do where a tenant is there and is not the same: stop, or keep it as it is and go on.",
)
@click.option(
    "--reason", type=REASON, metavar="TEXT", help="Why; it stands in the audit trail. [default: import of FILE]"
)
@talks_to_admin
def import_(
    port: AdminPort, source: Path, form: str | None, on_conflict: str, reason: str | None, *, dry_run: bool
) -> None:
    """Add the tenants of FILE (`-`: standard input), as CSV with a head or as JSON lines.

    Columns are id, name, plan, onboarding, lifecycle, billing_state, created_at; all but id may be missing or empty. The whole
    file is looked through first, and nothing is sent where a line is wrong. Tenants that are there already, the same, are
    passed over: after an interruption the same command again goes on where it stopped. Where one of them was changed since,
    it stops there; with --on-conflict keep it leaves such tenants as they are, tells them, and adds the others.

    Standard input that ends early at the end of a line looks like all of it: import an export from a file.

    \b
    Example:
      extauthz tenant import tenants.csv --dry-run
      extauthz tenant import tenants.csv --reason "moved from the old system"
      extauthz tenant import tenants.csv --on-conflict keep
      extauthz tenant export --output-file all.jsonl && extauthz tenant import all.jsonl --admin http://127.0.0.1:9290
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
        if not checked.count:
            warn([f"{source} has no tenants"])
        if dry_run:
            port.show({"tenants": checked.count}, lambda _: click.echo(f"{counted(checked.count)}, all in order"))
            return
        file.seek(0)
        with meter("imported", checked.count) as tell:
            sending = Sending(reason or _default_reason(source), checked.count, tell, keep=on_conflict == "keep")
            sending.run(port, file, rows)
    _show(port, sending)


def _default_reason(source: Path) -> str:
    """A name of a file may be longer than a reason, and need not be text."""
    return f"import of {os.fsencode(source).decode(errors='replace')}"[:MAX_REASON]


def _show(port: AdminPort, sending: "Sending") -> None:
    for line in sending.kept_lines:
        click.echo(f"{line}: kept as it is", err=True)
    if sending.kept > len(sending.kept_lines):
        click.echo(f"and {sending.kept - len(sending.kept_lines)} more of these", err=True)
    kept = f", {sending.kept} there otherwise and kept as they are" if sending.kept else ""
    answer = {"created": sending.created, "existing": sending.existing, "kept": sending.kept}
    port.show(answer, lambda _: click.echo(f"{sending.created} created, {sending.existing} there already{kept}"))


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
