"""Who is calling: tenants, principals, actors and API keys (spec sections 2 and 3.2)."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

SYSTEM_TENANT: Final = "_system"
"""The tenant of operator credentials and of the service's own events; never a customer's."""

OPERATOR_SCOPE: Final = "operator"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def is_valid_id(text: str) -> bool:
    """Whether `text` may be a tenant's or plan's id. `_system` is not: it starts with an underscore."""
    return _ID.fullmatch(text) is not None


class AuthMethod(StrEnum):
    """The ways a caller can prove who it is, as they stand in `gates.auth.methods` and in `x-auth-method`."""

    API_KEY = "api_key"
    JWT = "jwt"
    PEER = "peer"
    ENVOY_JWT = "envoy_jwt"


class ActorType(StrEnum):
    """What kind of party did something."""

    HUMAN = "human"
    MACHINE = "machine"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who did something: a kind and an id, for audit records and events."""

    type: ActorType
    id: str


SYSTEM_ACTOR: Final = Actor(type=ActorType.SYSTEM, id="extauthz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller.

    `subject` is the key's id, or the token's subject. `expires_at` is Unix seconds, None where the credential has no end.
    """

    tenant_id: str
    method: AuthMethod
    subject: str
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None

    @property
    def is_operator(self) -> bool:
        """Whether this is an operator credential: tenant `_system` with scope `operator`."""
        return self.tenant_id == SYSTEM_TENANT and OPERATOR_SCOPE in self.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One stored API key. The secret itself is never stored: `secret_hash` is its HMAC-SHA-256 under a pepper.

    `mac_pepper` and `hash_pepper` name (by fingerprint) the pepper under which the id's mac and the secret's hash were
    made. Times are Unix seconds; None means never (`expires_at`), not yet (`last_used_at`, `revoked_at`).
    """

    key_id: str
    tenant_id: str
    secret_hash: bytes = field(repr=False)
    mac_pepper: str
    hash_pepper: str
    scopes: frozenset[str] = frozenset()
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """That a key was used, for its last-used time; with `secret_hash` and `hash_pepper`, its renewed hash too."""

    key_id: str
    used_at: float
    secret_hash: bytes | None = None
    hash_pepper: str | None = None
