"""The table of every key for docs/configuration.md, made from the models so that it cannot go stale.

`python -m extauthz.config.reference` prints it.
"""

import json
import sys
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from extauthz.config.schema import ANY_KEY, as_section, every_path
from extauthz.config.section import Section
from extauthz.config.tree import Config


def table() -> str:
    """A Markdown table: key, default, meaning."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in _rows()]
    return "\n".join(lines)


def _rows() -> Iterator[tuple[str, str, str]]:
    defaults: object = Config().model_dump(mode="json", by_alias=True)
    for path in every_path():
        steps = [str(step) for step in path]
        key = ".".join(steps).replace(f".{ANY_KEY}", ".<id>").replace(".[]", "[]")
        field = _field(steps)
        yield key, _default(_at(defaults, steps), field), (field.description or "").replace("|", "\\|")


def _field(steps: list[str]) -> FieldInfo:
    section: type[Section] = Config
    *above, last = steps
    for step in above:
        if step in (ANY_KEY, "[]"):
            continue
        field = _named(section, step)
        section = as_section(field.annotation) or _item(field.annotation)
    return _named(section, last)


def _named(section: type[Section], key: str) -> FieldInfo:
    return next(field for name, field in section.model_fields.items() if key in (name, field.alias))


def _item(kind: object) -> type[Section]:
    arguments: tuple[object, ...] = getattr(kind, "__args__", ())
    return next(found for found in map(as_section, arguments) if found is not None)


def _at(tree: object, steps: list[str]) -> object:
    for step in steps:
        if not isinstance(tree, dict) or step not in tree:
            return None
        tree = tree[step]
    return tree


def _default(value: object, field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    if value is None:
        value = field.get_default()
    if value in (None, ()):
        return "not set"
    return f"`{value if isinstance(value, str) else json.dumps(value, default=int)}`"


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
