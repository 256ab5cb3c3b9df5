"""What every part of the configuration has in common."""

from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A group of keys: frozen, and nothing in it that it does not know.

    The texts below its fields are the descriptions in the JSON Schema and in docs/configuration.md.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_by_name=True, validate_by_alias=True
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, data: Any) -> Any:
        """`server:` with every key below it commented out is null in YAML; it means "as by default"."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or not _holds_keys(cls, key)}


def _holds_keys(section: type[Section], key: object) -> bool:
    field = section.model_fields.get(str(key))
    if field is None:
        return False
    kind = field.annotation
    return get_origin(kind) in (dict, tuple) or (isinstance(kind, type) and issubclass(kind, Section))
