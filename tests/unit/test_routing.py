"""Route classes of spec 3.1: the table, the built-in rules, public paths, the cache."""

import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.model.request import Route, RouteClass
from extauthz.routing import BUILT_IN_RULES, BadPath, RouteKind, RouteRule, RouteTable

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


@pytest.mark.parametrize(
    ("path", "route_class"),
    [
        ("/health", "public"),
        ("/health/live", "public"),
        ("/health/", "public"),
        ("/healthz-admin", "standard"),
        ("/healthz", "standard"),
        ("/metrics", "public"),
        ("/docs", "public"),
        ("/docs/index.html", "public"),
        ("/openapi.json", "public"),
        ("/openapi.json.bak", "standard"),
        ("/redoc", "public"),
        ("/api/v1/auth/login", "public"),
        ("/api/v1/auth/", "public"),
        ("/api/v1/auth", "standard"),
        ("/api/v1/auth/refresh", "refresh"),
        ("/api/v1/auth/refresh/", "refresh"),
        ("/api/v1/auth/refresh-all", "public"),
        ("/api/v1/onboarding/", "onboarding"),
        ("/api/v1/onboarding/step/2", "onboarding"),
        ("/api/v1/onboarding", "standard"),
        ("/fdr", "operator"),
        ("/fdr/console", "operator"),
        ("/founder", "operator"),
        ("/founders", "standard"),
        ("/api/v1/runs", "sdk"),
        ("/api/v1/runs/17", "sdk"),
        ("/api/v1/runs-old", "standard"),
        ("/api/v1/runtime/x", "sdk"),
        ("/api/v1/runtime", "standard"),
        ("/api/v1/skills/x", "sdk"),
        ("/api/v1/agents/x", "sdk"),
        ("/", "standard"),
        ("/anything", "standard"),
        ("/HEALTH", "standard"),
    ],
)
def test_the_built_in_table(path: str, route_class: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert BUILT_IN.match(method, path, NONE).route_class == route_class
        assert BUILT_IN.match(method, path + "?a=/../b", NONE).route_class == route_class


def test_the_built_in_table_costs_nothing_and_asks_no_scope() -> None:
    assert {(rule.route.cost, rule.route.scopes, rule.methods) for rule in BUILT_IN_RULES} == {(0, frozenset(), None)}
    lengths = [len(rule.pattern) for rule in BUILT_IN_RULES]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == 14


@pytest.mark.parametrize(
    ("path", "route_class"),
    [
        ("//health", "standard"),
        ("/health//", "standard"),
        ("/%68ealth", "standard"),
        ("/api/v1/auth//login", "standard"),
        ("/api//v1/auth/refresh", "refresh"),
        ("/api//v1/runs", "sdk"),
        ("/api/v1/%72uns", "sdk"),
        ("/%66dr", "operator"),
        ("/health#/../api/v1/runs", "standard"),
        ("/health;x=1", "standard"),
    ],
)
def test_public_holds_only_where_raw_and_normalised_are_the_same(path: str, route_class: str) -> None:
    assert BUILT_IN.match("GET", path, NONE).route_class == route_class


@pytest.mark.parametrize(
    "path",
    ["/health/../api/v1/runs", "/health/..%3b/api/v1/runs", "/api%2fv1%2fruns", "", "*", "/health/..%3B/x", "/a%00"],
)
@pytest.mark.parametrize("context", [{}, {"extauthz.class": "public"}])
def test_nobody_walks_past_a_gate(path: str, context: dict[str, str]) -> None:
    for _ in range(2):  # a refusal is no entry of the cache
        with pytest.raises(BadPath):
            BUILT_IN.match("GET", path, context)


def test_rules_hold_in_the_order_of_the_file_and_before_the_built_in_table() -> None:
    first, second = rule("prefix", "/api", "standard", cost=1), rule("exact", "/api/v1/runs", "sdk", cost=2)
    assert RouteTable([first, second]).match("GET", "/api/v1/runs", NONE) == first.route
    assert RouteTable([second, first]).match("GET", "/api/v1/runs", NONE) == second.route
    assert RouteTable([second, first]).match("GET", "/api/v1/runs/1", NONE) == first.route
    assert class_of("/health", rule("exact", "/health", "standard")) == "standard"


def test_a_rule_gives_cost_and_scopes() -> None:
    route = RouteTable([rule("prefix", "/runs", cost=1_500_000, scopes="run admin")]).match("GET", "/runs/1", NONE)
    assert route == Route(route_class=RouteClass.SDK, cost=1_500_000, scopes=frozenset({"run", "admin"}))


def test_a_rule_for_some_methods_leaves_the_others_to_the_next() -> None:
    rules = (rule("prefix", "/a", "operator", methods=frozenset({"POST", "PUT"})), rule("prefix", "/a", "refresh"))
    assert class_of("/a", *rules, method="POST") == "operator"
    assert class_of("/a", *rules, method="PUT") == "operator"
    assert class_of("/a", *rules, method="GET") == "refresh"
    assert class_of("/a", *rules, method="post") == "refresh"
    assert class_of("/a", rules[0], method="GET") == "standard"


@pytest.mark.parametrize(
    ("kind", "pattern", "path", "matches"),
    [
        ("exact", "/a/b", "/a/b", True),
        ("exact", "/a/b", "/a/b/", False),
        ("exact", "/a/b", "/a/b/c", False),
        ("exact", "/a/b", "/a//b", True),
        ("prefix", "/a", "/a", True),
        ("prefix", "/a", "/a/b", True),
        ("prefix", "/a", "/ab", False),
        ("prefix", "/a/", "/a/b", True),
        ("prefix", "/a/", "/a", False),
        ("prefix", "/", "/", True),
        ("prefix", "/", "/anything", True),
        ("prefix", "/caf\u00e9", "/caf%c3%a9/x", True),
        ("regex", "/a/[0-9]+", "/a/17", True),
        ("regex", "/a/[0-9]+", "/a/17/b", False),
        ("regex", "/a/[0-9]+", "/x/a/17", False),
        ("regex", "/a|/b", "/b", True),
        ("regex", "/a|/b", "/bc", False),
        ("regex", r"/\pL+", "/\u00e9", True),
        ("regex", "(?i)/ADMIN(/.*)?", "/admin/x", True),
    ],
)
def test_kinds_of_patterns(kind: str, pattern: str, path: str, *, matches: bool) -> None:
    assert class_of(path, rule(kind, pattern, "operator")) == ("operator" if matches else "standard")


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "[z-a]", "a{1000}{1000}", "*"])
def test_a_regex_that_re2_does_not_know_is_an_error_that_names_it(pattern: str) -> None:
    with pytest.raises(ValueError, match="not valid in RE2") as caught:
        RouteTable([rule("regex", pattern)])
    assert repr(pattern) in str(caught.value)


