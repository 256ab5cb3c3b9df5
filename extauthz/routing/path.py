"""The path rule: which paths are refused, and what the others are compared as.

Proxy, this service and the upstream must mean the same resource by a path. Whatever two of them could read in two ways
(encoded separators, dot segments, path parameters on dot segments, double encoding) is refused instead of interpreted.
"""

import re
from typing import Final, NamedTuple

from extauthz.errors import ExtauthzError

_NOT_TEXT: Final = "\x00-\x1f\x7f-\x9f\ud800-\udfff"
"""Control characters of both blocks, and lone surrogates, which no path read from the wire holds."""

# Plain paths, almost all there are: segments of unreserved characters that do not begin with a dot. They are their own
# normal form, so that one linear match is all they cost.
_PLAIN: Final = re.compile(r"(?:/[\w~!$&'()*+,=:@-][\w.~!$&'()*+,=:@-]*+)++/?|/", re.ASCII)
_REFUSED_RAW: Final = re.compile(rf"[\\{_NOT_TEXT}]|%(?:2[fF]|5[cC]|00)")
_ESCAPES: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_LONE_ESCAPES: Final = {text: chr(code) for code in range(128) for text in (f"%{code:02x}", f"%{code:02X}")}
"""What most escapes stand for, without a detour over bytes."""
# In the decoded path: a character that an escape stood for and that may not stand there itself, an escape that is still
# there, or a segment that without its parameters (`;…`) is `.` or `..`.
_REFUSED_DECODED: Final = re.compile(rf"[{_NOT_TEXT}]|%[0-9A-Fa-f]{{2}}|/\.\.?(?:[;/]|\Z)")
_SLASHES: Final = re.compile(r"/{2,}")


class BadPath(ExtauthzError):
    """The path is not acceptable. The text says why and repeats nothing of the path."""


class Path(NamedTuple):
    """A path that was accepted.

    `normalised` is decoded once, with doubled slashes folded, without query and fragment. `changed` says that it differs
    from what the client sent (the query apart): the upstream may then read it in another way than we did.
    """

    normalised: str
    changed: bool


def normalise(raw: str) -> Path:
    """The path of a request as routes are compared with, from the raw `:path` (query and fragment included).

    Linear in the length of `raw`.

    Raises:
        BadPath: the path could be read in more than one way, or does not begin with `/`.
    """
    sent = raw.partition("?")[0]
    if _PLAIN.fullmatch(sent):
        return Path(sent, False)
    return _examine(sent)


def _examine(sent: str) -> Path:
    """`normalise` for a path without its query that is not plain."""
    # A fragment has no place in a request. Some servers cut it off, some keep it: it is cut here and counts as a change,
    # so that `/health#/../api` is nobody's public path.
    path = sent.partition("#")[0]
    if not path.startswith("/"):
        raise BadPath("does not begin with a slash")
    if _REFUSED_RAW.search(path):
        raise BadPath("holds a control character, a backslash, or an encoded slash, backslash or NUL")
    decoded = _ESCAPES.sub(_decode, path) if "%" in path else path
    if _REFUSED_DECODED.search(decoded):
        raise BadPath("holds a dot segment, a control character or an escape once decoded")
    normalised = _SLASHES.sub("/", decoded)
    return Path(normalised, normalised != sent)


def _decode(escapes: re.Match[str]) -> str:
    """The text that a run of escapes stands for; bytes that are not UTF-8 become U+FFFD, as in every tolerant decoder."""
    text = escapes[0]
    return _LONE_ESCAPES.get(text) or bytes.fromhex(text.replace("%", "")).decode("utf-8", "replace")
