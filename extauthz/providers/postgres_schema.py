"""Which schema a PostgreSQL database has. Everything of ours lives in a schema of its own, `extauthz`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from extauthz.errors import SchemaMismatch
from extauthz.providers.schema_status import Migrations, SchemaState, SchemaStatus, mismatch, schema_status

SCHEMA: Final = "extauthz"
TABLES: Final = f"""
    SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = '{SCHEMA}' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""  # noqa: S608 - a constant of ours
_VERSION_TABLE: Final = "alembic_version_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A set of tables with migrations of its own; several may live in one database."""

    name: str
    migrations: Migrations

    @property
    def version_table(self) -> str:
        """Where its revision stands."""
        return _VERSION_TABLE + self.name

    @property
    def version_query(self) -> str:
        """Asks for its revision."""
        return f"SELECT version_num FROM {SCHEMA}.{self.version_table}"  # noqa: S608 - names of ours


async def read_status(connection: asyncpg.Connection, place: str, lineage: Lineage) -> SchemaStatus:
    """The schema of a database; changes nothing.

    Raises:
        SchemaMismatch: the schema is another program's.
    """
    tables = [str(row[0]) for row in await connection.fetch(TABLES)]
    there = lineage.version_table in tables
    rows = [tuple(row) for row in await connection.fetch(lineage.version_query)] if there else []
    return status_of(place, lineage, tables, rows)


def status_of(
    place: str, lineage: Lineage, tables: Sequence[str], versions: Sequence[Sequence[object]]
) -> SchemaStatus:
    """The status told from the names of the tables there are, and the rows of the lineage's version table.

    Raises:
        SchemaMismatch: the schema is another program's, or has lost its revision.
    """
    if versions:
        return schema_status(str(versions[0][0]), lineage.migrations)
    if lineage.version_table in tables:
        raise SchemaMismatch(f"{place}: the schema has no revision; restore it, then run `extauthz db upgrade`")
    if tables and not any(table.startswith(_VERSION_TABLE) for table in tables):
        raise SchemaMismatch(f"{place}: the schema {SCHEMA} is another program's; use another database")
    return schema_status(None, lineage.migrations)


def require_current(place: str, status: SchemaStatus) -> None:
    """Refuse any schema but ours of this version.

    Raises:
        SchemaMismatch: it is older or newer.
    """
    if status.state is not SchemaState.CURRENT:
        raise SchemaMismatch(mismatch(place, status))
