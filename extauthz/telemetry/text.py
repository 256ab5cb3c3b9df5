"""Text that comes from a client, made fit for a log line or an event: short, printable, and without a secret."""

import re
from typing import Final

from extauthz.model.request import CheckRequest

MAX_LENGTH: Final = 120

_SECRET = re.compile(
    r"exak_[a-z0-9_]*"  # our own keys, whole or in part
    r"|eyJ[\w-]*(?:\.[\w-]*)+"  # JSON Web Tokens
    r"|(?<=://)[^/@\s]+(?=@)"  # user and password of a URL
    r"|\b(?:bearer|basic)(?:\s|%20|\+)+\S+",  # a whole authorization header that went astray
    re.IGNORECASE,
)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def mask(text: str) -> str:
    """The text with `***` for whatever has the form of a credential."""
    return _SECRET.sub("***", text)


def client_text(text: str, limit: int = MAX_LENGTH) -> str:
    """At most `limit` printable ASCII characters; control and other characters escaped as in Python, secrets masked.

    Only what can show is looked at, so that a path of 50 KiB costs no more than a short one. A secret that is cut off at the end
    is masked all the same, because a part of one has the same form.
    """
    shown = mask(text[: 2 * limit]).encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit and len(text) <= 2 * limit else shown[: limit - 3] + "..."


def client_path(path: str, limit: int = MAX_LENGTH) -> str:
    """A path without query and fragment, which may hold anything, as `client_text`."""
    return client_text(path.partition("?")[0].partition("#")[0], limit)


def trace_id(request: CheckRequest) -> str:
    """The trace id of a W3C `traceparent` header; empty where there is none that is valid."""
    match = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return "" if match is None or match[1] == "0" * 32 else match[1]
