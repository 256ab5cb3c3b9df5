"""The databases of a configuration, for `extauthz db`: which there are, their schemas, and what is wrong in them."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, cast

from extauthz.config import Config, ProviderUrl
from extauthz.errors import ExtauthzError
from extauthz.providers import sqlite, sqlite_check, sqlite_file
from extauthz.providers.plan_use import PlanInUse
from extauthz.providers.schema_status import SchemaState, SchemaStatus, mismatch
from extauthz.providers.sqlite_events import EVENTS_MIGRATIONS
from extauthz.providers.sqlite_plans import plans_in_use
from extauthz.providers.sqlite_schema import EVENTS_APPLICATION_ID, Kind
from extauthz.wiring.places import driver, place_of

Found = tuple[Sequence[str], Sequence[PlanInUse]]
"""What is wrong with the rows of a database, and the plans in use there."""

_SCHEMES: Final = frozenset({"sqlite", "postgresql"})
_EVENTS_FILE: Final = Kind(application_id=EVENTS_APPLICATION_ID, migrations=EVENTS_MIGRATIONS)


class PostgresSchemas(Protocol):
    """A module that knows one set of tables."""

    async def status(self, url: str) -> SchemaStatus:
        """Which schema they have."""

    async def upgrade(self, url: str) -> SchemaStatus:
        """Bring them to this version's."""


class Use(StrEnum):
    """What a database is for."""

    STATE = "state"
    """Tenants, standing, keys and their audit."""
    EVENTS = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database, and the providers that use it. `str(url)` shows no password."""

    url: ProviderUrl
    use: Use
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a database stands. `status` None: there is none yet, or there is no telling, which `error` then explains."""

    database: Database
    status: SchemaStatus | None = None
    error: str = ""

    @property
    def sound(self) -> bool:
        """Whether the service would start with it: a database that is not there yet, or empty, is set up."""
        states = (SchemaState.CURRENT, SchemaState.EMPTY)
        return not self.error and (self.status is None or self.status.state in states)


def databases(config: Config) -> Sequence[Database]:
    """Each database once, in the order of the providers; what lives in memory or behind gRPC is not ours to look after."""
    found: dict[tuple[str, Use], Database] = {}
    for name, url in config.providers.urls().items():
        if url.scheme in _SCHEMES:
            place = (place_of(url), Use.EVENTS if name == "events" else Use.STATE)
            before = found.get(place, Database(url=url, use=place[1], providers=()))
            found[place] = replace(before, providers=(*before.providers, name))
    return tuple(found.values())


async def look_at(database: Database) -> Look:
    """The schema; changes nothing. What cannot be looked at is told, not raised."""
    return await _looked(database, _status(database))


async def upgrade(database: Database) -> Look:
    """Bring the schema to this version's; a database that is not there is made. What fails is told, not raised."""
    return await _looked(database, _upgrade(database))


async def check(database: Database, plans: Collection[str]) -> Sequence[str]:
    """What is wrong in a database, one sentence each. `plans` are those of the configuration."""
    look = await look_at(database)
    if look.error:
        return [look.error]
    if look.status is None or look.status.state is SchemaState.EMPTY:
        return []
    if look.status.state is not SchemaState.CURRENT:
        return [mismatch(str(database.url), look.status)]
    try:
        return await _faults(database, plans)
    except ExtauthzError as error:
        return [str(error)]


async def _looked(database: Database, asked: Awaitable[SchemaStatus | None]) -> Look:
    try:
        return Look(database=database, status=await asked)
    except ExtauthzError as error:
        return Look(database=database, error=str(error))


async def _status(database: Database) -> SchemaStatus | None:
    if database.url.scheme == "postgresql":
        return await _postgres(database).status(database.url.text)
    return await asyncio.to_thread(_sqlite_status, Path(database.url.path), database.use)


async def _upgrade(database: Database) -> SchemaStatus:
    if database.url.scheme == "postgresql":
        return await _postgres(database).upgrade(database.url.text)
    return await asyncio.to_thread(_sqlite_upgrade, Path(database.url.path), database.use)


async def _faults(database: Database, plans: Collection[str]) -> Sequence[str]:
    """Of the state, plan and key tables; events have no rule that a row could break."""
    if database.use is Use.EVENTS:
        return ()
    postgres = database.url.scheme == "postgresql"
    damaged, used = await (_postgres_faults(database) if postgres else _sqlite_faults(database))
    return [*damaged, *(_unknown_plan(database, plan) for plan in used if plan.plan_id not in plans)]


def _unknown_plan(database: Database, plan: PlanInUse) -> str:
    who = (
        f"tenant {plan.example!r} is" if plan.tenants == 1 else f"{plan.tenants} tenants are ({plan.example!r} is one)"
    )
    return f"{database.url}: {who} on plan {plan.plan_id!r}, which the configuration does not have: their limits do not hold"


def _tenants_here(database: Database) -> bool:
    return "lifecycle" in database.providers


# SQLite


def _sqlite_status(path: Path, use: Use) -> SchemaStatus | None:
    if not path.exists():
        return None
    return sqlite.status(path) if use is Use.STATE else sqlite_file.status(path, _EVENTS_FILE)


def _sqlite_upgrade(path: Path, use: Use) -> SchemaStatus:
    return sqlite.upgrade(path) if use is Use.STATE else sqlite_file.upgrade(path, _EVENTS_FILE)


async def _sqlite_faults(database: Database) -> Found:
    path = Path(database.url.path)
    damaged = await asyncio.to_thread(sqlite_check.check, path, tenants_here=_tenants_here(database))
    # Where the file itself is damaged nothing that is read from it says anything.
    return damaged, () if damaged else await asyncio.to_thread(plans_in_use, path)


# PostgreSQL


def _postgres(database: Database) -> "PostgresSchemas":
    """The module of a lineage.

    Raises:
        ConfigError: the driver is not installed.
    """
    name = "postgres" if database.use is Use.STATE else "postgres_events"
    return cast("PostgresSchemas", driver(f"extauthz.providers.{name}", database.url))


async def _postgres_faults(database: Database) -> Found:
    _postgres(database)  # says it plainly where the driver is missing
    from extauthz.providers import postgres_check  # noqa: PLC0415 - needs the driver

    damaged = await postgres_check.check(database.url.text, tenants_here=_tenants_here(database))
    return damaged, await postgres_check.plans_in_use(database.url.text)
