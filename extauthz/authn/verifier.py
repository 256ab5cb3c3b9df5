"""Is this the key of that record? A pure function of values: no cache, no clock, no look-up."""

import hmac
from dataclasses import dataclass
from typing import Final

from extauthz.authn.key_format import KeyParts
from extauthz.authn.pepper import Pepper, PepperBook
from extauthz.authn.refusals import KeyFault
from extauthz.model.identity import SYSTEM_TENANT, ApiKey, AuthMethod, Principal, is_valid_id

_NO_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A key that verifies: the very record it was compared with, whom it stands for, and its renewed hash if one is due.

    `renewed` is (hash, fingerprint of the newest pepper), None where the stored hash is under the newest already.
    """

    record: ApiKey
    principal: Principal
    renewed: tuple[bytes, str] | None = None


def verify_secret(parts: KeyParts, signer: Pepper, record: ApiKey | None, peppers: PepperBook) -> Verified | KeyFault:
    """Compare a key, whose mac `signer` made, with its record (None: there is no such key).

    Whether the key is revoked or expired is not looked at here. The HMAC is computed for an unknown id too, so that the time
    to answer does not tell which ids exist.
    """
    pepper = peppers.current if record is None else peppers.find(record.hash_pepper)
    computed = (pepper or peppers.current).hash_secret(parts.secret)
    if record is None:
        hmac.compare_digest(computed, _NO_HASH)
        return KeyFault.UNKNOWN
    if pepper is None or record.mac_pepper != signer.fingerprint:
        return KeyFault.PEPPER_REMOVED
    if not hmac.compare_digest(computed, record.secret_hash):
        return KeyFault.WRONG_SECRET
    if record.tenant_id != SYSTEM_TENANT and not is_valid_id(record.tenant_id):
        return KeyFault.BAD_RECORD
    return Verified(record=record, principal=_principal(record), renewed=_renew(parts, pepper, peppers.current))


def fault_now(record: ApiKey, now: float) -> KeyFault | None:
    """Why a key that verifies is no good at the moment `now` (Unix seconds); None where it is."""
    if record.revoked_at is not None:
        return KeyFault.REVOKED
    if record.expires_at is not None and now >= record.expires_at:
        return KeyFault.EXPIRED
    return None


def _renew(parts: KeyParts, pepper: Pepper, current: Pepper) -> tuple[bytes, str] | None:
    return None if pepper is current else (current.hash_secret(parts.secret), current.fingerprint)


def _principal(record: ApiKey) -> Principal:
    return Principal(
        tenant_id=record.tenant_id,
        method=AuthMethod.API_KEY,
        subject=record.key_id,
        scopes=record.scopes,
        expires_at=record.expires_at,
    )
