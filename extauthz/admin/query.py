"""The parameters after the `?`: each route says which it takes, and every other is refused, on every path.

A mistyped name that is passed over would make a call mean something else: clear everybody, where one tenant was meant.
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from extauthz.admin.answers import bad_request
from extauthz.config.problems import did_you_mean

_SHOWN: Final = 64
"""Letters of a name that an error repeats."""

_TAKEN: Final[dict[Handler, tuple[str, ...]]] = {}
"""The names that a handler takes; one that is not here takes none."""


def takes(*names: str) -> Callable[[Handler], Handler]:
    """Say which query parameters a handler takes; written below its route."""

    def note(handler: Handler) -> Handler:
        _TAKEN[handler] = names
        return handler

    return note


def only_known_parameters() -> Middleware:
    """Parameters that the route does not take, or that are given twice, are 400."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.query and request.match_info.http_exception is None:  # else the path is what is wrong
            _require_known(request, _TAKEN.get(request.match_info.handler, ()))
        return await handler(request)

    return middleware


def _require_known(request: web.Request, known: tuple[str, ...]) -> None:
    for name in request.query:
        if name not in known:
            allowed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise bad_request(f"unknown parameter {name[:_SHOWN]!r}; {did_you_mean(name, known) or allowed}")
    twice = [name for name in known if len(request.query.getall(name, [])) > 1]
    if twice:
        raise bad_request(f"parameter {', '.join(twice)} is there more than once")
