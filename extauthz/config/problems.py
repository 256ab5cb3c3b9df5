"""Faults of a configuration: each with the place it stands at, all told at once."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from extauthz.errors import ConfigError

Path = tuple[str | int, ...]
"""Where something stands in the tree: keys of mappings and indexes of lists."""


def path_text(path: Path) -> str:
    """`routes[0].class` for ("routes", 0, "class")."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value comes from: a file and a line (counted from 1), or something without lines (None)."""

    name: str
    line: int | None = None

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault or warning. `text` says what is wrong and what is allowed; it holds no secret."""

    text: str
    path: Path = ()
    origin: Origin | None = None

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.origin or ""), path_text(self.path), self.text) if part)


class InvalidConfig(ConfigError):
    """A configuration with faults; `problems` are all of them in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "the configuration is not valid" if count == 1 else f"the configuration has {count} errors"
        super().__init__("\n".join([f"{head}:", *(f"  {problem}" for problem in self.problems)]))


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """`did you mean x?` with the nearest allowed word, or nothing where none is near."""
    words = {each.lower(): each for each in allowed}
    near = difflib.get_close_matches(str(word).lower(), list(words), n=1, cutoff=0.6)
    return f"did you mean {words[near[0]]}?" if near else ""


def origin_of(path: Path, origins: Mapping[Path, Origin], default: Origin | None) -> Origin | None:
    """Where `path` was written, else the nearest part of the tree around it, else `default`."""
    for end in range(len(path), 0, -1):
        if path[:end] in origins:
            return origins[path[:end]]
    return default


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Problems by file and line; those without a line last, otherwise as they came."""
    return sorted(problems, key=lambda problem: _order(problem.origin))


def _order(origin: Origin | None) -> tuple[bool, str, int]:
    if origin is None or origin.line is None:
        return (True, "", 0)
    return (False, origin.name, origin.line)
