"""Talking to the admin port, and what to say when it does not answer as hoped."""

import asyncio
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import click

from extauthz.cli.app import Stop
from extauthz.cli.screen import Json, show_json
from extauthz.model.identity import is_valid_id

if TYPE_CHECKING:
    import aiohttp

DEFAULT_URL: Final = "http://127.0.0.1:9190"
TOKEN_VARIABLE: Final = "EXTAUTHZ_ADMIN_TOKEN"  # noqa: S105 - the name of a variable


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
        """
        url = self.url + "".join(f"/{quote(step, safe='')}" for step in path)
        if query:
            url += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return asyncio.run(_call(self, method, url, body))

    def show(self, content: Json, table: Callable[[Json], None]) -> None:
        """Show an answer as `--output` wants it."""
        if self.as_json:
            show_json(content)
        else:
            table(content)


def talks_to_admin(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--admin`, `--token` and `--output`, and as its first argument the port they describe."""

    @click.option(
        "--admin", default=DEFAULT_URL, show_default=True, metavar="URL", help="The admin port of the service."
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


reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why; it stands in the audit trail.")


class TenantId(click.ParamType[str]):
    """The id of a tenant, checked before it becomes part of a URL."""

    name = "tenant"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id itself."""
        if not is_valid_id(value):
            self.fail(
                f"{value!r} is no tenant's id: 1 to 128 letters, digits, _, . and -, beginning with a letter or digit",
                param,
                ctx,
            )
        return value


TENANT: Final = TenantId()


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter(f"must be a URL such as {DEFAULT_URL}", param_hint="--admin")
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise click.BadParameter(f"must be printable ASCII (--token or {TOKEN_VARIABLE})", param_hint="--token")
    return token


async def _call(port: AdminPort, method: str, url: str, body: Json | None) -> Json:
    import aiohttp  # noqa: PLC0415 - a fifth of a second that `--help` does not need
    from yarl import URL  # noqa: PLC0415 - see above

    headers = {"accept": "application/json"} | ({"authorization": f"Bearer {port.token}"} if port.token else {})
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=port.timeout)) as session,
            session.request(
                method, URL(url, encoded=True), json=body, headers=headers, allow_redirects=False
            ) as response,
        ):
            return _read(port, response.status, await response.read())
    except TimeoutError:
        raise Stop(
            f"the admin port at {port.url} gave no answer within {port.timeout:g} s; is the service stuck?"
        ) from None
    except (aiohttp.ClientError, OSError) as error:
        raise Stop(f"cannot reach the admin port at {port.url}: {_why(error)}") from None


def _why(error: "aiohttp.ClientError | OSError") -> str:
    import aiohttp  # noqa: PLC0415 - see _call

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no such host; give the right one with --admin URL"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed; is it http:// rather than https://?"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nothing listens there; start `extauthz serve`, or give the right address with --admin URL"
    return "what answers there does not speak HTTP, or went away; is this the admin port?"


def _read(port: AdminPort, status: int, raw: bytes) -> Json:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Stop(
            f"{port.url} answered {status} with something that is no JSON object; is this the admin port of extauthz?"
        )
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise Stop(_refusal(port, status, content))
    return content


def _refusal(port: AdminPort, status: int, content: Json) -> str:
    code = str(content.get("error", status))
    detail = f"{code}: {content['detail']}" if content.get("detail") else code
    if status == HTTPStatus.UNAUTHORIZED:
        state = "is not the right one" if port.token else "is missing"
        return f"the admin token {state}: set {TOKEN_VARIABLE} to the token that the service was started with"
    if code == "admin_disabled":
        return f"the service has no admin token: start it with {TOKEN_VARIABLE} or admin.token_file set, then try again"
    if code == "foreign_host":
        return f"{detail} (the name in --admin URL must be listed there)"
    return "".join(letter if letter.isprintable() else " " for letter in detail)
