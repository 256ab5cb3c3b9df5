"""YAML in, plain values with line numbers out.

The text is read as YAML 1.2 means it: `no`, `off` and `12:30` are words, only `true` and `false` are truth values. Numbers
with a point become `Decimal`, so that `0.1` is a tenth. The tree of nodes is walked instead of loaded, which is where the
lines, the double keys and the bounds come from.
"""

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Final, TypeAlias

import yaml

from extauthz.config.content import Content, read_content
from extauthz.config.problems import Origin, Path, Problem

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int | bool | Decimal | None"
"""What a document is made of."""

MAX_NODES: Final = 50_000
"""Above it the document is refused: aliases can make a small file as large as they like."""
MAX_DEPTH: Final = 64

_LONGEST_NUMBER: Final = 40
"""More digits than any number here has; Python refuses to convert some thousands of them."""

_NAMED: Final = re.compile(r" '(?!<)(?:[^'\\]|\\.){2,}'")
"""Names of aliases and tags in PyYAML's texts. A password that begins with `*` is one to YAML."""

_MERGE: Final = "tag:yaml.org,2002:merge"
_STR: Final = "tag:yaml.org,2002:str"
_COLLECTIONS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_SCALARS: Final = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", "~nN\0"),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    _MERGE: (r"<<", "<"),
}


class _TooLarge(Exception):
    """The document has more nodes than is sensible."""


class _Loader(yaml.SafeLoader):
    """A loader with the words of YAML 1.2's core schema instead of those of YAML 1.1."""

    depth = 0
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As PyYAML does, which recurses, up to a depth that no configuration has."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooLarge
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(
        _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first.replace("\0", "")) + [""] * ("\0" in _first)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document that was read. `value` is None where it could not be; `problems` then says why."""

    value: Value
    origins: dict[Path, Origin]
    problems: tuple[Problem, ...]


def read_file(file: FilePath) -> Document:
    """Read a YAML file; whatever is wrong with it, from "does not exist" to a double key, is in `problems`."""
    return read_bytes(read_content(file))


def read_bytes(content: Content) -> Document:
    """Read the YAML of a file that was read, or not, before."""
    raw, name = content.raw, content.name
    if raw is None:
        return _refused(name, content.refused)
    try:
        return read_text(raw.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        return _refused(name, "is not UTF-8 text", line=raw.count(b"\n", 0, error.start) + 1)


def _refused(name: str, text: str, *, line: int | None = None) -> Document:
    return Document(value=None, origins={}, problems=(Problem(text=text, origin=Origin(name=name, line=line)),))


def read_text(text: str, name: str) -> Document:
    """Read YAML from a text; `name` stands for the file in messages."""
    walk = _Walk(name)
    try:
        root = _Loader(text).get_single_node()
        value = None if root is None else walk.value(root, ())
    except yaml.MarkedYAMLError as error:
        return _refused(name, f"is not valid YAML: {_yaml_text(error)}", line=_yaml_line(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _refused(name, "is not valid YAML: it holds a control character", line=line)
    except _TooLarge:
        text = f"is nested too deep, or unfolds to more than {MAX_NODES:,} values (aliases of aliases?)"
        return _refused(name, text)
    return Document(value=value, origins=walk.origins, problems=tuple(walk.problems))


def read_value(text: str, name: str) -> Document:
    """Read one value as it stands in a variable or behind a flag.

    Lists, mappings and quoted texts are written as in YAML. Everything else is one plain word, whatever it holds: `memory:`
    would otherwise be a mapping.
    """
    stripped = text.strip()
    if stripped.startswith(("[", "{", '"', "'")):
        return _without_lines(read_text(stripped, name), Origin(name=name))
    try:
        return Document(value=_scalar(_tag_of(stripped), stripped), origins={(): Origin(name=name)}, problems=())
    except (ArithmeticError, ValueError):
        return _refused(name, "is a number beyond all that can be read")


def _tag_of(text: str) -> str:
    """What a plain word is in YAML."""
    tag: str = _Loader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # the stub has no types here
    return tag


def _without_lines(document: Document, origin: Origin) -> Document:
    """The same document where every value comes from `origin`: a variable has no lines worth naming."""
    problems = tuple(replace(problem, origin=origin) for problem in document.problems)
    return Document(value=document.value, origins=dict.fromkeys(document.origins, origin), problems=problems)


def _yaml_text(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be read"
    if problem.startswith("mapping values are not allowed") or problem.endswith("but got ':'"):
        return "a value with a colon at its end or followed by a space must stand in quotes, and keys must be indented alike"
    if "expected a single document" in (error.context or ""):
        return "it holds more than one document (---)"
    if "'\\t'" in problem:
        return "indent with spaces, not with tabs"
    return _NAMED.sub("", problem)


def _yaml_line(error: yaml.MarkedYAMLError) -> int | None:
    mark = error.problem_mark or error.context_mark
    return None if mark is None else mark.line + 1


def _scalar(tag: str, text: str) -> Value:
    kind = tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base) if len(text) <= _LONGEST_NUMBER else text
    if kind == "float":
        return Decimal(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


@dataclass(slots=True)
class _Walk:
    """One walk over a tree of nodes."""

    name: str
    problems: list[Problem] = field(default_factory=list)
    origins: dict[Path, Origin] = field(default_factory=dict)
    nodes: int = 0
    depth: int = 0

    def value(self, node: yaml.Node, path: Path) -> Value:
        self.nodes += 1
        self.depth += 1  # not the path's length: `<<` goes deeper and stays at its path
        if self.nodes > MAX_NODES or self.depth > MAX_DEPTH:
            raise _TooLarge
        value = self.plain(node, path)
        self.depth -= 1
        return value

    def plain(self, node: yaml.Node, path: Path) -> Value:
        self.origins.setdefault(path, self.origin(node))
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            self.refuse_tag(node, path)
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, path)

    def origin(self, node: yaml.Node) -> Origin:
        return Origin(name=self.name, line=node.start_mark.line + 1)

    def say(self, node: yaml.Node, path: Path, text: str) -> None:
        self.problems.append(Problem(text=text, path=path, origin=self.origin(node)))

    def refuse_tag(self, node: yaml.Node, path: Path) -> None:
        self.say(node, path, "this YAML tag is not supported")  # not repeated: `!` may begin a password too

    def scalar(self, node: yaml.Node, path: Path) -> Value:
        if node.tag != _STR and node.tag not in _SCALARS:
            self.refuse_tag(node, path)
            return None
        try:
            return _scalar(node.tag, node.value)
        except (ArithmeticError, ValueError):
            self.say(node, path, "is not what its YAML tag says")
            return None

    def mapping(self, node: yaml.MappingNode, path: Path) -> Value:
        merged: dict[str, Value] = {}
        own: dict[str, Value] = {}
        for key, item in node.value:
            if key.tag == _MERGE:
                merged = self.merged(item, path) | merged
            elif not isinstance(key, yaml.ScalarNode):
                self.say(key, path, "a key must be a word")
            elif key.value in own:
                self.say(key, (*path, key.value), "this key is here twice")
            else:
                self.origins[(*path, key.value)] = self.origin(key)
                own[key.value] = self.value(item, (*path, key.value))
        return merged | own

    def merged(self, node: yaml.Node, path: Path) -> dict[str, Value]:
        """What `<<` brings in: a mapping, or a list of them of which the first wins."""
        found: dict[str, Value] = {}
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.value(item, path)
            if not isinstance(value, dict):
                self.say(item, path, "<< takes a mapping")
                continue
            found = value | found
        return found
