"""Values for tests, with everything that does not matter filled in."""

from collections.abc import Mapping

from extauthz.model.billing import Limits, Plan, PlanBook, Tier
from extauthz.model.identity import OPERATOR_SCOPE, SYSTEM_TENANT, AuthMethod, Principal
from extauthz.model.request import CheckRequest

TENANT = "acme"
KEY = "key-of-acme"
OPERATOR_KEY = "key-of-operator"


def make_request(
    path: str = "/api/v1/things",
    method: str = "GET",
    *,
    key: str | None = KEY,
    headers: Mapping[str, str] | None = None,
    context_extensions: Mapping[str, str] | None = None,
) -> CheckRequest:
    """A request with `key` in `x-api-key`; None for a request without."""
    presented = {} if key is None else {"x-api-key": key}
    return CheckRequest(
        method=method,
        path=path,
        headers={**presented, **(headers or {})},
        context_extensions=context_extensions or {},
        request_id="request-1",
    )


def make_principal(
    tenant_id: str = TENANT,
    *,
    method: AuthMethod = AuthMethod.API_KEY,
    subject: str = "key-1",
    scopes: frozenset[str] = frozenset(),
) -> Principal:
    """A caller of that tenant."""
    return Principal(tenant_id=tenant_id, method=method, subject=subject, scopes=scopes)


def make_operator() -> Principal:
    """A caller with an operator credential."""
    return make_principal(SYSTEM_TENANT, subject="operator-1", scopes=frozenset({OPERATOR_SCOPE}))


def make_plan(
    plan_id: str = "pro",
    *,
    rate: int | None = 600,
    burst: int | None = 50,
    per_day: int | None = 10_000,
    cost_per_day: int | None = 100_000_000,
) -> Plan:
    """A plan; limits of None are unlimited, `cost_per_day` is in micro-units."""
    limits = Limits(rate=rate, burst=burst, max_requests_per_day=per_day, max_cost_per_day=cost_per_day)
    return Plan(plan_id=plan_id, name=plan_id.title(), tier=Tier.PRO, limits=limits)


def make_plans(*plans: Plan, default: Plan | None = None) -> PlanBook:
    """A book of `plans` and of the default one (`free`, with rate 60 and burst 10)."""
    fallback = default or make_plan("free", rate=60, burst=10, per_day=1_000, cost_per_day=5_000_000)
    return PlanBook(plans={plan.plan_id: plan for plan in (*plans, fallback)}, default=fallback)
