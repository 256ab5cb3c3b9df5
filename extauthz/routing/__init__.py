"""From a request's path to its route class: the path rule and the route table (spec section 3.1)."""

from extauthz.routing.context import BadContext
from extauthz.routing.path import BadPath, Path, normalise
from extauthz.routing.rules import BUILT_IN_RULES, RouteKind, RouteRule
from extauthz.routing.table import RouteTable

__all__ = ["BUILT_IN_RULES", "BadContext", "BadPath", "Path", "RouteKind", "RouteRule", "RouteTable", "normalise"]
