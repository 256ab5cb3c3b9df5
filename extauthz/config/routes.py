"""`routes`: which requests belong to which class (spec section 3.1)."""

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

import re2
from pydantic import AfterValidator, Field, model_validator

from extauthz.config.section import Section
from extauthz.config.units import Amount
from extauthz.model.billing import to_micros
from extauthz.model.request import Route, RouteClass

Kind = Literal["exact", "prefix", "regex"]
KINDS: Final[tuple[Kind, ...]] = ("exact", "prefix", "regex")
CHARGED_CLASSES: Final = (RouteClass.SDK, RouteClass.STANDARD)
"""The classes that the protection gate sees: elsewhere a cost is never charged."""

# What the path rule removes or refuses, so that no normalised path ever holds it.
_NEVER_IN_A_PATH: Final = re.compile(r"//|[?#\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}|/\.{1,2}(?:/|;|$)")


def _check_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must begin with /")
    if _NEVER_IN_A_PATH.search(text):
        raise ValueError("can never match: paths are compared decoded, without query, doubled slashes and dot segments")
    return text


def _check_regex(text: str) -> str:
    options = re2.Options()
    options.log_errors = False  # RE2 writes to stderr by itself otherwise
    try:
        re2.compile(text, options)
    except re2.error as error:
        detail: object = error.args[0] if error.args else ""
        said = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise ValueError(f"is no regular expression of RE2: {said}") from None
    return text


def _check_method(text: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_-]*", text):
        raise ValueError("must be an HTTP method in upper case, such as POST")
    return text


def _check_scope(text: str) -> str:
    if not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", text):
        raise ValueError("must be a word without spaces, quotes and backslashes")
    return text


def _check_some(methods: tuple[str, ...]) -> tuple[str, ...]:
    if not methods:
        raise ValueError("must not be empty; leave it out to mean every method")
    return methods


Methods = Annotated[tuple[Annotated[str, AfterValidator(_check_method)], ...], AfterValidator(_check_some)]
PathPattern = Annotated[str, AfterValidator(_check_path)]


class RouteConfig(Section):
    """One rule: exactly one of `exact`, `prefix` and `regex`, and the class of what it matches."""

    exact: PathPattern | None = None
    """The whole normalised path."""
    prefix: PathPattern | None = None
    """Whole segments: `/health` is itself and what is below it; with a `/` at the end only what is below."""
    regex: Annotated[str, AfterValidator(_check_regex)] | None = None
    """RE2 syntax; must match the whole normalised path."""
    route_class: Annotated[RouteClass, Field(alias="class")]
    """`public`, `refresh`, `onboarding`, `operator`, `sdk` or `standard`."""
    cost: Amount = Decimal(0)
    """What one request costs, in the deployment's own unit."""
    scopes: tuple[Annotated[str, AfterValidator(_check_scope)], ...] = ()
    """Scopes that the caller must have, all of them."""
    methods: Methods | None = None
    """HTTP methods that the rule is for. Not set: every method."""

    @model_validator(mode="after")
    def _one_pattern(self) -> "RouteConfig":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of exact, prefix and regex{' (has ' + ', '.join(given) + ')' if given else ''}"
            )
        return self

    @property
    def kind(self) -> Kind:
        """Which of the three patterns it has."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def pattern(self) -> str:
        """The pattern itself."""
        return str(getattr(self, self.kind))

    def to_route(self) -> Route:
        """What a request that matches is treated as: cost in micro-units."""
        return Route(route_class=self.route_class, cost=to_micros(self.cost), scopes=frozenset(self.scopes))
