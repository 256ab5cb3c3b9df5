"""However many rules there are, the first in the order of the file wins (spec 3.1): the table against a walk through them."""

from collections.abc import Sequence

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extauthz.model.request import Route, RouteClass
from extauthz.routing import BUILT_IN_RULES, RouteKind, RouteRule, RouteTable
from extauthz.routing.regexes import RegexIndex

METHODS = ("GET", "POST", "PUT")
SEGMENTS = ("a", "b", "ab", "health", "api", "v1", "runs", "caf\u00e9", "a;b", "a b", "7", "auth")
REGEXES = (
    *("/a|/b", "/a/[^/]+", "/[ab]*", ".*", "", "/(a|b)+(/.*)?", "(?i)/A.*", ".*/runs", r"/\pL+/\d+", "/a$", "^/b/?"),
    *(r".*\b7", "/health", "[^\\x00-\\x{10FFFF}]", "(/[^/]+){2}", "(/[^/]+){2}", ".*a.b", "/x|.*|/y", "(?s).*"),
)

paths = st.builds(
    lambda parts, end: "/" + "/".join(parts) + (end if parts else ""),
    st.lists(st.sampled_from(SEGMENTS), max_size=5),
    st.sampled_from(["", "/"]),
)
patterns = st.one_of(
    st.tuples(st.sampled_from([RouteKind.EXACT, RouteKind.PREFIX]), paths),
    st.tuples(st.just(RouteKind.REGEX), st.sampled_from(REGEXES)),
)
methods_of_a_rule = st.none() | st.frozensets(st.sampled_from(METHODS), min_size=1, max_size=2)


def _numbered(drawn: Sequence[tuple[tuple[RouteKind, str], frozenset[str] | None]]) -> list[RouteRule]:
    """Rules that are told apart by their cost."""
    return [
        RouteRule(kind=kind, pattern=pattern, methods=methods, route=Route(route_class=RouteClass.SDK, cost=number))
        for number, ((kind, pattern), methods) in enumerate(drawn)
    ]


rule_lists = st.lists(st.tuples(patterns, methods_of_a_rule), max_size=12).map(_numbered)


def _matches(rule: RouteRule, path: str) -> bool:
    if rule.kind is RouteKind.REGEX:
        return re2.fullmatch(rule.pattern, path) is not None
    if rule.kind is RouteKind.EXACT:
        return path == rule.pattern
    below = rule.pattern if rule.pattern.endswith("/") else f"{rule.pattern}/"
    return path.startswith(below) or path == rule.pattern


def _walked(rules: Sequence[RouteRule], method: str, path: str) -> Route:
    """The model: one rule after the other."""
    for rule in (*rules, *BUILT_IN_RULES):
        if (rule.methods is None or method in rule.methods) and _matches(rule, path):
            return rule.route
    return Route(route_class=RouteClass.STANDARD)


@settings(max_examples=400)
@given(rule_lists, st.lists(st.tuples(st.sampled_from((*METHODS, "get")), paths), min_size=1, max_size=8))
@example(
    _numbered([((RouteKind.PREFIX, "/"), frozenset({"PUT"})), ((RouteKind.REGEX, "/a|/b"), None)]), [("GET", "/a")]
)
def test_3_1_the_table_answers_as_a_walk_through_the_rules(
    rules: list[RouteRule], requests: list[tuple[str, str]]
) -> None:
    table = RouteTable(rules)
    for method, path in requests:
        route = table.match(method, path, {})
        walked = _walked(rules, method, path)
        if ";" in path and walked.route_class is RouteClass.PUBLIC:  # public holds for plain paths only
            assert route.route_class is RouteClass.STANDARD
        else:
            assert route == walked


