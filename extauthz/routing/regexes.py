"""The regular expressions of the route table, narrowed down by the literal text that each of them needs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, cast

import re2

Matcher = Callable[[str], object]
"""Truthy where a regular expression matches the whole of a path."""

_ALWAYS: Final = "/"
"""Part of every path, and added to every filter. RE2 answers alike where nothing is left and where it ran out of memory; with
this, something always is left."""


class _Filter(NamedTuple):
    """Patterns that are narrowed down at once.

    `first` is the position of the first of them among all. `ask` gives the positions within the filter whose pattern may
    match, and that of `_ALWAYS`; None if RE2 has no memory for the literals.
    """

    first: int
    matchers: Sequence[Matcher]
    ask: Callable[[str], Sequence[int] | None] | None

    def candidates(self, path: str) -> Iterator[int]:
        """The positions among all of the patterns that may match."""
        left = self.ask(path) if self.ask else None
        if left:
            return (self.first + at for at in sorted(left) if at < len(self.matchers))
        # Not even `_ALWAYS`: then all of them, which is slower, never wrong.
        return iter(range(self.first, self.first + len(self.matchers)))


class RegexIndex:
    """Finds those of any number of patterns that match a path. Safe to ask from several threads.

    RE2 knows which literal texts a match of each pattern needs (`/runs/` for `/runs/[0-9]+`) and looks for those of all
    patterns in one pass; only patterns that have theirs in the path are asked. A pattern without any is always asked. One
    `re2.Set` of whole patterns would need no literals, but a path made to keep many `.*` undecided costs it a new state per
    byte: a hundred times of what asking the patterns one by one takes. Here the worst is that.

    Args:
        patterns: RE2 syntax; each must match the whole path, as Envoy's `safe_regex` does.

    Raises:
        ValueError: a pattern is no regular expression of RE2; the text names it.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._filters = list(_filters(patterns, 0)) if patterns else []
        self._matchers = [matches for each in self._filters for matches in each.matchers]

    def candidates(self, path: str) -> Iterator[int]:
        """The positions, in their order, of all patterns that match `path`, and of some that do not."""
        return (at for each in self._filters for at in each.candidates(path))

    def matches(self, at: int, path: str) -> object:
        """Truthy where the pattern at a position matches the whole of `path`."""
        return self._matchers[at](path)


def _filters(patterns: Sequence[str], first: int) -> Iterator[_Filter]:
    """One filter, or as many as it takes for the literals of each to fit into what RE2 admits (8 MiB)."""
    filtered, options = re2.Filter(), _options()
    for pattern in patterns:
        try:
            filtered.Add(pattern, options)
        except re2.error as error:
            raise ValueError(f"route regex {pattern!r} is not valid in RE2: {_reason(pattern, error)}") from None
    filtered.Add(_ALWAYS, options)
    matchers = [cast("Matcher", filtered.re(at).fullmatch) for at in range(len(patterns))]
    try:
        filtered.Compile()
    except re2.error:
        yield from _parts(patterns, first, matchers)
    else:
        yield _Filter(first, matchers, lambda path: cast("Sequence[int] | None", filtered.Match(path, potential=True)))


def _parts(patterns: Sequence[str], first: int, matchers: Sequence[Matcher]) -> Iterator[_Filter]:
    """Two halves instead of one filter; a pattern that is too large by itself is always asked."""
    half = len(patterns) // 2
    if not half:
        yield _Filter(first, matchers, None)
        return
    yield from _filters(patterns[:half], first)
    yield from _filters(patterns[half:], first + half)


def _options() -> "re2.Options":
    options = re2.Options()
    options.log_errors = False  # RE2 writes to stderr by itself otherwise; the errors here say it all
    return options


def _reason(pattern: str, refusal: Exception) -> str:
    """Why RE2 refuses a pattern. A filter's refusal does not tell; compiling the pattern does, in bytes."""
    try:
        re2.compile(pattern, _options())
    except re2.error as error:
        refusal = error
    detail: object = refusal.args[0] if refusal.args else ""
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
