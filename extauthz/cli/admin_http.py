"""Calls to the admin port, and what to say when it does not answer as hoped."""

import json
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from extauthz.cli.app import Stop
from extauthz.cli.screen import Json

if TYPE_CHECKING:
    import aiohttp

TOKEN_VARIABLE: Final = "EXTAUTHZ_ADMIN_TOKEN"  # noqa: S105 - the name of a variable


class NoAnswer(Stop):
    """Nothing came back that could be understood; the same call may succeed a moment later."""


class Refused(Stop):
    """The service answered with an error: its HTTP `status`, and the `content` of the answer."""

    def __init__(self, message: str, status: int, content: Json) -> None:
        super().__init__(message)
        self.status = status
        self.content = content


class AdminHttp:
    """Connections to the admin port at `base`, kept open for as long as the context lasts.

    `token` empty means none is sent. `timeout` is for one call, in seconds.
    """

    def __init__(self, base: str, token: str, timeout: float) -> None:
        import aiohttp  # noqa: PLC0415 - a fifth of a second that `--help` does not need

        self._base = base
        self._has_token = bool(token)
        self._seconds = timeout
        headers = {"accept": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout), headers=headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Json:
        """One call; `path` is quoted already, `body` is JSON. The answer's JSON object.

        Raises:
            NoAnswer: there is no answer.
            Refused: the answer is an error.
            Stop: what answers is not the admin port.
        """
        import aiohttp  # noqa: PLC0415 - see above
        from yarl import URL  # noqa: PLC0415 - see above

        url = URL(self._base + path, encoded=True)
        headers = None if body is None else {"content-type": "application/json"}
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return self._read(response.status, await response.read())
        except TimeoutError:
            raise NoAnswer(
                f"the admin port at {self._base} gave no answer within {self._seconds:g} s; is the service stuck?"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(f"cannot reach the admin port at {self._base}: {_why(error)}") from None

    def _read(self, status: int, raw: bytes) -> Json:
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise Stop(
                f"{self._base} answered {status} with something that is no JSON object;"
                " is this the admin port of extauthz?"
            )
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise Refused(_refusal(status, content, has_token=self._has_token), status, content)
        return content


def _why(error: "aiohttp.ClientError | OSError") -> str:
    import aiohttp  # noqa: PLC0415 - see AdminHttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no such host; give the right one with --admin URL"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed; is it http:// rather than https://?"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nothing listens there; start `extauthz serve`, or give the right address with --admin URL"
    return "what answers there does not speak HTTP, or went away; is this the admin port?"


def _refusal(status: int, content: Json, *, has_token: bool) -> str:
    code = str(content.get("error", status))
    detail = f"{code}: {content['detail']}" if content.get("detail") else code
    if status == HTTPStatus.UNAUTHORIZED:
        state = "is not the right one" if has_token else "is missing"
        return f"the admin token {state}: set {TOKEN_VARIABLE} to the token that the service was started with"
    if code == "admin_disabled":
        return f"the service has no admin token: start it with {TOKEN_VARIABLE} or admin.token_file set, then try again"
    if code == "foreign_host":
        return f"{detail} (the name in --admin URL must be listed there)"
    return "".join(letter if letter.isprintable() else " " for letter in detail)
