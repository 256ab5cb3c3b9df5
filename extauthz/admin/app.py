"""The application: which path is whose, and what every request goes through first."""

from typing import Final

from aiohttp import web

from extauthz.admin import explain, health, keys, tenants
from extauthz.admin.access import bodies_in_time, errors_as_json, only_the_allowed
from extauthz.admin.services import SERVICES, AdminAccess, AdminServices

MAX_BODY: Final = 64 * 1024


def build_app(services: AdminServices, access: AdminAccess) -> web.Application:
    """The admin port as an aiohttp application."""
    app = web.Application(
        middlewares=[errors_as_json(), only_the_allowed(access), bodies_in_time()], client_max_size=MAX_BODY
    )
    app[SERVICES] = services
    for noun in (health, tenants, keys, explain):
        app.add_routes(noun.routes)
    return app
