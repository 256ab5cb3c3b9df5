"""Which plans the tenants of an SQLite file are on."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from extauthz.providers.plan_use import PlanInUse, plans_in, plans_query
from extauthz.providers.sqlite_errors import translated
from extauthz.providers.sqlite_file import connect


def plans_in_use(path: Path) -> Sequence[PlanInUse]:
    """Every plan that somebody has. Blocks.

    Raises:
        ProviderError: the file can't be opened or read.
    """
    try:
        with closing(connect(path)) as connection:
            return plans_in(connection.execute(plans_query("billing")))
    except sqlite3.Error as error:
        raise translated(path, error) from error
