"""What a route rule is, how its pattern matches, and the rules that hold without any configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

import re2

from extauthz.model.request import Route, RouteClass
from extauthz.routing.path import BadPath, normalise

Matcher = Callable[[str], object]
"""Truthy where the pattern matches a normalised path."""


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


def matcher(rule: RouteRule) -> Matcher:
    """The function that tells whether a normalised path matches.

    Raises:
        ValueError: the pattern is no regular expression of RE2, or can never match a normalised path.
    """
    if rule.kind is RouteKind.REGEX:
        return _regex(rule.pattern)
    _check_normalised(rule)
    return rule.pattern.__eq__ if rule.kind is RouteKind.EXACT else _prefix(rule.pattern)


def _prefix(prefix: str) -> Matcher:
    below = prefix if prefix.endswith("/") else f"{prefix}/"

    def matches(path: str) -> bool:
        return path.startswith(below) or path == prefix

    return matches


def _regex(pattern: str) -> Matcher:
    options = re2.Options()
    options.log_errors = False  # RE2 writes to stderr by itself otherwise; the error below says it all
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"route regex {pattern!r} is not valid in RE2: {_text(error)}") from None
    return cast("Matcher", compiled.fullmatch)


def _text(error: Exception) -> str:
    """RE2's explanation, which it hands over as bytes."""
    detail: object = error.args[0] if error.args else ""
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)


def _check_normalised(rule: RouteRule) -> None:
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
