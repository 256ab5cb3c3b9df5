"""Faults that no single value has: combinations that cannot work (spec sections 3 to 5 and 8)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from extauthz.config.problems import Path, Problem, as_word, did_you_mean
from extauthz.config.routes import CHARGED_CLASSES
from extauthz.config.tree import Config
from extauthz.config.units import format_duration
from extauthz.config.url import ProviderUrl
from extauthz.model.identity import is_valid_id
from extauthz.model.request import RouteClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A fault between values: what is wrong, told at `problem.path`, and the other paths it depends on."""

    problem: Problem
    others: tuple[Path, ...] = ()


def clashes(config: Config) -> Iterator[Clash]:
    """Every combination in the configuration that cannot work."""
    yield from _server(config)
    yield from _files(config)
    yield from _routes(config)
    yield from _plans(config)


def _clash(path: str, text: str, *others: str) -> Clash:
    problem = Problem(path=tuple(path.split(".")), text=text)
    return Clash(problem=problem, others=tuple(tuple(other.split(".")) for other in others))


def _server(config: Config) -> Iterator[Clash]:
    server = config.server
    if server.margin >= server.budget:
        text = (
            f"{format_duration(server.margin)} leaves nothing of the budget of {format_duration(server.budget)}:"
            " the margin must be shorter"
        )
        yield _clash("server.margin", text, "server.budget")
    if server.listen == config.admin.listen and server.listen.port:
        text = f"{config.admin.listen} is server.listen already: the two ports need an address each"
        yield _clash("admin.listen", text, "server.listen")
    if server.workers > 1 and config.providers.protection.url.scheme == "memory":
        text = "with memory: each process would count alone and limits would not hold; this needs Redis"
        yield _clash("server.workers", text, "providers.protection.url")
    if not config.gates.auth.methods:
        yield _clash(
            "gates.auth.methods", "must name at least one method, or nobody could ever call; supported: api_key"
        )


def _files(config: Config) -> Iterator[Clash]:
    """Each file has one use; only the three kinds of state may share one."""
    owners: dict[str, str] = {}
    providers = config.providers
    state = {f"providers.{name}.url": providers.urls()[name] for name in ("credentials", "lifecycle", "billing")}
    for path, url in state.items():
        owners.setdefault(_same_file(url), path)
    owners.pop("", None)
    others = {
        "providers.events.url": _same_file(providers.events.url),
        "providers.events.dead_letter": os.path.realpath(providers.events.dead_letter),
    }
    for name, snapshot in (("lifecycle", providers.lifecycle.snapshot), ("protection", providers.protection.snapshot)):
        if snapshot is not None:
            others[f"providers.{name}.snapshot"] = os.path.realpath(snapshot)
    for path, file in others.items():
        if file in owners:
            yield _clash(path, f"is the file of {owners[file]} already: it needs a file of its own", owners[file])
        elif file:
            owners[file] = path


def _same_file(url: ProviderUrl) -> str:
    return os.path.realpath(url.path) if url.scheme == "sqlite" else ""


def _routes(config: Config) -> Iterator[Clash]:
    for index, route in enumerate(config.routes):
        where: Path = ("routes", index)
        if route.route_class is RouteClass.PUBLIC and route.scopes:
            text = "nobody is authenticated on a public route: no scope can be required"
            yield Clash(problem=Problem(path=(*where, "scopes"), text=text), others=((*where, "class"),))
        if route.cost and route.route_class not in CHARGED_CLASSES:
            text = f"class {route.route_class} is never charged: a cost is for {' and '.join(CHARGED_CLASSES)} only"
            yield Clash(problem=Problem(path=(*where, "cost"), text=text), others=((*where, "class"),))


def _plans(config: Config) -> Iterator[Clash]:
    for plan_id in config.plans:
        if not is_valid_id(plan_id):
            text = "is no id of a plan: 1 to 128 letters, digits, _, . and -, beginning with a letter or a digit"
            yield Clash(problem=Problem(path=("plans", plan_id), text=text))
    if config.default_plan not in config.plans:
        known = [as_word(plan_id) for plan_id in config.plans]
        hint = did_you_mean(config.default_plan, known)
        text = f"{as_word(config.default_plan)!r} is not in plans ({', '.join(known) or 'none'}). {hint}"
        yield _clash("default_plan", text.rstrip(" ."), "plans")
