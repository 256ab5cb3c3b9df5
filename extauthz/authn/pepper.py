"""The peppers: server-side secrets under which key ids are signed and key secrets are hashed.

A stolen table of hashes is worth nothing without them, and an invented key id is told from a real one without a query.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from extauthz.authn.key_format import MAC_BYTES, base32
from extauthz.errors import ConfigError

MIN_LENGTH: Final = 32
"""Fewest characters of a pepper."""

_FINGERPRINT_LABEL: Final = b"extauthz pepper v1"
_MAC_LABEL: Final = b"extauthz key id v1:"
_HASH_LABEL: Final = b"extauthz key secret v1:"
_FINGERPRINT_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, init=False)
class Pepper:
    """One pepper. `fingerprint` (12 hexadecimal digits) names it in stored keys and tells nothing about it.

    The three uses are told apart by a label in front of the message, so that no output of one is ever an output of another.
    """

    fingerprint: str
    _value: bytes = field(repr=False)

    def __init__(self, value: str) -> None:
        key = value.encode()
        fingerprint = hmac.digest(key, _FINGERPRINT_LABEL, "sha256").hex()[:_FINGERPRINT_DIGITS]
        object.__setattr__(self, "_value", key)
        object.__setattr__(self, "fingerprint", fingerprint)

    def mac(self, key_id: str) -> bytes:
        """The 8 characters that stand behind a key's id."""
        return base32(hmac.digest(self._value, _MAC_LABEL + key_id.encode(), "sha256")[:MAC_BYTES])

    def hash_secret(self, secret: bytes) -> bytes:
        """What is stored of a key's secret: 32 bytes."""
        return hmac.digest(self._value, _HASH_LABEL + secret, "sha256")


class PepperBook:
    """The peppers in use, newest first: new keys are made under the first, older ones are still understood.

    Args:
        values: the secrets, at least one, each of at least 32 characters. No `repr` and no error shows them.
        name: what to call their origin in an error.

    Raises:
        ConfigError: there is none, one is too short, or one is there twice.
    """

    def __init__(self, values: Sequence[str], *, name: str = "EXTAUTHZ_PEPPER") -> None:
        self._peppers = tuple(Pepper(value) for value in _checked(values, name))
        self._by_fingerprint = {pepper.fingerprint: pepper for pepper in self._peppers}
        if len(self._by_fingerprint) < len(self._peppers):
            raise ConfigError(f"{name}: a value is there twice; list each pepper once, newest first")

    @property
    def current(self) -> Pepper:
        """The newest: new keys and renewed hashes are made under it."""
        return self._peppers[0]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The names of all, newest first."""
        return tuple(self._by_fingerprint)

    def find(self, fingerprint: str) -> Pepper | None:
        """The pepper of that name; None where it is not in use any more."""
        return self._by_fingerprint.get(fingerprint)

    def signer(self, key_id: str, mac: bytes) -> Pepper | None:
        """The pepper under which `mac` was made for `key_id`; None where there is none: the id is invented."""
        for pepper in self._peppers:
            if hmac.compare_digest(pepper.mac(key_id), mac):
                return pepper
        return None


def _checked(values: Sequence[str], name: str) -> Sequence[str]:
    if not values:
        raise ConfigError(f"{name}: is empty; give one or more values of at least {MIN_LENGTH} characters")
    for number, value in enumerate(values, 1):
        if len(value) < MIN_LENGTH:
            raise ConfigError(
                f"{name}: value {number} of {len(values)} has {len(value)} characters, at least {MIN_LENGTH} are needed;"
                " make one with: openssl rand -hex 32"
            )
    return values
