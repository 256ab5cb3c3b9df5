"""Which schema a PostgreSQL database has, and bringing it to this version's."""

import asyncio
import threading
from concurrent.futures import Future
from functools import partial
from typing import Final

from extauthz.providers import postgres_schema
from extauthz.providers.postgres_dial import DIAL_LIMIT, Dialer
from extauthz.providers.postgres_pool import Pool
from extauthz.providers.postgres_schema import Lineage
from extauthz.providers.postgres_url import Target, parse_target
from extauthz.providers.schema_status import SchemaStatus
from extauthz.resilience.bounded import within

SET_UP_LIMIT: Final = 60.0
"""Seconds for setting up or upgrading a schema."""


async def upgrade(url: str, lineage: Lineage) -> SchemaStatus:
    """Bring a database to this version's schema, whether it is empty, older or there already.

    Raises:
        ConfigError: the URL can't be read.
        ProviderError: the database gives no answer, or refuses.
        SchemaMismatch: the schema is another program's, or newer than this version.
    """
    target = parse_target(url)
    status = await bring_up(target, lineage)
    postgres_schema.require_current(target.place, status)
    return status


async def status(url: str, lineage: Lineage) -> SchemaStatus:
    """Which schema a database has; changes nothing.

    Raises:
        ConfigError: the URL can't be read.
        ProviderError: the database gives no answer.
        SchemaMismatch: the schema is another program's.
    """
    target = parse_target(url)
    pool = Pool(target.place, partial(Dialer(target).dial, DIAL_LIMIT), size=1, patience=DIAL_LIMIT)
    try:
        reading = pool.run(lambda connection: postgres_schema.read_status(connection, target.place, lineage))
        return await within(DIAL_LIMIT, reading)
    finally:
        await pool.close()


async def bring_up(target: Target, lineage: Lineage) -> SchemaStatus:
    """Run the migrations, in a thread: Alembic takes half a second to import and is needed once in the life of a database."""
    result: Future[SchemaStatus] = Future()
    # A daemon: where the server freezes in the middle, the thread hangs, and must not keep the process from ending.
    threading.Thread(target=_migrate, args=(target, lineage, result), name="postgres-migrate", daemon=True).start()
    return await within(SET_UP_LIMIT, _wrapped(result))


async def _wrapped(result: "Future[SchemaStatus]") -> SchemaStatus:
    return await asyncio.wrap_future(result)


def _migrate(target: Target, lineage: Lineage, result: "Future[SchemaStatus]") -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        from extauthz.providers.postgres_migrate import migrate  # noqa: PLC0415 - see bring_up

        result.set_result(migrate(target, lineage))
    except BaseException as error:  # noqa: BLE001 - raised where it is waited for
        result.set_exception(error)
