"""What Envoy's own configuration says of a route, and `public` from there or from a rule (spec 3.1)."""

from collections.abc import Mapping

import pytest

from extauthz.model.request import Route, RouteClass
from extauthz.routing import BadContext, BadPath, RouteKind, RouteRule, RouteTable

NONE: Mapping[str, str] = {}
BUILT_IN = RouteTable()


def rule(
    kind: str,
    pattern: str,
    route_class: str = "sdk",
    *,
    methods: frozenset[str] | None = None,
    cost: int = 0,
    scopes: str = "",
) -> RouteRule:
    route = Route(route_class=RouteClass(route_class), cost=cost, scopes=frozenset(scopes.split()))
    return RouteRule(kind=RouteKind(kind), pattern=pattern, methods=methods, route=route)


def class_of(path: str, *rules: RouteRule, method: str = "GET", context: Mapping[str, str] = NONE) -> str:
    return RouteTable(rules).match(method, path, context).route_class.value


@pytest.mark.parametrize("route_class", list(RouteClass))
def test_envoys_own_configuration_replaces_the_class(route_class: RouteClass) -> None:
    for path in ("/api/v1/runs", "/health", "/other"):
        assert class_of(path, context={"extauthz.class": route_class.value}) == route_class


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("1", 1_000_000),
        ("1.25", 1_250_000),
        ("0.000001", 1),
        ("007.5", 7_500_000),
        ("1000000000", 10**15),
        ("1000000000.000000", 10**15),
    ],
)
def test_envoys_own_configuration_replaces_the_cost(text: str, micros: int) -> None:
    table = RouteTable([rule("prefix", "/a", cost=7, scopes="s")])
    expected = Route(route_class=RouteClass.SDK, cost=micros, scopes=frozenset({"s"}))
    assert table.match("GET", "/a", {"extauthz.cost": text}) == expected
    assert table.match("GET", "/a", {"extauthz.cost": text, "extauthz.class": "sdk"}) == expected
    assert table.match("GET", "/a", {"other": "x"}).cost == 7


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-1", "+1", "-0", "1e3", "NaN", "Infinity", "0.0000001", "1000000000.000001", "1000000001"),
        *(
            "99999999999",
            "1,5",
            ".5",
            "5.",
            " 1",
            "1 ",
            "1\n",
            "0x10",
            "one",
            "\u0661",
            "1_000",
            pytest.param("9" * 5000, id="5000 digits"),
        ),
    ],
)
def test_a_cost_that_is_nonsense_is_refused(text: str) -> None:
    with pytest.raises(BadContext, match=r"extauthz\.cost"):
        BUILT_IN.match("GET", "/api/v1/runs", {"extauthz.cost": text})


@pytest.mark.parametrize("text", ["", "PUBLIC", "public ", "free", "\u00fcblich", "public\x00"])
def test_a_class_that_is_nonsense_is_refused(text: str) -> None:
    with pytest.raises(BadContext, match=r"extauthz\.class"):
        BUILT_IN.match("GET", "/api/v1/runs", {"extauthz.class": text, "extauthz.cost": "1"})


@pytest.mark.parametrize("path", ["//other", "/%6fther", "/a//b", "/other#x"])
def test_a_public_of_context_or_rule_holds_only_for_an_unchanged_path(path: str) -> None:
    assert class_of(path, context={"extauthz.class": "public"}) == "standard"
    assert class_of(path, rule("prefix", "/", "public")) == "standard"
    assert class_of("/other", rule("prefix", "/", "public")) == "public"


def test_a_public_route_that_does_not_hold_keeps_cost_and_scopes() -> None:
    table = RouteTable([rule("prefix", "/", "public", cost=3, scopes="s")])
    expected = Route(route_class=RouteClass.STANDARD, cost=3, scopes=frozenset({"s"}))
    assert table.match("GET", "//a", NONE) == expected


def test_a_bad_path_is_told_before_a_bad_context() -> None:
    with pytest.raises(BadPath):
        BUILT_IN.match("GET", "/..", {"extauthz.class": "nonsense"})
