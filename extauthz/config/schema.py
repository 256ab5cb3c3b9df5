"""What keys there are: a walk over the models by path, for variables and for "did you mean"."""

from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Final, Union, get_args, get_origin

from extauthz.config.problems import Path
from extauthz.config.section import Section
from extauthz.config.tree import Config

ANY_KEY: Final = "*"
"""Stands for the keys of a mapping that may be named freely (plan ids)."""


def keys_of(section: type[Section]) -> dict[str, object]:
    """The keys of a section as they are written, with the types of their values."""
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def type_at(path: Path) -> object | None:
    """The type of what stands at `path`; None where the configuration has no such key."""
    kind: object = Config
    for step in path:
        kind = _step(kind, step)
        if kind is None:
            return None
    return kind


def allowed_at(path: Path) -> tuple[str, ...]:
    """The keys that a section at `path` knows; empty where there is none."""
    section = as_section(type_at(path))
    return () if section is None else tuple(keys_of(section))


def as_section(kind: object) -> type[Section] | None:
    """The section class that a type is or may be (`X | None`); None where it holds no section."""
    plain = _plain(kind)
    return plain if isinstance(plain, type) and issubclass(plain, Section) else None


def _plain(kind: object) -> object:
    """`X` for `X | None` and for `Annotated[X, ...]`."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (UnionType, Union):
        return _plain(next(option for option in get_args(kind) if option is not type(None)))
    return kind


def _step(kind: object, step: str | int) -> object | None:
    plain = _plain(kind)
    section = as_section(plain)
    if section is not None:
        return keys_of(section).get(str(step))
    if get_origin(plain) is dict and isinstance(step, str):
        return _value_of(plain)
    if get_origin(plain) is tuple and isinstance(step, int):
        return _plain(get_args(plain)[0])
    return None


def _value_of(mapping: object) -> object:
    return _plain(get_args(mapping)[1])


def every_path(kind: object = Config, above: Path = ()) -> Iterable[Path]:
    """Every path to a value that is no section, in the order of the models; `*` for freely named keys, `[]` for items."""
    section = as_section(kind)
    if section is not None:
        for key, below in keys_of(section).items():
            yield from every_path(below, (*above, key))
        return
    plain = _plain(kind)
    inner = get_args(plain)[-1 if get_origin(plain) is dict else 0] if get_origin(plain) in (dict, tuple) else None
    if inner is not None and as_section(inner) is not None:
        yield from every_path(inner, (*above, ANY_KEY if get_origin(plain) is dict else "[]"))
    else:
        yield above
