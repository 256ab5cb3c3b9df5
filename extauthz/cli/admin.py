"""What commands that talk to the admin port share: their options, and a call."""

import asyncio
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

import click

from extauthz.cli.admin_http import TOKEN_VARIABLE, AdminHttp
from extauthz.cli.screen import Json, show_json
from extauthz.model.identity import SYSTEM_TENANT, is_valid_id
from extauthz.model.lifecycle import MAX_REASON

DEFAULT_URL: Final = "http://127.0.0.1:9190"
URL_VARIABLE: Final = "EXTAUTHZ_ADMIN_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPort:
    """The admin port of a running service.

    `url` has no slash at its end; `token` empty means none is sent. `timeout` is for one call, in seconds: ending a tenant may
    take the service 5 s, until all replicas have confirmed.
    """

    url: str
    token: str = field(repr=False)
    as_json: bool = False
    timeout: float = 15.0

    def call(self, method: str, *path: str, body: Json | None = None, query: Mapping[str, str] | None = None) -> Json:
        """One call; the steps of `path` are quoted here. The answer's JSON object.

        Raises:
            Stop: there is no answer, or not the one hoped for; the message says what to do.
            UsageError: an argument is no text.
        """
        where = "".join(f"/{quote(step, safe='')}" for step in path)
        if query:
            where += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return asyncio.run(self._call(method, where, None if body is None else _encoded(body)))

    async def _call(self, method: str, where: str, body: bytes | None) -> Json:
        async with self.connected() as http:
            return await http.ask(method, where, body)

    def connected(self) -> AdminHttp:
        """For a command of many calls."""
        return AdminHttp(self.url, self.token, self.timeout)

    def show(self, content: Json, table: Callable[[Json], None]) -> None:
        """Show an answer as `--output` wants it."""
        if self.as_json:
            show_json(content)
        else:
            table(content)


def talks_to_admin(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--admin`, `--token` and `--output`, and as its first argument the port they describe."""

    @click.option(
        "--admin",
        envvar=URL_VARIABLE,
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        help=f"The admin port of the service; also in {URL_VARIABLE}.",
    )
    @click.option(
        "--token",
        envvar=TOKEN_VARIABLE,
        default="",
        help=f"The admin token; better in {TOKEN_VARIABLE}, where no list of processes shows it.",
    )
    @click.option(
        "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="What to print."
    )
    @functools.wraps(command)
    def wrapped(*args: object, admin: str, token: str, output: str, **kwargs: object) -> None:
        port = AdminPort(url=_checked_url(admin), token=_checked_token(token), as_json=output == "json")
        command(port, *args, **kwargs)

    return wrapped


class ReasonText(click.ParamType[str]):
    """The reason of a change, checked before anything is sent."""

    name = "reason"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        if not value.strip():
            self.fail("must say why", param, ctx)
        if len(value) > MAX_REASON:
            self.fail(f"has {len(value)} characters; {MAX_REASON} are the most", param, ctx)
        return value


REASON: Final = ReasonText()

reason_option = click.option(
    "--reason", type=REASON, required=True, metavar="TEXT", help="Why; it stands in the audit trail."
)


class TenantId(click.ParamType[str]):
    """The id of a tenant, checked before it becomes part of a URL; with `or_system` also `_system`."""

    name = "tenant"

    def __init__(self, *, or_system: bool = False) -> None:
        self._or_system = or_system

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id itself."""
        if not is_valid_id(value) and not (self._or_system and value == SYSTEM_TENANT):
            self.fail(
                f"{value!r} is no tenant's id: 1 to 128 letters, digits, _, . and -, beginning with a letter or digit",
                param,
                ctx,
            )
        return value


TENANT: Final = TenantId()
TENANT_OR_SYSTEM: Final = TenantId(or_system=True)
PROVIDER: Final = click.Choice(["credentials", "lifecycle", "billing", "protection"], case_sensitive=False)
"""The providers that have a circuit and a cache."""


def _encoded(body: Json) -> bytes:
    """What the shell gave us in another encoding than UTF-8 cannot be sent, and nobody may guess what it was."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise click.UsageError("an argument is not UTF-8") from None


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter(f"must be a URL such as {DEFAULT_URL} (or {URL_VARIABLE})", param_hint="--admin")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise click.BadParameter(f"must be printable ASCII (--token or {TOKEN_VARIABLE})", param_hint="--token")
    return token
