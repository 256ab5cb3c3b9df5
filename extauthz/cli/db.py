"""`extauthz db …`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from extauthz.cli.app import Noun, Stop
from extauthz.cli.files import config_option, load_config, warn
from extauthz.cli.screen import show_json, show_table

if TYPE_CHECKING:
    from extauthz.config import Config
    from extauthz.wiring.databases import Database, Look

T = TypeVar("T")

_output_option = click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="What to print."
)


@click.group(cls=Noun)
def db() -> None:
    """Look after the databases of a configuration: their schemas, and what is in them.

    An empty database is set up by the service itself, on first contact. An upgrade is for a new version of this program: stop
    the service, upgrade, start the new version.

    \b
    Example:
      extauthz db status --config extauthz.yaml
      extauthz db upgrade --config extauthz.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@db.command(short_help="Bring every database to this version's schema.")
@config_option
@_output_option
def upgrade(file: Path | None, output: str) -> None:
    """Bring every database of the configuration to this version's schema. One that is current is left as it is.

    Each is upgraded in one transaction: after an error it is as it was before. Exits 1 where one could not be upgraded.

    \b
    Example:
      extauthz db upgrade --config extauthz.yaml
    """  # noqa: D301 - see db
    from extauthz.wiring import databases  # noqa: PLC0415 - the whole service; `--help` does without it

    _show_looks(_each(_config(file), databases.upgrade), output)


@db.command(short_help="Show every database's schema.")
@config_option
@_output_option
def status(file: Path | None, output: str) -> None:
    """Show which schema every database of the configuration has, and which this version needs. Changes nothing.

    Exits 1 where the service would not start with one: it is older or newer, another program's, or cannot be read.

    \b
    Example:
      extauthz db status --config extauthz.yaml
      EXTAUTHZ_PROVIDERS__LIFECYCLE__URL=sqlite:////var/lib/state.db extauthz db status --output json
    """  # noqa: D301 - see db
    from extauthz.wiring import databases  # noqa: PLC0415 - see upgrade

    _show_looks(_each(_config(file), databases.look_at), output)


@db.command(short_help="Check the tables of tenants, plans and keys.")
@config_option
@_output_option
def check(file: Path | None, output: str) -> None:
    """Check the tables of tenants, plans and keys, and whether every plan that a tenant has is in the configuration.

    Changes nothing. Exits 1 where something is wrong.

    \b
    Example:
      extauthz db check --config extauthz.yaml
    """  # noqa: D301 - see db
    from extauthz.wiring import databases  # noqa: PLC0415 - see upgrade

    config = _config(file)
    found = _each(config, lambda database: databases.check(database, frozenset(config.plans)))
    faults = [fault for each in found for fault in each]
    if output == "json":
        show_json({"faults": faults})
    else:
        click.echo("\n".join(faults) or "everything is in order")
    click.get_current_context().exit(1 if faults else 0)


def _config(file: Path | None) -> "Config":
    loaded = load_config(file)
    warn(loaded.warnings)
    return loaded.config


def _each(config: "Config", look: Callable[["Database"], Awaitable[T]]) -> Sequence[T]:
    """The same for each database, one after the other.

    Raises:
        Stop: the configuration has none.
    """
    from extauthz.wiring.databases import databases  # noqa: PLC0415 - see upgrade

    found = databases(config)
    if not found:
        raise Stop("this configuration has no database of its own: its providers are in memory or somebody else's")

    async def all_of_them() -> Sequence[T]:
        return [await look(database) for database in found]

    return asyncio.run(all_of_them())


def _show_looks(looks: Sequence["Look"], output: str) -> None:
    rows = [_row(look) for look in looks]
    if output == "json":
        show_json({"databases": rows})
    else:
        columns = ("database", "providers", "schema", "needed", "state")
        show_table(columns, [[row[column] for column in columns] for row in rows])
    for look in looks:
        if look.error:
            click.echo(f"error: {look.error}", err=True)
    click.get_current_context().exit(0 if all(look.sound for look in looks) else 1)


def _row(look: "Look") -> dict[str, object]:
    known = look.status
    state = "error" if look.error else "absent" if known is None else known.state.value
    return {
        "database": str(look.database.url),
        "providers": list(look.database.providers),
        "schema": None if known is None else known.revision,
        "needed": None if known is None else known.needed,
        "state": state,
        "error": look.error or None,
    }