@given(rule_lists, paths)
def test_3_1_a_path_of_which_public_does_not_hold_finds_the_same_rule(rules: list[RouteRule], path: str) -> None:
    sent = path.replace("/", "//").replace("a", "%61")
    route, walked = RouteTable(rules).match("GET", sent, {}), _walked(rules, "GET", path)
    assert (route.cost, route.scopes) == (walked.cost, walked.scopes)
    assert route.route_class is (RouteClass.STANDARD if walked.route_class is RouteClass.PUBLIC else walked.route_class)


def test_3_1_the_order_of_the_file_holds_across_thousands_of_rules_of_every_kind() -> None:
    drawn: list[tuple[tuple[RouteKind, str], frozenset[str] | None]] = []
    for n in range(1000):
        drawn += [
            ((RouteKind.REGEX, f"/t{n}/[0-9]+"), frozenset({"GET"})),
            ((RouteKind.PREFIX, f"/t{n}"), frozenset({"POST"})),
            ((RouteKind.EXACT, f"/t{n}/7"), None),
        ]
    rules = _numbered([*drawn, ((RouteKind.REGEX, "/t.*"), None)])
    table = RouteTable(rules)
    for n in (0, 1, 255, 256, 257, 511, 512, 999):
        assert [table.match(method, f"/t{n}/7", {}).cost for method in METHODS] == [3 * n, 3 * n + 1, 3 * n + 2]
        assert table.match("PUT", f"/t{n}/8", {}).cost == 3000


def found(regexes: RegexIndex, path: str) -> list[int]:
    return [at for at in regexes.candidates(path) if regexes.matches(at, path)]


# RE2 has no room for the literals of all of these at once; for the last not even alone.
LARGE = [f"/{n}/{'xyz'[n % 3] * 5_000}/.*" for n in range(40)] + [f"/{'x' * 129_000}"]


def test_patterns_whose_literals_are_too_large_together_are_found_all_the_same() -> None:
    regexes = RegexIndex([*LARGE, ".*/b", "/5/.*"])
    for n in (0, 1, 19, 20, 21, 39):
        assert found(regexes, f"/{n}/{'xyz'[n % 3] * 5_000}/b") == ([n, 41, 42] if n == 5 else [n, 41])
    assert found(regexes, LARGE[40]) == [40]
    assert found(regexes, "/5/b") == [41, 42]


def test_where_re2_runs_out_of_memory_in_a_search_every_pattern_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(re2.Filter, "Match", lambda *_, **__: None)  # what RE2 answers then, and nobody can bring about
    assert found(RegexIndex(["/a", "/b", "/.*"]), "/b") == [1, 2]


def test_only_patterns_that_have_their_literals_in_the_path_are_asked() -> None:
    regexes = RegexIndex([f"/r{n}/[0-9]+/items" for n in range(1000)])
    assert list(regexes.candidates("/r17/4/items")) == [17]
    assert list(regexes.candidates("/other")) == []


@given(st.lists(st.text("aAkKsS\u212a\u017f\u00c9\u00e9/", min_size=1, max_size=4), min_size=1, max_size=4), paths)
def test_3_1_a_regex_that_ignores_case_is_found_in_every_spelling(texts: list[str], path: str) -> None:
    regexes = RegexIndex([f"(?i).*{text}.*" for text in texts])
    for sent in (path, *("/" + spelled for text in texts for spelled in (text, text.upper(), text.lower()))):
        walked = [at for at, text in enumerate(texts) if re2.fullmatch(f"(?i).*{text}.*", sent)]
        assert found(regexes, sent) == walked


def test_no_patterns_match_nothing() -> None:
    assert found(RegexIndex([]), "/a") == []
    assert found(RegexIndex(["/b"]), "/a") == []


def test_a_path_of_many_segments_is_no_longer_a_walk_than_the_longest_prefix() -> None:
    table = RouteTable(_numbered([((RouteKind.PREFIX, "/a/a/a"), None), ((RouteKind.PREFIX, "/a/a/a/"), None)]))
    assert table.match("GET", "/a" * 25_000, {}).cost == 0
    assert table.match("GET", "/a/a/b" * 9_000, {}).route_class is RouteClass.STANDARD
