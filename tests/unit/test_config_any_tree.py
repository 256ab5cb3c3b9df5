"""Whatever a file holds, loading it ends in a configuration or in faults that say where and why."""

import copy
import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.config import Config, InvalidConfig, json_schema, load, masked

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-2, max_value=10**10),
    st.sampled_from(
        [0.5, "off", "5s", "0s", "-1s", "memory:", "none:", "redis://h", "sqlite:///extauthz.db", "free", "local"]
    ),
    st.just([]),
    st.just({}),
    st.just([{}, {"class": "sdk", "exact": "/"}]),
    st.just({"free": 1, "x y": {"name": "X", "tier": "PRO"}}),
)


def _paths(tree: object, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [above] if above else []
    for key, below in tree.items() if isinstance(tree, dict) else ():
        found += _paths(below, (*above, str(key)))
    return found


_DEFAULTS = masked(Config())
_PLACES = _paths(_DEFAULTS)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(_PLACES), _ODD), max_size=6))
def test_any_tree_is_a_configuration_or_a_list_of_faults(
    tmp_path: Path, changes: list[tuple[tuple[str, ...], object]]
) -> None:
    tree = json.loads(json.dumps(_DEFAULTS))
    for path, value in changes:
        place = tree
        for step in path[:-1]:
            place = place.get(step) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = copy.deepcopy(value)  # later changes must not reach into the shared samples
    file = tmp_path / "c.json"  # JSON is YAML
    file.write_text(json.dumps(tree, indent=1))
    _check(file)


def _check(file: Path) -> None:
    try:
        config = load(file).config
    except InvalidConfig as error:
        problems = error.problems
    else:
        assert config.plan_book().default.plan_id == config.default_plan
        assert set(masked(config)) <= set(json_schema()["properties"])
        return
    assert problems
    assert all(problem.text and problem.origin is not None for problem in problems)
    assert not [problem for problem in problems if "Input should" in str(problem)], (
        "pydantic's words are for programmers"
    )
