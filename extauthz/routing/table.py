"""The route table: the rules of the configuration, then the built-in ones; the first that matches wins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from extauthz.model.request import Route, RouteClass
from extauthz.routing.context import CLASS_KEY, COST_KEY, Override, parse_override
from extauthz.routing.order import NO_RULE, Order
from extauthz.routing.path import normalise
from extauthz.routing.prefixes import PrefixTree
from extauthz.routing.regexes import RegexIndex
from extauthz.routing.rules import BUILT_IN_RULES, RouteKind, RouteRule, check_path

_CACHE_ENTRIES: Final = 8192
_CACHE_MAX_LENGTH: Final = 256
"""Longer methods and paths (in characters) are matched anew each time: the cache stays within a few MB whatever is sent."""

_STANDARD: Final = Route(route_class=RouteClass.STANDARD)


class _Match(NamedTuple):
    """The route that the table gives, before any override, and whether the path could mean another one to the upstream."""

    route: Route
    ambiguous: bool


class RouteTable:
    """Finds the route of a request.

    Args:
        rules: the rules of the configuration, in the order of the file. The built-in table comes after them.

    Raises:
        ValueError: a rule's pattern is not valid; the text names the pattern.
    """

    def __init__(self, rules: Sequence[RouteRule] = ()) -> None:
        ordered = (*rules, *BUILT_IN_RULES)
        self._routes = tuple(rule.route for rule in ordered)
        self._exact: dict[str, Order] = {}
        self._prefixes = PrefixTree()
        regexes: dict[str, Order] = {}
        for number, rule in enumerate(ordered):
            if rule.kind is RouteKind.REGEX:
                regexes.setdefault(rule.pattern, Order()).add(number, rule.methods)
                continue
            check_path(rule)
            if rule.kind is RouteKind.EXACT:
                self._exact.setdefault(rule.pattern, Order()).add(number, rule.methods)
            else:
                self._prefixes.add(rule.pattern, number, rule.methods)
        self._regexes = RegexIndex(tuple(regexes))
        self._regex_orders = tuple(regexes.values())
        self._find_cached = lru_cache(maxsize=_CACHE_ENTRIES)(self._find)

    @property
    def cached(self) -> int:
        """How many answers are remembered at the moment."""
        return self._find_cached.cache_info().currsize

    def match(self, method: str, raw_path: str, context_extensions: Mapping[str, str]) -> Route:
        """The route of a request, from its method, its raw `:path` and what Envoy's configuration says of it.

        A `public` route, whoever named it, holds only for a path that is its own normal form; else it is `standard`.

        Raises:
            BadPath: the path is not acceptable.
            BadContext: a value in `context_extensions` is not valid.
        """
        sent = raw_path.partition("?")[0]
        short = len(sent) + len(method) <= _CACHE_MAX_LENGTH
        found = self._find_cached(method, sent) if short else self._find(method, sent)
        route = found.route
        if context_extensions:
            class_text, cost_text = context_extensions.get(CLASS_KEY), context_extensions.get(COST_KEY)
            if class_text is not None or cost_text is not None:
                route = _overridden(route, parse_override(class_text, cost_text))
        if found.ambiguous and route.route_class is RouteClass.PUBLIC:
            return replace(route, route_class=RouteClass.STANDARD)
        return route

    def _find(self, method: str, sent: str) -> _Match:
        path, changed = normalise(sent)
        # Some servers drop `;…` before they route: to them /api/v1/auth/refresh;x is the path that needs a credential.
        ambiguous = changed or ";" in path
        number = self._first(method, path)
        return _Match(_STANDARD if number == NO_RULE else self._routes[number], ambiguous)

    def _first(self, method: str, path: str) -> int:
        """The number of the first rule for `method` and a normalised path; the cost hardly depends on how many there are."""
        found = self._prefixes.lowest(method, path)
        if path in self._exact:
            found = min(found, self._exact[path].lowest(method))
        for at in self._regexes.candidates(path):
            number = self._regex_orders[at].lowest(method)
            if number < found and self._regexes.matches(at, path):
                found = number
        return found


def _overridden(route: Route, override: Override) -> Route:
    """`route` with the class and cost that Envoy's configuration gives; the scopes stay."""
    return Route(
        route_class=route.route_class if override.route_class is None else override.route_class,
        cost=route.cost if override.cost is None else override.cost,
        scopes=route.scopes,
    )
