"""Which plans the tenants of an SQLite file are on."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.providers.sqlite_errors import translated
from extauthz.providers.sqlite_file import connect

_PLANS: Final = """
    SELECT plan_id, count(*), min(tenant_id) FROM billing WHERE plan_id IS NOT NULL GROUP BY plan_id ORDER BY plan_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInUse:
    """A plan that `tenants` have, `example` being one of them."""

    plan_id: str
    tenants: int
    example: str


def plans_in_use(path: str | Path) -> Sequence[PlanInUse]:
    """Every plan that somebody has; the default plan of those who have none is not among them. Blocks.

    Raises:
        ProviderError: the file can't be opened or read.
    """
    try:
        with closing(connect(Path(path))) as connection:
            found = connection.execute(_PLANS).fetchall()
    except sqlite3.Error as error:
        raise translated(Path(path), error) from error
    return [PlanInUse(plan_id=str(plan), tenants=int(count), example=str(first)) for plan, count, first in found]
