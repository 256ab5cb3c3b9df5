"""File, variables and flags to one configuration, or to every fault there is."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from pydantic import ValidationError

from extauthz.config.advice import advice_on, warnings_of
from extauthz.config.bypass import bypass_problems, bypass_warnings
from extauthz.config.checks import Clash, clashes
from extauthz.config.content import Content, read_content
from extauthz.config.document import Document, Value, read_bytes
from extauthz.config.environment import from_environment, from_flags, lay_over
from extauthz.config.messages import MISSING, problems_of
from extauthz.config.problems import InvalidConfig, Origin, Path, Problem, in_order, origin_of, path_text
from extauthz.config.support import unsupported
from extauthz.config.tree import Config

_NO_PLAN = "there is no such plan: take this out, or give the plan a name and a tier"
_EMPTY = "is empty: that is what a full disk or half a write leaves; to go back to all defaults, restart, or write what they are"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration that is valid.

    `warnings` are for whoever starts the service, `advice` is for whoever checks the configuration (`--validate`): both
    print as one line each. `sources` tells for each path (`server.listen`) where its value was written; what is not in it
    is a default.
    """

    config: Config
    warnings: tuple[Problem, ...] = ()
    advice: tuple[Problem, ...] = ()
    sources: Mapping[str, Origin]

    def where(self, path: str) -> str:
        """`file:line: path` of a value, or the path alone for a default."""
        return str(Problem(text="", path=(path,), origin=self.sources.get(path)))


def load(
    file: Content | FilePath | str | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    may_be_empty: bool = True,
) -> Loaded:
    """Read the configuration: the defaults, over them the file, over it `EXTAUTHZ_…` variables, over them the flags.

    `file` None means no file; what was read of it before (`read_content`) may stand for it. `flags` are values by path, such as `{"server.listen": "0.0.0.0:9191"}`. A file in which there is
    nothing means the defaults, or is a fault without `may_be_empty`.

    Raises:
        InvalidConfig: there are faults; its `problems` are all of them.
    """
    content = file if file is None or isinstance(file, Content) else read_content(FilePath(file))
    document = Document(value={}, origins={}, problems=()) if content is None else read_bytes(content)
    default = None if content is None else Origin(name=content.name)
    problems = list(document.problems)
    tree = document.value if document.value is not None else {}
    if not isinstance(tree, dict):
        raise InvalidConfig([Problem(text="must hold keys, such as `server:`", origin=document.origins[()])])
    if not (tree or problems or may_be_empty or content is None):
        problems.append(Problem(text=_EMPTY, origin=default))
    if problems and not tree:
        raise InvalidConfig(problems)  # what the variables say of plans that nobody could read is no fault of theirs
    origins = {path: origin for path, origin in document.origins.items() if path}
    more, made = _overrides(tree, origins, env or {}, flags or {})
    problems += more
    problems += bypass_problems(env or {})
    config, faults = _validate(tree)
    problems += [_located(fault, origins, default) for fault in _of_no_plan(faults, made)]
    if config is None or problems:
        raise InvalidConfig(in_order(_once(problems)))
    return Loaded(
        config=config,
        warnings=tuple(_located(warning, origins, default) for warning in warnings_of(config)),
        advice=(*bypass_warnings(env or {}), *(_located(advice, origins, default) for advice in advice_on(config))),
        sources={path_text(path): origin for path, origin in origins.items()},
    )


def _overrides(
    tree: dict[str, Value], origins: dict[Path, Origin], env: Mapping[str, str], flags: Mapping[str, str]
) -> tuple[list[Problem], dict[Path, Origin]]:
    """Lay variables and flags over the tree; what is wrong with them, and the plans that only they speak of."""
    plans = tree.get("plans")
    plan_ids = tuple(plans) if isinstance(plans, dict) else tuple(Config().plans)
    from_env, problems = from_environment(env, plan_ids)
    from_command, more = from_flags(flags)
    overrides = from_env + from_command
    if plans is None and any(override.path[:1] == ("plans",) for override in overrides):
        tree["plans"] = Config().model_dump(mode="json", by_alias=True, include={"plans"}, exclude_none=True)["plans"]
    made = lay_over(tree, overrides, origins)
    return problems + more, {path: origin for path, origin in made.items() if path[:-1] == ("plans",)}


def _of_no_plan(faults: Iterable[Problem], made: Mapping[Path, Origin]) -> Iterator[Problem]:
    """Of a plan that only variables speak of: that there is none, instead of what it lacks, which the file has no line for."""
    for fault in faults:
        plan = fault.path[:2]
        if plan in made and fault.text == MISSING:
            yield Problem(text=_NO_PLAN, path=plan, origin=made[plan])
        else:
            yield fault


def _validate(tree: dict[str, Value]) -> tuple[Config | None, list[Problem]]:
    """The configuration, or the faults in it: those of single values, and those between the others."""
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        faults = problems_of(error)
        return None, faults + _between_the_rest(tree, [fault.path for fault in faults])
    faults = [clash.problem for clash in _all_clashes(config)]
    return (None if faults else config), faults


def _between_the_rest(tree: dict[str, Value], faulty: list[Path]) -> list[Problem]:
    """Faults between values that are valid each, found with every faulty one left out."""
    rest = deepcopy(tree)
    gone = [_leave_out(rest, path) for path in faulty]
    _keep_plans(rest)
    config = Config.model_validate(rest)
    return [clash.problem for clash in _all_clashes(config) if not _touches(clash, gone)]


def _keep_plans(tree: dict[str, Value]) -> None:
    """A plan with a fault is a plan all the same: whether `default_plan` exists is told by its key."""
    plans = tree.get("plans")
    if isinstance(plans, dict):
        for plan_id, plan in plans.items():
            least: dict[str, Value] = {"name": "-", "tier": "FREE"}
            plans[plan_id] = least | plan if isinstance(plan, dict) else least


def _leave_out(tree: dict[str, Value], path: Path) -> Path:
    """Take what stands at `path` out of the tree: for something in a list the whole list. The path that is gone."""
    place = tree
    depth = 0
    while depth < len(path) - 1:
        below = place.get(str(path[depth]))
        if not isinstance(below, dict):
            break
        place = below
        depth += 1
    place.pop(str(path[depth]), None)
    return path[: depth + 1]


def _all_clashes(config: Config) -> Iterable[Clash]:
    yield from clashes(config)
    for problem in unsupported(config):
        yield Clash(problem=problem)


def _touches(clash: Clash, gone: list[Path]) -> bool:
    """Whether a clash depends on a value that was left out."""
    return any(path[: len(left)] == left for path in (clash.problem.path, *clash.others) for left in gone)


def _located(problem: Problem, origins: Mapping[Path, Origin], default: Origin | None) -> Problem:
    return replace(problem, origin=problem.origin or origin_of(problem.path, origins, default))


def _once(problems: Iterable[Problem]) -> list[Problem]:
    """Without repetitions: a double key is reported once, however often the document is read."""
    return list(dict.fromkeys(problems))
