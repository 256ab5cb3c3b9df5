"""How a database's schema stands to the one this version needs; the same words for every kind of database."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrations:
    """The migrations of one schema: the directory of its versions, and their revisions, oldest first."""

    directory: Path
    revisions: tuple[str, ...]

    @property
    def head(self) -> str:
        """The newest revision."""
        return self.revisions[-1]


class SchemaState(StrEnum):
    """How a database's schema stands to the one this version needs."""

    EMPTY = "empty"
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStatus:
    """A database's schema. `revision` is None where the database is empty."""

    state: SchemaState
    revision: str | None
    needed: str


def schema_status(revision: str | None, migrations: Migrations) -> SchemaStatus:
    """The status of a database at `revision`; None: it is empty."""
    return SchemaStatus(state=_state(revision, migrations), revision=revision, needed=migrations.head)


def _state(revision: str | None, migrations: Migrations) -> SchemaState:
    if revision is None:
        return SchemaState.EMPTY
    if revision == migrations.head:
        return SchemaState.CURRENT
    return SchemaState.OLDER if revision in migrations.revisions else SchemaState.NEWER


def mismatch(place: str, status: SchemaStatus) -> str:
    """What to tell whoever meets a schema that is not current."""
    found = f"{place}: the schema is at revision {status.revision}, this version of extauthz needs {status.needed}; "
    if status.state is SchemaState.OLDER:
        return found + "run `extauthz db upgrade`"
    return found + "it was upgraded by a newer version: use that one (`extauthz db upgrade` never goes back)"
