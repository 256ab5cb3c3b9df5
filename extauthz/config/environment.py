"""Variables and flags: values laid over those of the file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, get_origin

from extauthz.config.document import Value, read_value
from extauthz.config.problems import Origin, Path, Problem, did_you_mean
from extauthz.config.schema import ANY_KEY, every_path, type_at

PREFIX: Final = "EXTAUTHZ_"
_LEVEL: Final = "__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A value for one path, and where it comes from."""

    path: Path
    value: Value
    origin: Origin


def from_environment(env: Mapping[str, str], plan_ids: tuple[str, ...]) -> tuple[list[Override], list[Problem]]:
    """The overrides in the environment: `EXTAUTHZ_` and the path, `__` between levels.

    A variable with `__` that names no key is a fault; other `EXTAUTHZ_*` variables, such as those that Kubernetes makes for
    a service of that name, are none of ours. Plan ids are found whatever their case.
    """
    overrides: list[Override] = []
    problems: list[Problem] = []
    for name in sorted(env):
        if not name.startswith(PREFIX):
            continue
        origin = Origin(name=f"environment {name}")
        path = _path_of(name, plan_ids)
        if type_at(path) is not None:
            problems += _read(path, env[name], origin, overrides)
        elif _LEVEL in name.removeprefix(PREFIX):
            problems.append(Problem(text=f"names no key of the configuration. {_nearest(name)}".strip(), origin=origin))
    return overrides, problems


def from_flags(flags: Mapping[str, str]) -> tuple[list[Override], list[Problem]]:
    """The overrides of the command line, by path such as `server.listen`."""
    overrides: list[Override] = []
    problems: list[Problem] = []
    for key, text in flags.items():
        origin = Origin(name="command line")
        path: Path = tuple(key.split("."))
        if type_at(path) is None:
            problems.append(Problem(text="unknown key", path=path, origin=origin))
        else:
            problems += _read(path, text, origin, overrides)
    return overrides, problems


def _read(path: Path, text: str, origin: Origin, overrides: list[Override]) -> Iterator[Problem]:
    document = read_value(text, origin.name)
    yield from document.problems
    if not document.problems:
        overrides.append(Override(path=path, value=document.value, origin=origin))


def _path_of(name: str, plan_ids: tuple[str, ...]) -> Path:
    steps = name.removeprefix(PREFIX).lower().split(_LEVEL)
    if len(steps) > 1 and get_origin(type_at((steps[0],))) is dict:
        steps[1] = next((plan_id for plan_id in plan_ids if plan_id.lower() == steps[1]), steps[1])
    return tuple(steps)


def _nearest(name: str) -> str:
    names = [_LEVEL.join(map(str, path)).upper() for path in every_path() if not {ANY_KEY, "[]"} & set(path)]
    # Without the prefix, which would make every name look like every other.
    return did_you_mean(name.removeprefix(PREFIX), names).replace("mean ", f"mean {PREFIX}")


def lay_over(tree: dict[str, Value], overrides: list[Override], origins: dict[Path, Origin]) -> dict[Path, Origin]:
    """Put each override at its path, making the sections on the way; a section that is no mapping is left to be reported.

    The sections that were made, each with the first override below it.
    """
    made: dict[Path, Origin] = {}
    for override in overrides:
        place = tree
        for depth, step in enumerate(override.path[:-1], start=1):
            below = place.get(str(step))
            if below is None:
                below = place[str(step)] = {}
                made[override.path[:depth]] = override.origin
            if not isinstance(below, dict):
                break
            place = below
        else:
            place[str(override.path[-1])] = override.value
            for path in [path for path in origins if path[: len(override.path)] == override.path]:
                del origins[path]
            origins[override.path] = override.origin
    return made
