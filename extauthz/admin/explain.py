"""What would be decided and why, and what the service runs with."""

from aiohttp import web

from extauthz.admin.answers import answer, read_body
from extauthz.admin.forms import CheckForm
from extauthz.admin.services import SERVICES
from extauthz.admin.views import decision_view

routes = web.RouteTableDef()


@routes.post("/check")
async def check(request: web.Request) -> web.Response:
    """One decision explained; nothing is charged."""
    form = await read_body(request, CheckForm)
    services = request.app[SERVICES]
    decision = await services.explain(form.tenant, form.method.upper(), form.path)
    return answer(decision_view(decision, services.status_of(decision)))


@routes.get("/config")
async def config(request: web.Request) -> web.Response:
    """The effective configuration, secrets masked."""
    return answer(request.app[SERVICES].show_config())
