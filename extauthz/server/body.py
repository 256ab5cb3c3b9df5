"""The JSON body of a denial (spec 3.6). It holds the words of the table, the limit, and nothing else the client sent."""

import json
from collections.abc import Mapping
from typing import Final

from extauthz.model.billing import from_micros
from extauthz.model.decision import BillingBlocked, Denial, Detail, LifecycleBlocked, LimitExceeded, RateLimited
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import Dimension
from extauthz.server.status import Row

_MESSAGES: Final[Mapping[LifecycleState, str]] = {
    LifecycleState.ACTIVE: "This tenant is active.",
    LifecycleState.SUSPENDED: "This tenant is suspended.",
    LifecycleState.TERMINATED: "This tenant is terminated.",
    LifecycleState.ARCHIVED: "This tenant is archived.",
}


def body(denial: Denial, row: Row, request_id: str) -> str:
    """The body, ASCII only. `request_id` empty: there is none."""
    content: dict[str, object] = {"error": row.error, "gate": denial.gate, "reason": denial.reason}
    if denial.detail is not None:
        content |= _details(denial.detail)
    if row.ratelimited:
        content["retry_after_ms"] = max(1, denial.retry_after_ms or 0)
    if request_id:
        content["request_id"] = request_id
    return json.dumps(content)


def _details(detail: Detail) -> dict[str, object]:
    match detail:
        case LifecycleBlocked():
            return {
                "state": detail.state,
                "message": _MESSAGES[detail.state],
                "allowed_states": detail.allowed_states,
            }
        case BillingBlocked():
            return {"billing_state": detail.billing_state, "next_action": "contact_support"}
        case LimitExceeded():
            return _limit(detail)
        case RateLimited():
            return {"dimension": detail.dimension}


def _limit(detail: LimitExceeded) -> dict[str, object]:
    if detail.dimension is Dimension.COST:
        return {
            "limit": "max_cost_per_day",
            "current_value": from_micros(detail.current),
            "allowed_value": from_micros(detail.allowed),
        }
    found: dict[str, object] = {
        "limit": "max_requests_per_day",
        "current_value": detail.current,
        "allowed_value": detail.allowed,
        "plan": detail.plan_id,
    }
    if detail.billing_state is not None:
        found["billing_state"] = detail.billing_state
    return found
