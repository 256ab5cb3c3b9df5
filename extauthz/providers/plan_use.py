"""Which plans tenants are on: the same question for every database that has the table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extauthz.providers.state_rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInUse:
    """A plan that `tenants` have, `example` being one of them."""

    plan_id: str
    tenants: int
    example: str


def plans_query(table: str) -> str:
    """Asks for every plan that somebody has; the default plan of those who have none is not among them."""
    return f"""
        SELECT plan_id, count(*), min(tenant_id) FROM {table}
        WHERE plan_id IS NOT NULL GROUP BY plan_id ORDER BY plan_id
    """  # noqa: S608 - the name of a table of ours


def plans_in(rows: Iterable[Row]) -> Sequence[PlanInUse]:
    """The rows of that query."""
    return [PlanInUse(plan_id=str(plan), tenants=int(str(count)), example=str(first)) for plan, count, first in rows]
