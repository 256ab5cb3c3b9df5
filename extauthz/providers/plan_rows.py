"""Planned terminations read row by row: one that is damaged must not keep the others from being finished."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from extauthz.errors import InvalidRecord
from extauthz.model.lifecycle import Change
from extauthz.providers import state_rows
from extauthz.providers.state_rows import Row

_log: Final = logging.getLogger(__name__)


class PlanReader:
    """Reads the plans of one store, which is asked again and again; a row that can't be read is logged the first time."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def read(self, rows: Iterable[Row]) -> Sequence[tuple[str, Change]]:
        """Rows of PLAN_COLUMNS: whose terminations were begun, and by which changes. Unreadable ones are passed over."""
        plans: list[tuple[str, Change]] = []
        damaged: set[str] = set()
        for row in rows:
            try:
                plans.append(state_rows.termination_plan(row))
            except InvalidRecord as error:
                damaged.add(str(error))
        for text in sorted(damaged - self._told):
            _log.error("a planned termination cannot be read and is not finished: %s", text)
        self._told = damaged
        return tuple(plans)
