"""A file of tenants looked through before anything is sent: every fault with its line."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Final

from pydantic import ValidationError

from extauthz.admin.answers import fault_text
from extauthz.admin.forms import ImportedTenant
from extauthz.cli.tenant_rows import Row, RowFormat, Unreadable, read_rows

MAX_TOLD: Final = 50
"""Faults after which nobody reads on."""


_TELL_EVERY: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How many tenants the file has, and what is wrong with it, a line of text each; at most MAX_TOLD are looked for."""

    count: int
    faults: tuple[str, ...]


def _nobody(_count: int) -> None:
    """Nobody wants to know."""


def check_file(
    file: IO[bytes], form: RowFormat, plans: Collection[str] | None, tell: Callable[[int], None] = _nobody
) -> Checked:
    """Read the whole file. `plans` are those that the service has, None where that is not known; `tell` hears of progress."""
    faults: list[str] = []
    count = 0
    with closing(_Seen()) as seen:
        try:
            for row in read_rows(file, form):
                count += 1
                faults += [f"line {row.line}: {fault}" for fault in _faults(row, plans, seen)]
                if len(faults) >= MAX_TOLD:
                    break
                if count % _TELL_EVERY == 0:
                    tell(count)
        except Unreadable as unreadable:
            faults.append(f"line {unreadable.line}: {unreadable.fault}")
    return Checked(count=count, faults=tuple(faults[:MAX_TOLD]))


def _faults(row: Row, plans: Collection[str] | None, seen: "_Seen") -> Iterator[str]:
    if row.fault:
        yield row.fault
        return
    try:
        tenant = ImportedTenant.model_validate(row.fields)
    except ValidationError as error:
        for fault in error.errors():
            yield fault_text(fault["loc"], fault["msg"])
        return
    if plans is not None and tenant.plan is not None and tenant.plan not in plans:
        yield f"plan: the configuration has no plan {tenant.plan!r}; it has {', '.join(sorted(plans))}"
    before = seen.line_before(tenant.id, row.line)
    if before is not None:
        yield f"id: {tenant.id!r} stands in line {before} already"


def plans_of(config: Mapping[str, object]) -> Collection[str] | None:
    """The ids of the plans in an effective configuration; None where it shows none."""
    plans = config.get("plans")
    return frozenset(plans) if isinstance(plans, dict) else None


class _Seen:
    """The ids that came before. A database that SQLite keeps in a temporary file: memory stays flat for millions of ids."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def line_before(self, tenant_id: str, line: int) -> int | None:
        """The line in which this id stood before; None, and it is kept, where it is new."""
        if self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (tenant_id, line)).rowcount:
            return None
        (before,) = self._db.execute("SELECT line FROM seen WHERE id = ?", (tenant_id,)).fetchone()
        return int(before)

    def close(self) -> None:
        """Drop it."""
        self._db.close()
