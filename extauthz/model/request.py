"""A request as Envoy described it, without a trace of how it travelled here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from extauthz.model.value import value

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@value
class CheckRequest:
    """One HTTP request to decide about.

    `path` is the raw `:path`, query included. `headers` have lower-case names; several values of one name are merged with a
    comma, as Envoy does. `context_extensions` come from Envoy's own configuration and are trusted. `verified_claims` are
    what Envoy's `jwt_authn` left in the metadata context, by issuer or provider name. `trusted_transport` says that the
    caller of Check was itself verified (mTLS or a unix socket). Empty strings mean absent.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    context_extensions: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    source_address: str = ""
    source_principal: str = ""
    verified_claims: Mapping[str, object] = field(default_factory=dict)
    trusted_transport: bool = False

    @property
    def is_read(self) -> bool:
        """GET, HEAD and OPTIONS read; every other method writes (spec 3.1)."""
        return self.method in READ_METHODS


class RouteClass(StrEnum):
    """The route classes of spec 3.1."""

    PUBLIC = "public"
    REFRESH = "refresh"
    ONBOARDING = "onboarding"
    OPERATOR = "operator"
    SDK = "sdk"
    STANDARD = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a request was matched to. `cost` is in micro-units; `scopes` are all required of the principal."""

    route_class: RouteClass
    cost: int = 0
    scopes: frozenset[str] = frozenset()
