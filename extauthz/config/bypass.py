"""The emergency bypasses that the environment sets: `LIFECYCLE_BYPASS=true` and its two sisters (spec section 4)."""

from collections.abc import Iterator, Mapping
from typing import Final

from extauthz.config.problems import InvalidConfig, Origin, Problem, is_word
from extauthz.model.decision import FAIL_OPEN_GATES, Gate

BYPASS_VARIABLES: Final = {gate: f"{gate.value.upper()}_BYPASS" for gate in FAIL_OPEN_GATES}
"""The variable of each gate that may be bypassed."""

_AUTH: Final = "AUTH_BYPASS"
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off", ""})


def bypassed_gates(env: Mapping[str, str]) -> Mapping[Gate, str]:
    """The gates that the environment bypasses, each with the name of its variable.

    Raises:
        InvalidConfig: a value that is not understood; its `problems` are all of them.
    """
    problems = list(bypass_problems(env))
    if problems:
        raise InvalidConfig(problems)
    return {gate: name for gate, name in BYPASS_VARIABLES.items() if _word(env, name) in _TRUE}


def bypass_problems(env: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with these variables."""
    for name in BYPASS_VARIABLES.values():
        if _word(env, name) not in _TRUE | _FALSE:
            shown = f", not {env[name]!r}" if is_word(env[name]) else ""
            yield _problem(name, f"must be true or false{shown}")
    if _word(env, _AUTH) not in _FALSE:
        yield _problem(_AUTH, "there is no bypass for auth: without it nobody would know who is calling; take it out")


def bypass_warnings(env: Mapping[str, str]) -> Iterator[Problem]:
    """What whoever starts the service should know of these variables, which are valid."""
    for gate, name in bypassed_gates(env).items():
        yield _problem(name, bypass_warning(gate))


def bypass_warning(gate: Gate) -> str:
    """What a bypass without an end means."""
    return f"the {gate.value} gate is bypassed, without an end: it denies nobody until this is taken out and the service restarted"


def _word(env: Mapping[str, str], name: str) -> str:
    return env.get(name, "").strip().lower()


def _problem(name: str, text: str) -> Problem:
    return Problem(text=text, origin=Origin(name=f"environment {name}"))
