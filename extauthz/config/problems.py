"""Faults of a configuration: each with the place it stands at, all told at once."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from extauthz.errors import ConfigError

Path = tuple[str | int, ...]
"""Where something stands in the tree: keys of mappings and indexes of lists."""

NAMED: Final = 20
"""Faults, or places, that one text names: it may become a line of the log, an event, an answer of `/health`."""

_LONGEST: Final = 1000
"""Characters of one fault where only the first are named: a fault may list every plan."""

_WORD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def is_word(text: str) -> bool:
    """Whether it may be repeated in a message. What stands in the wrong place and is no word may be a URL with a password."""
    return _WORD.fullmatch(text) is not None


def as_word(text: str) -> str:
    """The text where it is a word, else `***`."""
    return text if is_word(text) else "***"


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
        path = path_text(tuple(as_word(step) if isinstance(step, str) else step for step in self.path))
        return ": ".join(part for part in (str(self.origin or ""), path, self.text) if part)


class InvalidConfig(ConfigError):
    """A configuration with faults; `problems` are all of them in the order of the file, its text names the first.

    `listing` names all of them, for a terminal.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        named = [str(_shortened(problem)) for problem in self.problems[:NAMED]]
        super().__init__(self._listed([*named, *_more(self.problems)]))

    @property
    def listing(self) -> str:
        """Every fault in full."""
        return self._listed([str(problem) for problem in self.problems])

    def _listed(self, texts: Iterable[str]) -> str:
        count = len(self.problems)
        head = "the configuration is not valid" if count == 1 else f"the configuration has {count} errors"
        return "\n".join([f"{head}:", *(f"  {text}" for text in texts)])

    @property
    def summary(self) -> str:
        """How many faults and where, for who must not see what the file holds: `2 faults: c.yaml:3, c.yaml:7`."""
        places = list(dict.fromkeys(str(problem.origin) for problem in self.problems if problem.origin))
        count = len(self.problems)
        return f"{count} {'fault' if count == 1 else 'faults'}: {', '.join([*places[:NAMED], *_more(places)])}"


def _more(of: Sequence[object]) -> list[str]:
    """How many there are beyond those that are named."""
    return [f"and {len(of) - NAMED} more"] if len(of) > NAMED else []


def _shortened(problem: Problem) -> Problem:
    short = len(problem.text) <= _LONGEST
    return problem if short else replace(problem, text=f"{problem.text[: _LONGEST - 2]} …")


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
