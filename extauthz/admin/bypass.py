"""The emergency bypass of a gate: see, set, lift (spec sections 3.7 and 4)."""

from aiohttp import web

from extauthz.admin.answers import answer, change_of, read_body
from extauthz.admin.forms import BypassForm, ReasonForm
from extauthz.admin.services import SERVICES
from extauthz.admin.views import bypass_view, listed_bypass

routes = web.RouteTableDef()


@routes.get("/bypass")
async def list_bypasses(request: web.Request) -> web.Response:
    """Every gate that may be bypassed, and whether it is."""
    services = request.app[SERVICES]
    now = services.wall()
    return answer({"bypass": [listed_bypass(bypass, now) for bypass in services.operations.bypass.all()]})


@routes.put("/bypass/{gate}")
async def set_bypass(request: web.Request) -> web.Response:
    """Take a gate out of service for `ttl` from now; set again, the new time holds."""
    form = await read_body(request, BypassForm)
    services = request.app[SERVICES]
    change = change_of(request, form.reason)
    made = await services.operations.bypass.begin(request.match_info["gate"], form.ttl, change)
    return answer(bypass_view(made, change.at))


@routes.delete("/bypass/{gate}")
async def lift_bypass(request: web.Request) -> web.Response:
    """Put a gate back in service; where it is, that is what the answer says."""
    form = await read_body(request, ReasonForm)
    services = request.app[SERVICES]
    change = change_of(request, form.reason)
    return answer(bypass_view(await services.operations.bypass.end(request.match_info["gate"], change), change.at))
