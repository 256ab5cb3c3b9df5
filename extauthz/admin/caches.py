"""What is remembered of the providers' answers: see and clear (spec section 7)."""

from aiohttp import web

from extauthz.admin.answers import answer, change_of, queried_tenant, read_body
from extauthz.admin.forms import ReasonForm
from extauthz.admin.query import takes
from extauthz.admin.services import SERVICES
from extauthz.admin.views import cache_view

routes = web.RouteTableDef()


@routes.get("/caches")
async def list_caches(request: web.Request) -> web.Response:
    """Every cache of this process."""
    return answer({"caches": [cache_view(cache) for cache in request.app[SERVICES].operations.caches.all()]})


@routes.delete("/caches/{provider}")
@takes("tenant")
async def clear_cache(request: web.Request) -> web.Response:
    """Make what is fresh of `?tenant=`, or of all, go; what denies stays as last known."""
    tenant = queried_tenant(request)
    form = await read_body(request, ReasonForm)
    provider = request.match_info["provider"]
    done = await request.app[SERVICES].operations.caches.clear(provider, tenant, change_of(request, form.reason))
    return answer({"provider": provider, "tenant": tenant, "cleared": done.cleared, "kept": done.kept})
