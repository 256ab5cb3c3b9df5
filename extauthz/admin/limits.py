"""Usage that is reported afterwards, and rate-limit state (spec section 3.5)."""

from aiohttp import web

from extauthz.admin.answers import answer, change_of, queried_tenant, read_body, read_exact_body
from extauthz.admin.forms import ReasonForm, UsageForm
from extauthz.admin.query import takes
from extauthz.admin.services import SERVICES, AdminServices
from extauthz.errors import NotFound
from extauthz.model.billing import from_micros
from extauthz.model.deadline import Deadline
from extauthz.ports import Unavailable
from extauthz.resilience.bounded import within

routes = web.RouteTableDef()


@routes.post("/usage")
async def report_usage(request: web.Request) -> web.Response:
    """Add cost that is known only afterwards; the same key again within a day adds nothing. A report, so without a reason."""
    form = await read_exact_body(request, UsageForm)
    services = request.app[SERVICES]
    await _require_tenant(services, form.tenant)
    reported = services.protection.record_usage(form.tenant, form.cost, form.idempotency_key)
    usage = await within(services.provider_timeout, reported)
    return answer({"cost_today": from_micros(usage.cost_today)})


@routes.delete("/ratelimits")
@takes("tenant")
async def clear_limits(request: web.Request) -> web.Response:
    """Forget rate and burst state and the day's counts of `?tenant=`, or of all."""
    tenant = queried_tenant(request)
    form = await read_body(request, ReasonForm)
    services = request.app[SERVICES]
    if tenant is not None:
        await _require_tenant(services, tenant)
    await services.limits.clear(tenant, change_of(request, form.reason))
    return answer({"tenant": tenant, "cleared": True})


async def _require_tenant(services: AdminServices, tenant_id: str) -> None:
    """Whoever is unknown is refused; where nobody can say, the tenant gets the benefit of the doubt, as at the gates.

    Raises:
        NotFound: there is no such tenant.
    """
    deadline = Deadline.after(services.provider_timeout, services.clock)
    try:
        found = await services.lifecycle_lookup.get(tenant_id, deadline)
    except Unavailable:
        return
    if found.value is None:
        raise NotFound(f"there is no tenant {tenant_id!r}")
