"""The application: which path is whose, and what every request goes through first."""

from typing import Final

from aiohttp import web

from extauthz.admin import breakers, bypass, caches, explain, health, imports, keys, limits, tenants
from extauthz.admin.access import answers_in_time, bodies_in_time, errors_as_json, only_the_allowed
from extauthz.admin.query import only_known_parameters
from extauthz.admin.services import SERVICES, AdminAccess, AdminServices

MAX_BODY: Final = 64 * 1024


def build_app(services: AdminServices, access: AdminAccess) -> web.Application:
    """The admin port as an aiohttp application."""
    app = web.Application(
        middlewares=[
            errors_as_json(),
            only_the_allowed(access),
            only_known_parameters(),
            bodies_in_time(),
            answers_in_time(services.answer_timeout),
        ],
        client_max_size=MAX_BODY,
    )
    app[SERVICES] = services
    for noun in (health, imports, tenants, keys, limits, breakers, caches, bypass, explain):
        app.add_routes(noun.routes)
    return app
