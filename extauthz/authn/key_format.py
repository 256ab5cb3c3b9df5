"""The written form of an API key: `exak_<id><mac>_<secret>` in lower-case base32 without padding (spec section 3.2).

The form can never change for keys that are out there: a new one would need a new prefix.
"""

import re
from base64 import b32encode
from typing import Final, NamedTuple

PREFIX: Final = "exak_"
ID_BYTES: Final = 10
"""Random bytes of an id: 16 characters."""
MAC_BYTES: Final = 5
"""Bytes that are kept of the id's HMAC: 8 characters."""
SECRET_BYTES: Final = 32
"""Random bytes of a secret: 52 characters. The last one carries a single bit, so that only `a` and `q` can stand there:
another spelling of the same bytes is another text, and no key."""

_ID_BEGIN: Final = len(PREFIX)
_ID_END: Final = _ID_BEGIN + 16
_MAC_END: Final = _ID_END + 8
_KEY: Final = re.compile(rf"{PREFIX}[a-z2-7]{{24}}_[a-z2-7]{{51}}[aq]")
_BEARER_KEY: Final = re.compile(rf"[Bb][Ee][Aa][Rr][Ee][Rr] ({_KEY.pattern})")
# One scheme and one token that is not of our form: Basic, or somebody else's bearer.
_FOREIGN: Final = re.compile(rf"[A-Za-z][A-Za-z0-9-]* +(?!{PREFIX})[A-Za-z0-9._~+/-]+=*")


class KeyParts(NamedTuple):
    """A key taken apart. The secret's bytes are the ASCII of its text."""

    key_id: str
    mac: bytes
    secret: bytes


def is_key(text: str) -> bool:
    """Whether `text` has exactly the form of a key."""
    return _KEY.fullmatch(text) is not None


def bearer_key(authorization: str) -> str | None:
    """The key in `Bearer exak_…` (the scheme in any case, one space); None for everything else."""
    match = _BEARER_KEY.fullmatch(authorization)
    return None if match is None else match[1]


def is_near_miss(authorization: str) -> bool:
    """Whether a value that is not exactly `Bearer exak_…` was meant to be: two spaces, two credentials, a text after it."""
    return PREFIX in authorization and _FOREIGN.fullmatch(authorization) is None


def key_id_of(text: str) -> str:
    """The id in a text of which `is_key` is true."""
    return text[_ID_BEGIN:_ID_END]


def split_key(text: str) -> KeyParts:
    """Take apart a text of which `is_key` is true."""
    data = text.encode("ascii")
    return KeyParts(text[_ID_BEGIN:_ID_END], data[_ID_END:_MAC_END], data[_MAC_END + 1 :])


def join_key(parts: KeyParts) -> str:
    """The text of a key."""
    return f"{PREFIX}{parts.key_id}{parts.mac.decode('ascii')}_{parts.secret.decode('ascii')}"


def base32(data: bytes) -> bytes:
    """Lower-case base32 without padding."""
    return b32encode(data).rstrip(b"=").lower()
