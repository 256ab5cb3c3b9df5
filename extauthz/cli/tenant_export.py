"""`extauthz tenant export`."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote

import click

from extauthz.cli.admin import AdminPort, talks_to_admin
from extauthz.cli.files import written_whole
from extauthz.cli.meter import counted, meter
from extauthz.cli.patience import patiently
from extauthz.cli.screen import at, items

if TYPE_CHECKING:
    from extauthz.cli.tenant_rows import RowFormat

PAGE: Final = 1000


@click.command(short_help="Write all tenants to a file, CSV or JSON lines.")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), help="[default: by FILE's name, else csv]")
@click.option(
    "--output-file",
    "target",
    type=click.Path(path_type=Path, allow_dash=True),
    default="-",
    metavar="FILE",
    help="Where to write; `-` is standard output.  [default: -]",
)
@talks_to_admin
def export(port: AdminPort, form: str | None, target: Path) -> None:
    """Write all tenants with their standing, in the order of their ids, as `tenant import` reads them.

    FILE is there as a whole or not at all: it is written beside its place and moved when it is complete. Standard output that
    ends early is told by the exit code alone, which a pipe hides: write what is to be imported to a FILE.

    \b
    Example:
      extauthz tenant export --output-file tenants.csv
      extauthz tenant export --format jsonl | grep SUSPENDED
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    from extauthz.cli.tenant_rows import RowFormat, guess_format  # noqa: PLC0415 - loaded when needed, for `--help`

    rows = RowFormat(form) if form else guess_format(target.name, b"")
    with written_whole(target) as file, meter("exported", None) as tell:
        count = asyncio.run(_export(port, file, rows, tell))
    if str(target) != "-":
        port.show({"tenants": count}, lambda _: click.echo(f"{counted(count)} in {target}"))


async def _export(port: AdminPort, file: IO[bytes], form: "RowFormat", tell: Callable[[int], None]) -> int:
    """Page by page; how many there were."""
    from extauthz.cli.tenant_rows import write_head, write_rows  # noqa: PLC0415 - see export

    count, after = 0, ""
    file.write(write_head(form))
    async with port.connected() as http:
        while True:
            where = f"/tenants?billing=1&limit={PAGE}" + (f"&after={quote(after, safe='')}" if after else "")
            page = await patiently(partial(http.ask, "GET", where))
            tenants = [each for each in items(page, "tenants") if isinstance(each, Mapping)]
            file.write(write_rows(tenants, form))
            count += len(tenants)
            tell(count)
            following = at(page, "next")
            if not isinstance(following, str):
                return count
            after = following
