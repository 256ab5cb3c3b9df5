"""What a route rule is, what its pattern means, and the rules that hold without any configuration."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from extauthz.model.request import Route, RouteClass
from extauthz.routing.path import BadPath, normalise


class RouteKind(StrEnum):
    """How a rule's pattern is meant; the key of the rule in the configuration."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRule:
    """One rule: requests whose normalised path matches `pattern`, and whose method is in `methods`, take `route`.

    `exact` is the whole path. `prefix` matches whole segments: `/health` itself and what is below it, not `/healthz`; one
    that ends in `/` only what is below it. `regex` has RE2 syntax and must match the whole path, as Envoy's `safe_regex`
    does. `methods` None means every method; names are compared as they are, in upper case.
    """

    kind: RouteKind
    pattern: str
    methods: frozenset[str] | None = None
    route: Route


def check_path(rule: RouteRule) -> None:
    """Refuse an `exact` or a `prefix` that is not its own normal form.

    Raises:
        ValueError: the pattern can never match a normalised path; the text names it.
    """
    try:
        path = normalise(rule.pattern)
    except BadPath as error:
        raise ValueError(f"route {rule.kind} {rule.pattern!r} can never match: it {error}") from None
    if path.normalised != rule.pattern:
        raise ValueError(
            f"route {rule.kind} {rule.pattern!r} can never match: paths are compared decoded, without query and"
            f" doubled slashes; write {path.normalised!r}"
        )


_BUILT_IN: Final = {
    RouteClass.PUBLIC: ("/health", "/metrics", "/docs", "/openapi.json", "/redoc", "/api/v1/auth/"),
    RouteClass.REFRESH: ("/api/v1/auth/refresh",),
    RouteClass.ONBOARDING: ("/api/v1/onboarding/",),
    RouteClass.OPERATOR: ("/fdr", "/founder"),
    RouteClass.SDK: ("/api/v1/runs", "/api/v1/runtime/", "/api/v1/skills/", "/api/v1/agents/"),
}

BUILT_IN_RULES: Final = tuple(
    sorted(
        (
            RouteRule(kind=RouteKind.PREFIX, pattern=pattern, route=Route(route_class=route_class))
            for route_class, patterns in _BUILT_IN.items()
            for pattern in patterns
        ),
        key=lambda rule: len(rule.pattern),
        reverse=True,
    )
)
"""The table of spec 3.1, longest prefix first; whatever it does not name is `standard`."""
