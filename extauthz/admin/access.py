"""Who may talk to the admin port (spec section 7): a token, and no web page in an operator's browser."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from extauthz.admin.answers import Refusal, refuse
from extauthz.admin.services import AdminAccess
from extauthz.errors import ChangeRefused, ExtauthzError, ImportConflict, InvalidRecord
from extauthz.resilience.bounded import within

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/health", "/metrics"})
BODY_SECONDS: Final = 5.0
"""A client that takes longer for its body is cut off."""
_CONFIRMING: Final = "/tenants/{tenant}/lifecycle"
CONFIRMING_SECONDS: Final = 5.0
"""Replicas may take so long to confirm a termination, beyond what the stores take (OFFBOARD-006)."""

log = structlog.get_logger("extauthz.admin")


def errors_as_json() -> Middleware:
    """Every error leaves as JSON; what nobody foresaw as 500 without a word of its inside."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refuse(refusal)
        except ExtauthzError as error:
            return refuse(_from_ours(error))
        except web.HTTPException as error:
            return refuse(_from_aiohttp(error))
        except Exception:
            log.exception("admin_request_failed", path=request.path)
            return refuse(Refusal(500, "internal", "the service failed; its log says more"))

    return middleware


def _from_ours(error: ExtauthzError) -> Refusal:
    if isinstance(error, ChangeRefused):
        more = {"ids": error.ids} if isinstance(error, ImportConflict) else None
        return Refusal(error.status, error.code, str(error), more=more)
    if isinstance(error, InvalidRecord):
        return Refusal(500, "invalid_record", str(error))
    return Refusal(503, "provider_unavailable", str(error))


def _from_aiohttp(error: web.HTTPException) -> Refusal:
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    details = {404: "there is nothing at this path", 413: "bodies may have 64 KiB at most"}
    allow = error.headers.get("allow")
    detail = details.get(error.status, f"allowed here: {allow}" if allow else error.reason)
    return Refusal(
        error.status, codes.get(error.status, "invalid_request"), detail, {"allow": allow} if allow else None
    )


def only_the_allowed(access: AdminAccess) -> Middleware:
    """`Host`, `Origin` and the token, for everything but the open paths."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            _refuse_foreign(request, access)
            _require_token(request, access)
        return await handler(request)

    return middleware


def _refuse_foreign(request: web.Request, access: AdminAccess) -> None:
    """A web page in an operator's browser can neither name us by its own name (DNS rebinding) nor call us from its origin."""
    if _host_name(request.headers.get("host", "")) not in access.hosts:
        raise Refusal(403, "foreign_host", "this Host is not on the allow-list; add it to admin.hosts")
    origin = request.headers.get("origin")
    if origin is not None and (host_of(origin) not in access.hosts):
        raise Refusal(403, "foreign_origin", "requests of web pages from elsewhere are refused")


def _host_name(host: str) -> str:
    return host_of(f"//{host}")


def host_of(url: str) -> str:
    """The host of a URL in lower case, empty where it has none or is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _require_token(request: web.Request, access: AdminAccess) -> None:
    if access.token is None:
        detail = "no admin token is configured; set EXTAUTHZ_ADMIN_TOKEN or admin.token_file"
        raise Refusal(403, "admin_disabled", detail)
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), access.token.encode())
    if scheme.lower() != "bearer" or not same:
        headers = {"www-authenticate": 'Bearer realm="extauthz admin"'}
        raise Refusal(401, "unauthorized", "send `authorization: Bearer <admin token>`", headers)


def bodies_in_time() -> Middleware:
    """Read the body here, once, under a time limit; handlers get it from memory."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                await request.read()
        except TimeoutError:
            refusal = refuse(Refusal(408, "too_slow", f"the body must arrive within {BODY_SECONDS:g} s"))
            refusal.force_close()
            return refusal
        return await handler(request)

    return middleware


def answers_in_time(seconds: float) -> Middleware:
    """No call waits for a store for ever, whatever its driver does; a change goes on to its end all the same."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN_PATHS:
            return await handler(request)
        resource = request.match_info.route.resource
        confirming = resource is not None and resource.canonical == _CONFIRMING
        return await within(seconds + CONFIRMING_SECONDS * confirming, _called(handler, request))

    return middleware


async def _called(handler: Handler, request: web.Request) -> web.StreamResponse:
    """A coroutine, which a handler need not be."""
    return await handler(request)
