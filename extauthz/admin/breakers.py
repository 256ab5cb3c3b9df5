"""The circuits of the providers: see and set (spec section 7)."""

from aiohttp import web

from extauthz.admin.answers import Refusal, answer, change_of, read_body
from extauthz.admin.forms import ReasonForm
from extauthz.admin.services import SERVICES
from extauthz.admin.views import breaker_view

routes = web.RouteTableDef()


@routes.get("/breakers")
async def list_breakers(request: web.Request) -> web.Response:
    """Every circuit of this process."""
    circuits = request.app[SERVICES].operations.breakers.all()
    return answer({"breakers": [breaker_view(circuit) for circuit in circuits]})


@routes.post("/breakers/{provider}/{action}")
async def set_breaker(request: web.Request) -> web.Response:
    """`close` it, so that the next call reaches the provider, or `open` it, for its reset time."""
    breakers = request.app[SERVICES].operations.breakers
    actions = {"close": breakers.close, "open": breakers.open}
    act = actions.get(request.match_info["action"])
    if act is None:
        raise Refusal(404, "not_found", f"a breaker knows {', '.join(actions)}")
    form = await read_body(request, ReasonForm)
    circuit = await act(request.match_info["provider"], change_of(request, form.reason))
    return answer({"provider": circuit.provider, "state": circuit.state.value})
