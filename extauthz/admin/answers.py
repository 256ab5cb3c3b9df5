"""JSON in and out, and errors as `{"error": …, "detail": …}`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from extauthz.admin.services import SERVICES
from extauthz.model.identity import SYSTEM_TENANT, Actor, ActorType, is_valid_id
from extauthz.model.lifecycle import Change

Body = TypeVar("Body", bound=BaseModel)

MAX_REQUEST_ID: Final = 128

ADMIN_ACTOR = Actor(type=ActorType.HUMAN, id="admin")
"""Whoever holds the admin token."""


class Refusal(Exception):
    """An answer that is an error. `code` is the word for programs, `detail` the sentence for people, `more` what else to say."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.more = more or {}


def answer(content: Mapping[str, object], status: int = 200) -> web.Response:
    """A JSON answer. Nothing of the admin port may be kept by a cache: keys are shown once."""
    return web.Response(
        body=orjson.dumps(content),
        status=status,
        content_type="application/json",
        headers={"cache-control": "no-store"},
    )


def refuse(refusal: Refusal) -> web.Response:
    """The answer to a refused request."""
    response = answer({"error": refusal.code, "detail": refusal.detail, **refusal.more}, refusal.status)
    response.headers.update(refusal.headers or {})
    return response


def bad_request(detail: str) -> Refusal:
    """400."""
    return Refusal(400, "invalid_request", detail)


async def read_body(request: web.Request, form: type[Body]) -> Body:
    """The request's JSON body as `form`.

    Raises:
        Refusal: 400, naming every field that is wrong.
    """
    try:
        content = orjson.loads(await _sent(request, form))
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not JSON: {error.msg}") from None
    return _as_form(content, form)


async def read_exact_body(request: web.Request, form: type[Body]) -> Body:
    """The request's JSON body as `form`; a number with a fraction comes as the `Decimal` that was written.

    Raises:
        Refusal: 400, naming every field that is wrong.
    """
    try:
        content = json.loads(await _sent(request, form), parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, InvalidOperation, RecursionError):
        raise bad_request("the body is not JSON") from None
    return _as_form(content, form)


async def _sent(request: web.Request, form: type[BaseModel]) -> bytes:
    """The body as it came; where none came, who sent the request is told what to send."""
    sent = await request.read()
    if not sent.strip():
        fields = ", ".join(f'"{name}": …' for name, field in form.model_fields.items() if field.is_required())
        raise bad_request(f"there is no body; send {{{fields}}}")
    return sent


def _no_number(name: str) -> NoReturn:
    """Python's reader knows NaN and Infinity, JSON does not."""
    raise ValueError(name)


def _as_form(content: object, form: type[Body]) -> Body:
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise bad_request("; ".join(fault_text(fault["loc"], fault["msg"]) for fault in error.errors())) from None


def fault_text(where: tuple[int | str, ...], message: str) -> str:
    """What pydantic has to say about a field, in our words."""
    name = ".".join(str(part) for part in where) or "body"
    return f"{name}: {message.removeprefix('Value error, ')}"


def tenant_id(request: web.Request) -> str:
    """The tenant of the path.

    Raises:
        Refusal: 400, not an id.
    """
    text = request.match_info["tenant"]
    if not is_valid_id(text):
        raise bad_request("tenant: must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
    return text


def tenant_or_system(request: web.Request) -> str:
    """The tenant of the path, or `_system`, which stands for the operators and the service itself.

    Raises:
        Refusal: 400, neither.
    """
    return SYSTEM_TENANT if request.match_info["tenant"] == SYSTEM_TENANT else tenant_id(request)


def queried_tenant(request: web.Request) -> str | None:
    """The tenant of `?tenant=`; None where there is none.

    Raises:
        Refusal: 400, not an id.
    """
    text = request.query.get("tenant")
    if text is not None and not is_valid_id(text):
        raise bad_request("tenant: must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
    return text


def rfc3339(seconds: float | None) -> str | None:
    """Unix seconds as people and programs read them; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def request_id(request: web.Request) -> str:
    """The caller's `x-request-id` for the audit record; empty where it is none that may stand in a log."""
    text = request.headers.get("x-request-id", "")
    return text if len(text) <= MAX_REQUEST_ID and text.isascii() and text.isprintable() else ""


def change_of(request: web.Request, reason: str) -> Change:
    """Who changes, why, and when."""
    now = request.app[SERVICES].wall()
    return Change(actor=ADMIN_ACTOR, reason=reason, at=now, request_id=request_id(request))
