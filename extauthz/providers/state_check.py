"""What is wrong with the rows of a state database, in words: pure, for every database that has these tables."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from extauthz.errors import InvalidRecord
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import LifecycleState
from extauthz.providers import state_rows
from extauthz.providers.state_rows import AUDIT_COLUMNS, KEY_COLUMNS, PLAN_COLUMNS, TENANT_COLUMNS, Row

_ENDED: Final = frozenset({LifecycleState.TERMINATED.value, LifecycleState.ARCHIVED.value})
_KEY_WIDTH: Final = len(KEY_COLUMNS.split(","))


def faults(fetch: Callable[[str], Iterable[Row]], *, tenants_here: bool) -> Iterator[str]:
    """One sentence for each fault. `fetch` gives the rows of a query.

    `tenants_here` False: tenants live in another store, so that none being here is no fault.
    """
    for query, judge in CHECKS:
        for row in fetch(query):
            yield from judge(row, tenants_here)


def _tenant(row: Row, _tenants_here: bool) -> Iterator[str]:  # noqa: FBT001 - one shape for all judges
    yield from _unreadable(state_rows.tenant, row)


def _billing(row: Row, tenants_here: bool) -> Iterator[str]:  # noqa: FBT001 - one shape for all judges
    tenant_id, state, plan_id, there = row
    yield from _unreadable(
        lambda it: state_rows.billing_record(f"billing of tenant {tenant_id!r}", it), (state, plan_id)
    )
    if tenants_here and there is None:
        yield f"billing of tenant {tenant_id!r}: there is no such tenant"


def _key(row: Row, tenants_here: bool) -> Iterator[str]:  # noqa: FBT001 - one shape for all judges
    key, (there, state) = row[:_KEY_WIDTH], row[_KEY_WIDTH:]
    key_id, tenant_id, revoked_at = key[0], key[1], key[-1]
    yield from _unreadable(state_rows.api_key, key)
    if tenants_here and there is None and tenant_id != SYSTEM_TENANT:
        yield f"key {key_id!r}: there is no tenant {tenant_id!r}"
    if state in _ENDED and revoked_at is None:
        yield f"key {key_id!r} is live, but tenant {tenant_id!r} is {state}"


def _plan(row: Row, tenants_here: bool) -> Iterator[str]:  # noqa: FBT001 - one shape for all judges
    *plan, there = row
    yield from _unreadable(state_rows.termination_plan, plan)
    if tenants_here and there is None:
        yield f"planned termination of tenant {plan[0]!r}: there is no such tenant"


def _audit(row: Row, _tenants_here: bool) -> Iterator[str]:  # noqa: FBT001 - one shape for all judges
    yield from _unreadable(state_rows.audit_record, row)


def _unreadable(read: Callable[[Row], object], row: Row) -> Iterator[str]:
    try:
        read(row)
    except InvalidRecord as fault:
        yield str(fault)


def _all(table: str, columns: str, order: str) -> str:
    return f"SELECT {columns} FROM {table} ORDER BY {order}"  # noqa: S608 - all constants of ours


def _with_tenant(table: str, columns: str, order: str, more: str = "") -> str:
    """The table's columns, then the id of the tenant that is there, and `more` of its columns."""
    its = ", ".join(f"{table}.{column.strip()}" for column in columns.split(","))
    join = f"{table} LEFT JOIN tenants ON tenants.tenant_id = {table}.tenant_id"
    return _all(join, f"{its}, tenants.tenant_id{more}", f"{table}.{order}")


CHECKS: Final[tuple[tuple[str, Callable[[Row, bool], Iterator[str]]], ...]] = (
    (_all("tenants", TENANT_COLUMNS, "tenant_id"), _tenant),
    (_with_tenant("billing", "tenant_id, state, plan_id", "tenant_id"), _billing),
    (_with_tenant("api_keys", KEY_COLUMNS, "key_id", ", tenants.state"), _key),
    (_with_tenant("planned_terminations", PLAN_COLUMNS, "tenant_id"), _plan),
    (_all("audit", AUDIT_COLUMNS, "id"), _audit),
)
"""The queries, in plain SQL, and what judges each of their rows (`tenants_here` as in `faults`)."""
