"""The open paths: is it alive, is it ready, how are its parts, what does it count."""

from collections.abc import Mapping

from aiohttp import web

from extauthz.admin.answers import answer, rfc3339
from extauthz.admin.services import SERVICES, AdminServices, LastReload
from extauthz.admin.views import bypass_end

routes = web.RouteTableDef()


@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    """Alive: 503 when the event loop was blocked for a second."""
    live = request.app[SERVICES].live()
    return answer({"status": "ok" if live else "event_loop_blocked"}, 200 if live else 503)


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    """Ready to answer checks from warm code; providers don't matter, every gate has an answer without them."""
    ready = request.app[SERVICES].ready()
    return answer({"status": "ok" if ready else "not_ready"}, 200 if ready else 503)


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Each provider: status, breaker, class of the last error, latency; what is set by hand; what the last reload came to.

    Always 200: a degraded service does its work.
    """
    services = request.app[SERVICES]
    components = services.components()
    degraded = any(component.status != "ok" for component in components.values())
    shown = {
        name: {
            "status": component.status,
            "breaker": component.breaker.value,
            "last_error": component.last_error,
            "latency_ms": component.latency_ms,
        }
        for name, component in components.items()
    }
    content = {"status": "degraded" if degraded else "ok", "components": shown}
    return answer(content | _by_hand(services) | {"last_reload": _reload(services.last_reload())})


def _by_hand(services: AdminServices) -> dict[str, object]:
    """The gates that are bypassed, with the end (None: there is none); the circuits that somebody opened, untried since."""
    bypasses, now = services.operations.bypass.all(), services.wall()
    return {
        "bypassed": {bypass.gate.value: bypass_end(bypass, now) for bypass in bypasses if bypass.active},
        "opened_by_hand": sorted(services.operations.breakers.opened_by_hand),
    }


def _reload(last: LastReload | None) -> Mapping[str, object] | None:
    """None where the configuration is as it was read at the start."""
    if last is None:
        return None
    restart = list(last.needs_restart)
    return {"at": rfc3339(last.at), "result": last.result, "error": last.error, "needs_restart": restart}


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Prometheus's text format, or OpenMetrics where the caller accepts it."""
    content_type, text = request.app[SERVICES].render_metrics(request.headers.get("accept", ""))
    return web.Response(body=text, headers={"content-type": content_type})
