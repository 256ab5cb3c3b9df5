"""Making API keys."""

import secrets
from collections.abc import Callable

from extauthz.authn.key_format import ID_BYTES, SECRET_BYTES, KeyParts, base32, join_key
from extauthz.authn.pepper import PepperBook
from extauthz.model.identity import ApiKey


class ApiKeyMint:
    """Makes API keys under the newest pepper; implements `ports.KeyMint`.

    Args:
        peppers: the peppers in use.
        random: gives that many random bytes, fit for secrets.
    """

    def __init__(self, peppers: PepperBook, *, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._peppers = peppers
        self._random = random

    def mint(self, tenant_id: str, scopes: frozenset[str], expires_at: float | None, now: float) -> tuple[ApiKey, str]:
        """A new key's record, and its text, which is shown once and kept nowhere. Times are Unix seconds."""
        pepper = self._peppers.current
        key_id, secret = base32(self._random(ID_BYTES)).decode(), base32(self._random(SECRET_BYTES))
        record = ApiKey(
            key_id=key_id,
            tenant_id=tenant_id,
            secret_hash=pepper.hash_secret(secret),
            mac_pepper=pepper.fingerprint,
            hash_pepper=pepper.fingerprint,
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
        )
        return record, join_key(KeyParts(key_id, pepper.mac(key_id), secret))
