"""Combinations that cannot work, what this version cannot serve, and what is warned about."""

from pathlib import Path

import pytest

from extauthz.config import InvalidConfig, load
from extauthz.model.request import Route, RouteClass


def faults(tmp_path: Path, text: str) -> list[str]:
    """The faults in `text`, without the name of the file."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        load(file)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def warned(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return [str(warning) for warning in load(file).warnings]


@pytest.mark.parametrize("key", ["mode: enforce", "on_failure: open", "bypass: true"])
def test_auth_has_no_failure_mode(tmp_path: Path, key: str) -> None:
    name = key.partition(":")[0]
    (fault,) = faults(tmp_path, f"gates:\n  auth:\n    {key}\n")
    assert fault.startswith(f"3: gates.auth.{name}: auth is always enforced and always fail-closed")


def test_auth_has_no_stale_answers(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "providers: {credentials: {cache: {max_stale: 1h}}}")
    assert fault == "1: providers.credentials.cache.max_stale: auth has no stale answers: remove this key"


@pytest.mark.parametrize("gate", ["lifecycle", "billing"])
def test_only_protection_can_count_in_process(tmp_path: Path, gate: str) -> None:
    (fault,) = faults(tmp_path, f"gates: {{{gate}: {{on_failure: local}}}}")
    assert fault == f"1: gates.{gate}.on_failure: `local` is for the protection gate only: allowed are open and closed"
    (tmp_path / "c.yaml").write_text("gates: {protection: {on_failure: local}}")
    assert load(tmp_path / "c.yaml").config.gates.protection.on_failure == "local"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("quota: warn", "quota: cannot be set"),
        ("anomaly: reject", "anomaly: cannot be set"),
        ("cost: throttle", "cost: cost cannot be throttled: allowed are reject and warn"),
        ("rate: allow", "rate: must be one of reject, throttle, warn"),
    ],
)
def test_abuse_003_actions_that_cannot_be_set(tmp_path: Path, action: str, said: str) -> None:
    (fault,) = faults(tmp_path, f"gates: {{protection: {{actions: {{{action}}}}}}}")
    assert fault.startswith(f"1: gates.protection.actions.{said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {margin: 1s}", "server.margin: 1s leaves nothing of the budget of 1s"),
        ("server: {budget: 5ms}", "server.margin: 10ms leaves nothing of the budget of 5ms"),
        ("admin: {listen: 127.0.0.1:9191}", "admin.listen: 127.0.0.1:9191 is server.listen already"),
        ("gates: {auth: {methods: []}}", "gates.auth.methods: must name at least one method"),
        (
            "providers: {events: {url: 'sqlite:///extauthz.db'}}",
            "providers.events.url: is the file of providers.credentials.url already",
        ),
        (
            "providers: {events: {url: 'sqlite:///x/../extauthz.db'}}",
            "providers.events.url: is the file of providers.credentials.url already",
        ),
        (
            "providers: {lifecycle: {snapshot: extauthz.dead.jsonl}}",
            "providers.lifecycle.snapshot: is the file of providers.events.dead_letter already",
        ),
        ("default_plan: pro", "default_plan: 'pro' is not in plans (free)"),
        ("plans: {}", "default_plan: 'free' is not in plans (none)"),
        ("plans: {_system: {name: S, tier: PRO}, free: {name: F, tier: FREE}}", "plans._system: is no id of a plan"),
    ],
)
def test_a_combination_that_cannot_work(tmp_path: Path, text: str, said: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert said in fault


def test_two_free_ports_do_not_clash(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: {listen: '127.0.0.1:0'}\nadmin: {listen: '127.0.0.1:0'}")
    assert load(file).config.admin.listen.port == 0


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ("{class: sdk}", "needs exactly one of exact, prefix and regex"),
        ("{class: sdk, exact: /a, prefix: /a}", "needs exactly one of exact, prefix and regex (has exact, prefix)"),
        ("{exact: /a}", "class: is missing: one of public, refresh"),
        ("{exact: a, class: sdk}", "exact: must begin with /"),
        ("{prefix: /a//b, class: sdk}", "prefix: can never match"),
        ("{prefix: /a/../b, class: sdk}", "prefix: can never match"),
        ("{prefix: '/a?b', class: sdk}", "prefix: can never match"),
        ("{exact: '/a%20b', class: sdk}", "exact: can never match"),
        ("{regex: '(', class: sdk}", "regex: is no regular expression of RE2"),
        (r"{regex: '(a)\1', class: sdk}", "regex: is no regular expression of RE2"),
        ("{exact: /a, class: sdk, methods: [post]}", "methods[0]: must be an HTTP method in upper case"),
        ("{exact: /a, class: sdk, methods: []}", "methods: must not be empty; leave it out to mean every method"),
        ("{exact: /a, class: sdk, scopes: ['a b']}", "scopes[0]: must be a word"),
        ("{exact: /a, class: sdk, cost: -1}", "cost: must lie between 0 and 1,000,000,000"),
        ("{exact: /a, class: sdk, cost: 0.1234567}", "cost: must have at most 6 decimal places"),
        ("{exact: /a, class: sdk, cost: .nan}", "cost: must be a finite number"),
        ("{exact: /a, class: sdk, cost: [1]}", "cost: must be a number such as 5 or 0.25"),
        ("{exact: /a, class: sdk, cost: cheap}", "cost: must be a number such as 5 or 0.25"),
        ("{exact: /a, class: public, scopes: [x]}", "scopes: nobody is authenticated on a public route"),
        ("{exact: /a, class: operator, cost: 1}", "cost: class operator is never charged"),
    ],
)
def test_a_route_that_cannot_work(tmp_path: Path, route: str, said: str) -> None:
    (fault,) = faults(tmp_path, f"routes:\n  - {{exact: /fine, class: public}}\n  - {route}\n")
    assert fault.startswith("3: routes[1]")
    assert said in fault


def test_a_route_with_everything(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "routes:\n"
        "  - {regex: '/v[0-9]+/x', methods: [GET, POST], class: sdk, cost: 0.25, scopes: [runs:write, a]}\n"
        "  - {exact: /.well-known/x;y, class: standard}\n"
    )
    first, second = load(file).config.routes
    assert (first.kind, first.pattern, first.methods) == ("regex", "/v[0-9]+/x", ("GET", "POST"))
    assert first.to_route() == Route(route_class=RouteClass.SDK, cost=250_000, scopes=frozenset({"runs:write", "a"}))
    assert (second.kind, second.pattern, second.methods) == ("exact", "/.well-known/x;y", None)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("rate: 100000001", "must be at most 100,000,000"),
        ("burst: -1", "must be at least 0"),
        ("burst: 1.5", "must be a whole number"),
        ("max_requests_per_day: 1000000001", "must be at most 1,000,000,000"),
        ("max_cost_per_day: 1000000000.1", "must lie between 0 and 1,000,000,000"),
        ("max_cost_per_day: 0.0000001", "must have at most 6 decimal places"),
    ],
)
def test_a_limit_out_of_bounds(tmp_path: Path, limit: str, said: str) -> None:
    (fault,) = faults(tmp_path, f"plans: {{free: {{name: F, tier: FREE, limits: {{{limit}}}}}}}")
    assert fault.startswith(f"1: plans.free.limits.{limit.partition(':')[0]}: {said}")


def test_a_plan_needs_name_and_tier(tmp_path: Path) -> None:
    assert faults(tmp_path, "plans: {free: {name: ''}}") == [
        "1: plans.free.name: must not be empty, not ''",
        "1: plans.free.tier: is missing",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {frontend: envoy}", "server.frontend: `envoy` is not part of this version; supported: grpcio"),
        ("gates: {auth: {methods: [api_key, jwt]}}", "gates.auth.methods[1]: `jwt` is not part of this version"),
        ("gates: {auth: {operator_claim: role}}", "gates.auth.operator_claim: needs the methods jwt or envoy_jwt"),
        (
            "providers: {lifecycle: {url: 'redis://db'}}",
            "providers.lifecycle.url: `redis:` is no provider of lifecycle; supported: sqlite:///file, memory:, postgresql:",
        ),
        ("providers: {protection: {url: 'sqlite:///x'}}", "`sqlite:` is no provider of protection; supported: memory:"),
        ("providers: {events: {url: 'rediss://h:1'}}", "`rediss:` is no provider of events; supported: sqlite:///file"),
        ("providers: {billing: {url: 'none:'}}", "`none:` is no provider of billing"),
        ("providers: {billing: {url: 'sqlte:///x'}}", "did you mean sqlite?"),
        ("providers: {billing: {url: 'sqlite://x'}}", "providers.billing.url: must name a file"),
        ("providers: {billing: {url: {memory: null}}}", "providers.billing.url: must be a URL in quotes"),
    ],
)
def test_what_this_version_cannot_serve_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert said in fault


def test_several_processes_with_counters_in_memory_are_told_of_redis(tmp_path: Path) -> None:
    found = faults(tmp_path, "server: {workers: 2}")
    assert any("needs Redis" in fault for fault in found)
    assert any("more than one process is not part of this version" in fault for fault in found)


def test_the_defaults_are_silent_on_start(tmp_path: Path) -> None:
    assert warned(tmp_path, "") == []


def test_deadlines_that_add_up_to_more_than_a_check_may_take(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, "providers: {lifecycle: {timeout: 700ms}}")
    assert "providers: the deadlines add up to 1060ms" in warning
    assert "more than the 1s that a check may take" in warning
    # Lifecycle and billing are asked at once: only the longer one counts.
    assert warned(tmp_path, "providers: {billing: {timeout: 500ms}}") == []


def test_a_budget_below_the_deadlines(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, "server: {budget: 200ms}")
    assert "more than the 200ms" in warning


def test_a_budget_longer_than_envoy_waits(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, "server: {budget: 2s}")
    assert "server.budget: 2s is longer than the 1s that the bundled Envoy waits" in warning


def test_credentials_in_the_database_of_the_rest_are_worth_a_word(tmp_path: Path) -> None:
    (advice,) = load().advice
    assert "in the same database as lifecycle and billing" in str(advice)
    assert "ends 30s later" in str(advice)
    file = tmp_path / "c.yaml"
    file.write_text("providers: {credentials: {url: 'sqlite:///keys.db'}}")
    assert load(file).advice == ()
    file.write_text(
        "providers: {credentials: {url: 'memory:'}, lifecycle: {url: 'memory:'}, billing: {url: 'memory:'}}"
    )
    assert load(file).advice == ()
