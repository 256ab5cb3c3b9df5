"""API keys: list, issue (the secret is shown once), revoke."""

from aiohttp import web

from extauthz.admin.answers import answer, change_of, read_body, tenant_id, tenant_or_system
from extauthz.admin.forms import KeyForm, OperatorKeyForm, ReasonForm
from extauthz.admin.services import SERVICES
from extauthz.admin.views import key_view
from extauthz.errors import NotFound
from extauthz.model.identity import SYSTEM_TENANT

routes = web.RouteTableDef()


@routes.get("/tenants/{tenant}/keys")
async def list_keys(request: web.Request) -> web.Response:
    """All keys of a tenant (`_system`: of the operators), revoked ones too."""
    tenant = tenant_or_system(request)
    stores = request.app[SERVICES].stores
    keys = await stores.credentials.list_keys(tenant)
    if not keys and tenant != SYSTEM_TENANT and await stores.lifecycle.get_tenant(tenant) is None:
        raise NotFound(f"there is no tenant {tenant!r}")
    return answer({"keys": [key_view(key) for key in keys]})


@routes.post("/tenants/{tenant}/keys")
async def issue_key(request: web.Request) -> web.Response:
    """A new key; the only time its text is shown."""
    tenant = tenant_id(request)
    form = await read_body(request, KeyForm)
    change = change_of(request, form.reason)
    key, text = await request.app[SERVICES].keys.issue_key(tenant, frozenset(form.scopes), form.expires_in, change)
    return answer({"key_id": key.key_id, "key": text}, 201)


@routes.post("/operators/keys")
async def issue_operator_key(request: web.Request) -> web.Response:
    """A new operator key."""
    form = await read_body(request, OperatorKeyForm)
    change = change_of(request, form.reason)
    key, text = await request.app[SERVICES].keys.issue_operator_key(form.expires_in, change)
    return answer({"key_id": key.key_id, "key": text}, 201)


@routes.delete("/tenants/{tenant}/keys/{key}")
async def revoke_key(request: web.Request) -> web.Response:
    """Revoke one key; again is no error."""
    tenant = tenant_or_system(request)
    form = await read_body(request, ReasonForm)
    change = change_of(request, form.reason)
    return answer(key_view(await request.app[SERVICES].keys.revoke_key(tenant, request.match_info["key"], change)))
