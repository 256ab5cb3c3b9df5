"""What pydantic found, in words for the person who wrote the file."""

import re
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from extauthz.config.problems import Path, Problem, did_you_mean
from extauthz.config.schema import allowed_at
from extauthz.model.request import RouteClass

_AUTH: Final = (
    "auth is always enforced and always fail-closed (a failing credential store answers 503): remove this key"
)
_FIXED: Final = "cannot be set; `actions` knows rate, burst and cost"

_KEYS: Final[dict[Path, str]] = {
    ("gates", "auth", "mode"): _AUTH,
    ("gates", "auth", "on_failure"): _AUTH,
    ("gates", "auth", "bypass"): _AUTH,
    ("gates", "protection", "actions", "quota"): f"{_FIXED} (the day quota is denied by the billing gate)",
    ("gates", "protection", "actions", "anomaly"): f"{_FIXED} (anomaly detection only ever warns)",
    ("providers", "credentials", "cache", "max_stale"): "auth has no stale answers: remove this key",
}
"""Keys that somebody may look for and that are left out on purpose."""

_VALUES: Final[dict[tuple[Path, str], str]] = {
    (
        ("gates", "lifecycle", "on_failure"),
        "local",
    ): "`local` is for the protection gate only: allowed are open and closed",
    (
        ("gates", "billing", "on_failure"),
        "local",
    ): "`local` is for the protection gate only: allowed are open and closed",
    (("gates", "protection", "actions", "cost"), "throttle"): "cost cannot be throttled: allowed are reject and warn",
}

MISSING: Final = "is missing"

_TYPES: Final = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false (yes, no, on and off are words)",
    "bool_parsing": "must be true or false (yes, no, on and off are words)",
    "string_type": "must be a text; put it in quotes",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list, such as [a, b]",
    "dict_type": "must hold keys",
    "model_type": "must hold keys",
    "model_attributes_type": "must hold keys",
    "missing": MISSING,
}

_KEYS_DUE: Final = frozenset({"dict_type", "model_type", "model_attributes_type"})
_SECRETIVE: Final = ("url", "token", "secret", "password", "pepper", "key")
_LONGEST_SHOWN: Final = 40


def problems_of(error: ValidationError) -> list[Problem]:
    """One problem for each thing pydantic found, not yet located in a file."""
    found: list[Problem] = []
    for detail in error.errors(include_url=False):
        path = tuple(step for step in detail["loc"] if step != "[key]")
        found.append(Problem(text=_text(detail, path), path=path))
    return found


def _text(detail: ErrorDetails, path: Path) -> str:
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path)
    if (path, str(detail["input"])) in _VALUES:
        return _VALUES[path, str(detail["input"])]
    if detail["type"] in ("enum", "literal_error"):
        return _one_of(str(detail.get("ctx", {})["expected"]), detail["input"])
    if detail["type"] == "missing":
        return _reason(detail, path)
    if detail["type"] in _KEYS_DUE and not isinstance(detail["input"], bool | None):
        return _reason(detail, path)  # `admin: …` may be the token itself, `lifecycle: …` a URL
    return _reason(detail, path) + _shown(detail["input"], path)


def _unknown_key(path: Path) -> str:
    if path in _KEYS:
        return _KEYS[path]
    allowed = allowed_at(path[:-1])
    return " ".join(
        filter(None, ("unknown key;", did_you_mean(path[-1], allowed), f"allowed here: {', '.join(allowed)}"))
    )


def _reason(detail: ErrorDetails, path: Path) -> str:
    context: dict[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"must be at least {context['ge']:,}"
        case "less_than_equal":
            return f"must be at most {context['le']:,}"
        case "missing" if path[-1] == "class":
            return f"is missing: one of {', '.join(RouteClass)}"
        case kind:
            return _TYPES.get(kind, detail["msg"])


def _one_of(expected: str, given: object) -> str:
    """`expected` is pydantic's text, with the words in quotes: `'a', 'b' or 'c'`."""
    words = re.findall(r"'([^']*)'", expected)
    return "; ".join(filter(None, (f"must be one of {', '.join(words)}", did_you_mean(given, words))))


def _shown(value: object, path: Path) -> str:
    """`, not x` where the value is short and cannot be a secret: no URL either, which may hold one."""
    if any(word in str(path[-1] if path else "").lower() for word in _SECRETIVE):
        return ""
    if value is None:
        return ", not empty"
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    text = repr(value) if isinstance(value, str) else str(value)
    harmless = isinstance(value, str | int | Decimal) and len(text) <= _LONGEST_SHOWN and not set(text) & set(":@")
    return f", not {text}" if harmless else ""
