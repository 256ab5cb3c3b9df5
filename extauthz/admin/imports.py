"""Tenants in numbers: adding a batch (spec section 8)."""

from collections import Counter
from collections.abc import Sequence

from aiohttp import web

from extauthz.admin.answers import answer, bad_request, change_of, read_body
from extauthz.admin.forms import ImportedTenant, ImportForm
from extauthz.admin.services import SERVICES, AdminServices
from extauthz.model.billing import BillingRecord
from extauthz.model.lifecycle import Change, LifecycleRecord, Tenant

routes = web.RouteTableDef()


@routes.post("/tenants/import")
async def import_tenants(request: web.Request) -> web.Response:
    """Add those that are not there yet, all or nothing; how many were added or there already, and who was kept as it is."""
    form = await read_body(request, ImportForm)
    services = request.app[SERVICES]
    _require_distinct(form.tenants)
    _require_plans(services, form.tenants)
    change = change_of(request, form.reason)
    billing = {each.id: BillingRecord(state=each.billing_state, plan_id=each.plan) for each in form.tenants}
    tenants = [_tenant(each, change) for each in form.tenants]
    keep = form.on_conflict == "keep"
    imported = await services.imports.import_tenants(tenants, billing, change, keep=keep)
    return answer({"created": imported.created, "existing": imported.existing, "kept": imported.kept})


def _tenant(given: ImportedTenant, change: Change) -> Tenant:
    return Tenant(
        tenant_id=given.id,
        name=given.name or given.id,
        record=LifecycleRecord(state=given.lifecycle, onboarding=given.onboarding),
        created_at=change.at if given.created_at is None else given.created_at,
    )


def _require_distinct(tenants: Sequence[ImportedTenant]) -> None:
    twice = [tenant_id for tenant_id, times in Counter(each.id for each in tenants).items() if times > 1]
    if twice:
        raise bad_request(f"tenants: more than once: {', '.join(twice)}")


def _require_plans(services: AdminServices, tenants: Sequence[ImportedTenant]) -> None:
    unknown = {each.plan for each in tenants if each.plan is not None and services.plans.find(each.plan) is None}
    if unknown:
        known = ", ".join(sorted(services.plans.plans))
        raise bad_request(f"tenants: the configuration has no plan {', '.join(sorted(unknown))}; it has {known}")
