"""The defaults are those of the specification, and docs and schema say the same."""

import json
import re
from pathlib import Path

import pytest
import yaml

from extauthz.config import Config, json_schema, load, masked, to_yaml
from extauthz.config.reference import table
from extauthz.model.billing import Tier
from extauthz.model.request import RouteClass

SPEC_DEFAULTS = """\
server:    {listen: "127.0.0.1:9191", frontend: grpcio, workers: 1, budget: 1s, margin: 10ms, drain: 5s}
admin:     {listen: "127.0.0.1:9190"}
providers:
  credentials: {url: "sqlite:///extauthz.db", timeout: 250ms, max_in_flight: 64,
                breaker: {failures: 5, window: 30s, reset: 15s}, cache: {ttl: 30s, max_entries: 100000}}
  lifecycle:   {url: "sqlite:///extauthz.db", timeout: 500ms, breaker: {failures: 3, window: 10s, reset: 30s},
                cache: {ttl: 5s, max_stale: 1h, max_entries: 100000}, snapshot: "extauthz.blocked"}
  billing:     {url: "sqlite:///extauthz.db", timeout: 200ms, cache: {ttl: 5s, plan_ttl: 5m, max_stale: 1h}}
  protection:  {url: "memory:", timeout: 100ms}
  events:      {url: "sqlite:///extauthz-events.db", emit_timeout: 50ms, query_timeout: 5s, max_queue: 100000, max_size: 1GiB, dead_letter: "extauthz.dead.jsonl"}
gates:
  auth:       {methods: [api_key]}
  lifecycle:  {mode: enforce, on_failure: open}
  billing:    {mode: enforce, on_failure: open}
  protection: {mode: enforce, on_failure: open, actions: {rate: reject, burst: throttle, cost: reject}}
routes:     [{prefix: "/api/v1/runs", class: sdk, cost: 1, scopes: []}]
plans:
  free: {name: Free, tier: FREE, limits: {rate: 60, burst: 10, max_requests_per_day: 1000, max_cost_per_day: 5}}
default_plan: free
"""
"""Section 8, word for word."""

BREAKERS = {
    "credentials": {"failures": 5, "window": "30s", "reset": "15s"},
    "lifecycle": {"failures": 3, "window": "10s", "reset": "30s"},
    "billing": {"failures": 5, "window": "30s", "reset": "1m"},
    "protection": {"failures": 5, "window": "30s", "reset": "30s"},
    "events": {"failures": 10, "window": "1m", "reset": "2m"},
}
"""Section 4."""


def leaves(tree: object, above: str = "") -> dict[str, object]:
    """Every value that is no mapping, by its path."""
    if not isinstance(tree, dict):
        return {above: tree}
    found: dict[str, object] = {}
    for key, below in tree.items():
        found |= leaves(below, f"{above}.{key}".removeprefix("."))
    return found


def spec_tree() -> dict[str, object]:
    tree = yaml.safe_load(SPEC_DEFAULTS)
    assert isinstance(tree, dict)
    del tree["routes"]  # "apart from `routes`, which has none"
    return tree


def test_every_value_of_the_specification_is_the_default() -> None:
    ours = leaves(masked(load().config))
    specified = leaves(spec_tree())
    assert len(specified) > 40
    assert {path: ours.get(path) for path in specified} == specified


def test_the_block_of_the_specification_is_a_valid_file(tmp_path: Path) -> None:
    file = tmp_path / "extauthz.yaml"
    file.write_text(SPEC_DEFAULTS)
    config = load(file).config
    assert config.model_copy(update={"routes": ()}) == Config()
    (route,) = config.routes
    assert (route.kind, route.pattern, route.methods) == ("prefix", "/api/v1/runs", None)
    assert route.to_route().route_class is RouteClass.SDK
    assert route.to_route().cost == 1_000_000


def test_routes_have_no_default() -> None:
    assert load().config.routes == ()


@pytest.mark.parametrize("provider", BREAKERS)
def test_each_provider_has_the_breaker_of_the_table(provider: str) -> None:
    assert leaves(masked(load().config), "")[f"providers.{provider}.breaker.failures"] == BREAKERS[provider]["failures"]
    section = getattr(load().config.providers, provider).breaker
    assert section.model_dump(mode="json") == BREAKERS[provider]


def test_what_the_block_leaves_out_is_the_default_of_section_4_and_8() -> None:
    config = load().config
    providers = config.providers
    assert config.server.max_checks == 1024
    assert {
        p.max_in_flight for p in (providers.credentials, providers.lifecycle, providers.billing, providers.protection)
    } == {64}
    assert providers.billing.cache.max_entries == 100_000
    assert providers.events.allow_sample_rate == 0
    assert config.gates.auth.strip_authorization is False
    assert config.gates.protection.draft_headers is False
    assert config.server.reflection is False


def test_billing_002_limits_are_derived_from_the_plan() -> None:
    book = load().config.plan_book()
    assert book.default is book.plans["free"]
    assert (book.default.plan_id, book.default.name, book.default.tier) == ("free", "Free", Tier.FREE)
    limits = book.default.limits
    assert (limits.rate, limits.burst, limits.max_requests_per_day, limits.max_cost_per_day) == (
        60,
        10,
        1000,
        5_000_000,
    )


def test_a_missing_limit_is_unlimited_and_zero_is_zero(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("plans: {free: {name: F, tier: PRO, limits: {rate: 0}}}")
    limits = load(file).config.plan_book().default.limits
    assert (limits.rate, limits.burst, limits.max_requests_per_day, limits.max_cost_per_day) == (0, None, None, None)


def test_what_is_shown_is_read_again_as_the_same(tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(SPEC_DEFAULTS.replace("cost: 1,", "cost: 0.25,"))
    config = load(file).config
    file.write_text(to_yaml(config))
    assert load(file).config == config


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().config.server.workers = 2  # type: ignore[misc]  # that it cannot be assigned is what is tested


def test_the_schema_knows_every_key_and_every_default() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    assert schema["additionalProperties"] is False
    for key in {path.rpartition(".")[2] for path in leaves(spec_tree())}:
        assert f'"{key}"' in text
    assert '"default": "250ms"' in text
    assert '"default": "1GiB"' in text


def test_the_reference_in_the_docs_is_the_one_made_from_the_models() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    found = re.search(r"<!-- reference: begin.*?-->\n(.*?)\n<!-- reference: end -->", docs, re.DOTALL)
    assert found is not None
    assert found[1] == table(), "run: python -m extauthz.config.reference, and put it between the two marks"
