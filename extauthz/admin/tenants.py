"""Tenants: list, create, look up, and move along their tables."""

from aiohttp import web

from extauthz.admin.answers import answer, bad_request, change_of, read_body, tenant_id, tenant_or_system
from extauthz.admin.forms import BillingForm, NewTenantForm, OnboardingForm, TransitionForm
from extauthz.admin.query import takes
from extauthz.admin.services import SERVICES, AdminServices
from extauthz.admin.views import audit_view, listed_tenant, standing_view, tenant_view
from extauthz.changes import NewTenant
from extauthz.errors import NotFound
from extauthz.model.identity import SYSTEM_TENANT, is_valid_id

MAX_PAGE = 1000

routes = web.RouteTableDef()


@routes.get("/tenants")
@takes("after", "limit", "billing")
async def list_tenants(request: web.Request) -> web.Response:
    """A page of tenants by id: `?after=` the last id of the page before, `?limit=` up to 1000, `?billing=1` with standings."""
    after, limit = request.query.get("after", ""), request.query.get("limit", "100")
    billing = request.query.get("billing", "0")
    if after and not is_valid_id(after):
        raise bad_request("after: must be a tenant's id")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:5]) <= MAX_PAGE):
        raise bad_request(f"limit: must be a number from 1 to {MAX_PAGE}")
    if billing not in {"0", "1"}:
        raise bad_request("billing: must be 0 or 1")
    stores = request.app[SERVICES].stores
    page = await stores.lifecycle.list_tenants(after, int(limit))
    more = page[-1].tenant_id if len(page) == int(limit) else None
    shown = [listed_tenant(tenant) for tenant in page]
    if billing == "1":
        standings = await stores.billing.find_standings([tenant.tenant_id for tenant in page])
        shown = [
            each | standing_view(standings.get(tenant.tenant_id)) for each, tenant in zip(shown, page, strict=True)
        ]
    return answer({"tenants": shown, "next": more})


@routes.post("/tenants")
async def create_tenant(request: web.Request) -> web.Response:
    """Add a tenant; 201 with what GET would show."""
    form = await read_body(request, NewTenantForm)
    services = request.app[SERVICES]
    _require_plan(services, form.plan)
    new = NewTenant(
        tenant_id=form.id,
        name=form.name or form.id,
        onboarding=form.onboarding,
        billing=form.billing_state,
        plan_id=form.plan,
    )
    await services.tenants.create_tenant(new, change_of(request, form.reason))
    return answer(await tenant_view(services, form.id, fresh=False), 201)


@routes.get("/tenants/{tenant}")
@takes("fresh")
async def get_tenant(request: web.Request) -> web.Response:
    """One tenant as the gates see it; `?fresh=1` looks past the cache."""
    fresh = request.query.get("fresh", "0")
    if fresh not in {"0", "1"}:
        raise bad_request("fresh: must be 0 or 1")
    return answer(await tenant_view(request.app[SERVICES], tenant_id(request), fresh=fresh == "1"))


@routes.put("/tenants/{tenant}/onboarding")
async def set_onboarding(request: web.Request) -> web.Response:
    """`PENDING` to `COMPLETE`."""
    tenant = tenant_id(request)
    form = await read_body(request, OnboardingForm)
    services = request.app[SERVICES]
    await services.tenants.set_onboarding(tenant, form.state, change_of(request, form.reason))
    return answer(await tenant_view(services, tenant, fresh=False))


@routes.post("/tenants/{tenant}/lifecycle")
async def move(request: web.Request) -> web.Response:
    """Move along the table of transitions; 202 where replicas have not confirmed that they block a terminated tenant."""
    tenant = tenant_id(request)
    form = await read_body(request, TransitionForm)
    change = change_of(request, form.reason)
    made = await request.app[SERVICES].tenants.transition(tenant, form.to, change)
    done = {"from": made.from_state.value, "to": made.to_state.value, "revoked_keys": made.revoked_keys}
    return answer({**done, "pending_replicas": made.pending_replicas}, 202) if made.pending_replicas else answer(done)


@routes.get("/tenants/{tenant}/history")
async def history(request: web.Request) -> web.Response:
    """The audit trail, oldest first; that of `_system` has what concerns no tenant alone."""
    tenant = tenant_or_system(request)
    services = request.app[SERVICES]
    records = await services.tenants.history(tenant)
    if not records and tenant != SYSTEM_TENANT and await services.stores.lifecycle.get_tenant(tenant) is None:
        raise NotFound(f"there is no tenant {tenant!r}")
    return answer({"history": [audit_view(record) for record in records]})


@routes.put("/tenants/{tenant}/billing")
async def set_billing(request: web.Request) -> web.Response:
    """Standing, plan or both."""
    tenant = tenant_id(request)
    form = await read_body(request, BillingForm)
    if form.state is None and form.plan is None:
        raise bad_request("body: give state, plan or both")
    services = request.app[SERVICES]
    _require_plan(services, form.plan)
    change = change_of(request, form.reason)
    await services.billing.set_billing(tenant, change, state=form.state, plan_id=form.plan)
    return answer(await tenant_view(services, tenant, fresh=False))


def _require_plan(services: AdminServices, plan: str | None) -> None:
    if plan is not None and services.plans.find(plan) is None:
        raise bad_request(f"plan: the configuration has no such plan; it has {', '.join(sorted(services.plans.plans))}")
