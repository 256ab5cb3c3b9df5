"""The configuration for people and editors: the effective values with secrets masked, and the JSON Schema."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from extauthz.config.tree import Config


def masked(config: Config) -> dict[str, object]:
    """The effective configuration as plain values, written as in a file; passwords in URLs are `***`.

    Peppers and tokens are not in it: a configuration holds only the names of files that do.
    """
    dumped: dict[str, object] = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def to_yaml(config: Config) -> str:
    """`masked` as YAML that `load` reads again, unless a password was masked."""
    return yaml.safe_dump(masked(config), sort_keys=False, width=120, default_flow_style=None)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a configuration file."""
    schema = Config.model_json_schema(by_alias=True, mode="validation")
    _write_defaults(schema, schema, masked(Config()))
    _write_defaults(schema, schema["$defs"]["RouteConfig"], {"cost": 0})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "extauthz configuration"}


def _write_defaults(schema: dict[str, Any], section: dict[str, Any], defaults: Mapping[str, object]) -> None:
    """Put defaults as they are written in a file (`250ms`) where pydantic has them as they are held (0.25)."""
    for key, value in defaults.items():
        entry = section["properties"][key]
        name = entry.get("$ref", "").rpartition("/")[2]
        if isinstance(value, dict) and name:
            entry.pop("default", None)
            _write_defaults(schema, schema["$defs"][name], value)
        else:
            entry["default"] = value


def schema_text() -> str:
    """`json_schema` as text."""
    return json.dumps(json_schema(), indent=2)