def test_a_bad_regex_writes_nothing_to_stderr_by_itself() -> None:
    program = (
        "from extauthz.routing import *; from extauthz.model.request import *\n"
        "try: RouteTable([RouteRule(kind=RouteKind.REGEX, pattern='(', route=Route(route_class=RouteClass.SDK))])\n"
        "except ValueError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")


@pytest.mark.parametrize("kind", ["exact", "prefix"])
@pytest.mark.parametrize("pattern", ["", "a", "/a/../b", "/a//b", "/a%20b", "/a?x", "/a#b"])
def test_a_pattern_that_can_never_match_is_an_error_that_names_it(kind: str, pattern: str) -> None:
    with pytest.raises(ValueError, match="can never match") as caught:
        RouteTable([rule(kind, pattern)])
    assert repr(pattern) in str(caught.value)


def test_a_regex_cannot_be_made_slow() -> None:
    table = RouteTable([rule("regex", "/(a+)+", "operator")])
    assert table.match("GET", "/" + "a" * 50_000 + "!", NONE).route_class == "standard"
    assert table.match("GET", "/" + "a" * 50_000, NONE).route_class == "operator"


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    table = RouteTable()
    for _ in range(2):
        assert table.match("GET", "/health", {"extauthz.class": "sdk"}).route_class == "sdk"
        assert table.match("GET", "/health", NONE).route_class == "public"
        assert table.match("GET", "/health?x", NONE).route_class == "public"


def test_the_cache_is_bounded_in_entries_and_in_their_length() -> None:
    table = RouteTable()
    for number in range(20_000):
        table.match("GET", f"/flood/{number}", NONE)
    table.match("GET", "/api/v1/runs/" + "x" * 300, NONE)
    table.match("M" * 300, "/api/v1/runs", NONE)
    assert 0 < table.cached <= 8192
    before = table.cached
    assert table.match("GET", "/api/v1/runs/" + "y" * 51_200, NONE).route_class == "sdk"
    assert table.cached == before


segments = st.sampled_from(["health", "api", "v1", "runs", "auth", "refresh", "fdr", "x", "onboarding", "agents"])


@given(st.lists(segments, max_size=5).map(lambda parts: "/" + "/".join(parts)), st.sampled_from(["", "/"]))
def test_the_longest_built_in_prefix_wins(path: str, end: str) -> None:
    path += end
    below = [rule for rule in BUILT_IN_RULES if (path + "/").startswith(rule.pattern.rstrip("/") + "/")]
    named = [rule for rule in below if not rule.pattern.endswith("/") or path.startswith(rule.pattern)]
    expected = max(named, key=lambda rule: len(rule.pattern)).route.route_class if named else RouteClass.STANDARD
    assert BUILT_IN.match("GET", path.replace("//", "/"), NONE).route_class == expected
