"""The prefixes of the route table, as a tree of path segments."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from extauthz.routing.order import NO_RULE, Order


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """The segments that lead here: rules for the path itself with all below it, and rules for what is below alone."""

    whole: Order = field(default_factory=Order)
    below: Order = field(default_factory=Order)
    children: dict[str, "_Node"] = field(default_factory=dict)


class PrefixTree:
    """Finds the first of any number of prefix rules in one walk along a path's segments.

    The walk ends where no prefix goes on, so that it is no longer than the longest prefix, whatever is sent.
    """

    def __init__(self) -> None:
        self._root = _Node()
        self._depth = 0

    def add(self, prefix: str, number: int, methods: Iterable[str] | None) -> None:
        """Take in rule `number` for a normalised `prefix`; one that ends in `/` is for what is below it only."""
        *segments, last = prefix[1:].split("/")
        node = self._root
        for segment in (*segments, last) if last else segments:
            node = node.children.setdefault(segment, _Node())
        (node.whole if last else node.below).add(number, methods)
        self._depth = max(self._depth, len(segments) + 1)

    def lowest(self, method: str, path: str) -> int:
        """The number of the first rule for `method` whose prefix a normalised `path` has; `NO_RULE` where there is none."""
        node, found = self._root, NO_RULE
        for segment in path[1:].split("/", self._depth):
            found = min(found, node.below.lowest(method))
            child = node.children.get(segment)
            if child is None:
                break
            node = child
            found = min(found, node.whole.lowest(method))
        return found
