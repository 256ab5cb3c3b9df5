"""Which rule comes first among those that share a pattern."""

import sys
from collections.abc import Iterable
from typing import Final

NO_RULE: Final = sys.maxsize
"""The number of no rule: it comes after every other."""


class Order:
    """The numbers of the rules that share a pattern: for each method the lowest, which is the one that comes first."""

    __slots__ = ("_any", "_named")

    def __init__(self) -> None:
        self._any = NO_RULE
        self._named: dict[str, int] = {}

    def add(self, number: int, methods: Iterable[str] | None) -> None:
        """Take in rule `number`, which holds for `methods`, or for every method where that is None."""
        if methods is None:
            self._any = min(self._any, number)
            return
        for method in methods:
            self._named[method] = min(self._named.get(method, NO_RULE), number)

    def lowest(self, method: str) -> int:
        """The number of the first rule for `method`; `NO_RULE` where there is none."""
        return min(self._any, self._named.get(method, NO_RULE)) if self._named else self._any
