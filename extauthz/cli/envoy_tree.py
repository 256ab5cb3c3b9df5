"""Finding one's way in an Envoy configuration without Envoy's types: protobuf's JSON form, as YAML or JSON."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Final

from extauthz.config.document import Value, read_file
from extauthz.config.problems import InvalidConfig, Origin, Path, Problem, origin_of, path_text
from extauthz.config.units import parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a bootstrap lacks: where, and what to do."""

    origin: Origin | None
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A value of the tree and where it stands."""

    value: Value
    path: Path
    origins: Mapping[Path, Origin]

    def get(self, *names: str) -> "Part":
        """What is below, by the names of Envoy's documentation; a part whose value is None where there is nothing."""
        part = self
        for name in names:
            part = part._below(name)
        return part

    def items(self) -> Iterator["Part"]:
        """The items of a list; nothing where this is none."""
        for index, value in enumerate(self.value if isinstance(self.value, list) else ()):
            yield Part(value, (*self.path, index), self.origins)

    def lacks(self, text: str) -> Finding:
        """A finding at this place."""
        return Finding(origin=origin_of(self.path, self.origins, None), where=path_text(self.path), text=text)

    @property
    def text(self) -> str:
        """The value as a word; empty where there is none."""
        return "" if self.value is None or isinstance(self.value, dict | list) else str(self.value)

    @property
    def is_there(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def is_true(self) -> bool:
        """Whether the value is true, however YAML or JSON write it."""
        return self.value is True or self.text.lower() == "true"

    @property
    def number(self) -> float:
        """The value as a number; 0 where it is none. A wrapped `uint32` is a plain number in this form."""
        return float(self.text) if _NUMBER.fullmatch(self.text) else 0.0

    @property
    def seconds(self) -> float | None:
        """A duration such as `0.250s`; None where there is none."""
        try:
            return parse_duration(self.text)
        except ValueError:
            return None

    def _below(self, name: str) -> "Part":
        # protobuf's JSON knows each field by two names: as declared, and in lower camel case.
        known = self.value if isinstance(self.value, dict) else {}
        key = name if name in known else re.sub(r"_(\w)", lambda found: found[1].upper(), name)
        key = key if key in known else name
        return Part(known.get(key), (*self.path, key), self.origins)


_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")


def read(file: FilePath) -> Part:
    """The bootstrap in `file`.

    Raises:
        InvalidConfig: it cannot be read, or is no YAML or JSON.
    """
    document = read_file(file)
    if document.problems:
        raise InvalidConfig(document.problems)
    if not isinstance(document.value, dict):
        raise InvalidConfig([Problem(text="is no Envoy bootstrap: it must hold keys", origin=Origin(name=str(file)))])
    return Part(document.value, (), document.origins)


def typed(part: Part, message: str) -> Iterator[Part]:
    """Every part of the tree whose `@type` ends in `message`, in the order of the file."""
    if isinstance(part.value, dict):
        if part.get("@type").text.rpartition(".")[2] == message:
            yield part
        for key, value in part.value.items():
            yield from typed(Part(value, (*part.path, key), part.origins), message)
    else:
        for item in part.items():
            yield from typed(item, message)
