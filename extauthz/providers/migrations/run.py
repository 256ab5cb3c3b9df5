"""Runs Alembic on a connection of somebody else's, in its transaction. Imported only when there is something to migrate."""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from extauthz.providers.schema_status import Migrations

_SCRIPTS: Final = Path(__file__).parent
_one_at_a_time: Final = Lock()
"""Alembic keeps the migration that runs in a global; two databases may be set up at the same moment, each in its thread."""


def run_migrations(connection: Connection, migrations: Migrations, options: Mapping[str, object] | None = None) -> None:
    """Upgrade to the newest revision. `options` are those of Alembic's environment, such as where the version is kept."""
    config = Config()
    config.set_main_option("script_location", _escaped(_SCRIPTS))
    config.set_main_option("version_locations", _escaped(migrations.directory))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["options"] = dict(options or {})
    with _one_at_a_time:
        command.upgrade(config, migrations.head)


def _escaped(path: Path) -> str:
    """Alembic reads options with interpolation."""
    return str(path).replace("%", "%%")
