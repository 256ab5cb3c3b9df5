"""Two configurations: what is different, and what of a new one can be taken over without a restart."""

from collections.abc import Iterator
from typing import Final

from extauthz.config.section import Section
from extauthz.config.tree import Config

RELOADED: Final = (
    "gates.auth.strip_authorization",
    "gates.lifecycle",
    "gates.billing",
    "gates.protection",
    "routes",
    "plans",
    "default_plan",
)
"""What a reload takes over, with all that is below it."""


def differences(before: Config, after: Config) -> tuple[str, ...]:
    """The paths of all values that are not the same, as `plans.free.limits.rate`; of a list it is the list's."""
    return tuple(_between(before, after, ""))


def _between(before: object, after: object, path: str) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, Section) and type(before) is type(after):
        yield from _below(dict(before), dict(after), path)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from _below(before, after, path)
    else:
        yield path


def _below(before: dict[str, object], after: dict[str, object], path: str) -> Iterator[str]:
    for key in dict.fromkeys([*before, *after]):
        yield from _between(before.get(key), after.get(key), f"{path}.{key}" if path else key)


def is_reloaded(path: str) -> bool:
    """Whether a reload takes over what stands at `path`."""
    return any(path == known or path.startswith(f"{known}.") for known in RELOADED)


def taken_over(running: Config, given: Config) -> Config:
    """`running` with everything of `given` that a reload takes over."""
    gates = given.gates
    auth = running.gates.auth.model_copy(update={"strip_authorization": gates.auth.strip_authorization})
    parts = {"gates": gates.model_copy(update={"auth": auth})}
    parts |= {name: getattr(given, name) for name in ("routes", "plans", "default_plan")}
    return running.model_copy(update=parts)
