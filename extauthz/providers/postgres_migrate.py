"""Brings a PostgreSQL database to the newest schema. It needs Alembic and SQLAlchemy, and so is imported only when needed."""

import asyncio
from functools import partial
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from extauthz.providers.migrations.run import run_migrations
from extauthz.providers.postgres_dial import Dialer
from extauthz.providers.postgres_errors import translated
from extauthz.providers.postgres_schema import SCHEMA, TABLES, Lineage, status_of
from extauthz.providers.postgres_url import Target
from extauthz.providers.schema_status import SchemaState, SchemaStatus

STATEMENT_LIMIT: Final = 60.0
"""Seconds for one statement, waiting for another process that migrates included."""

_LOCK: Final = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('extauthz migrations', 0))"

_HAS_SCHEMA: Final = f"SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname = '{SCHEMA}'"  # noqa: S608 - a constant of ours


def migrate(target: Target, lineage: Lineage) -> SchemaStatus:
    """Bring the database to the lineage's newest revision in one transaction; where it is there already nothing happens.

    Of several processes one does it; the others wait and find it done. Blocks, on an event loop of its own: for a thread.

    Raises:
        SchemaMismatch: the schema is another program's.
        ProviderError: the database gives no answer, or refuses.
    """
    return asyncio.run(_migrate(target, lineage))


async def _migrate(target: Target, lineage: Lineage) -> SchemaStatus:
    dial = partial(Dialer(target).dial, STATEMENT_LIMIT)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=dial, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(_migrate_locked, target.place, lineage)
    except Exception as error:
        ours = translated(target.place, _drivers(error))
        if ours is error:
            raise
        raise ours from None
    finally:
        await engine.dispose()


def _migrate_locked(connection: Connection, place: str, lineage: Lineage) -> SchemaStatus:
    connection.exec_driver_sql(_LOCK)
    status = _status(connection, place, lineage)
    if status.state in (SchemaState.EMPTY, SchemaState.OLDER):
        _create_schema(connection)
        options = {"version_table": lineage.version_table, "version_table_schema": SCHEMA}
        run_migrations(connection, lineage.migrations, options)
        status = _status(connection, place, lineage)
    return status


def _create_schema(connection: Connection) -> None:
    """Where there is none: with IF NOT EXISTS too PostgreSQL asks for the right to create one, which the owner of one need not have."""
    if connection.exec_driver_sql(_HAS_SCHEMA).first() is None:
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")


def _status(connection: Connection, place: str, lineage: Lineage) -> SchemaStatus:
    tables = [str(row[0]) for row in connection.exec_driver_sql(TABLES)]
    there = lineage.version_table in tables
    rows = [tuple(row) for row in connection.exec_driver_sql(lineage.version_query)] if there else []
    return status_of(place, lineage, tables, rows)


def _drivers(error: Exception) -> Exception:
    """The driver's own error, which SQLAlchemy wraps twice."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__
        return cause if isinstance(cause, Exception) else error
    return error
