"""`config validate --envoy`: a bootstrap against the hardened set-up of section 8."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from extauthz.cli.app import cli
from extauthz.cli.envoy_check import findings_in
from extauthz.config import load

BUNDLED = Path(__file__).parents[2] / "envoy" / "envoy.yaml"

Tree = dict[str, Any]


def hcm(tree: Tree) -> Tree:
    found: Tree = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def ext_authz(tree: Tree) -> Tree:
    found: Tree = next(
        item["typed_config"]
        for item in hcm(tree)["http_filters"]
        if item["typed_config"]["@type"].endswith(".ExtAuthz")
    )
    return found


def cluster(tree: Tree) -> Tree:
    found: Tree = next(item for item in tree["static_resources"]["clusters"] if item["name"] == "extauthz")
    return found


def found_in(tree: object, folder: Path) -> list[str]:
    file = folder / "envoy.json"
    file.write_text(json.dumps(tree, indent=1))
    findings = findings_in(file, load().config)
    assert all(finding.origin is not None and finding.origin.line for finding in findings if finding.where)
    return [f"{finding.where}: {finding.text}" for finding in findings]


def test_the_bundled_bootstrap_lacks_nothing() -> None:
    assert findings_in(BUNDLED, load().config) == []


CHANGES: dict[str, tuple[Callable[[Tree], object], str]] = {
    "no timeout": (lambda t: ext_authz(t)["grpc_service"].pop("timeout"), "set timeout: 1s"),
    "a short timeout": (
        lambda t: ext_authz(t)["grpc_service"].update(timeout="0.2s"),
        "200ms is shorter than the deadlines of the providers together (860ms)",
    ),
    "no grpc service": (lambda t: ext_authz(t).pop("grpc_service"), "grpc_service is missing"),
    "an old API": (lambda t: ext_authz(t).pop("transport_api_version"), "set transport_api_version: V3"),
    "open on failure": (lambda t: ext_authz(t).update(failure_mode_allow=True), "failure_mode_allow: must be false"),
    "403 on error": (lambda t: ext_authz(t).pop("status_on_error"), "set status_on_error"),
    "mutations": (lambda t: ext_authz(t).update(validate_mutations=False), "set validate_mutations: true"),
    "allowed headers": (lambda t: ext_authz(t).update(allowed_headers={}), "remove allowed_headers"),
    "disallowed headers": (lambda t: ext_authz(t).update(disallowed_headers={}), "remove disallowed_headers"),
    "no retries": (lambda t: ext_authz(t)["grpc_service"].pop("retry_policy"), "set retry_policy"),
    "half the retries": (
        lambda t: ext_authz(t)["grpc_service"]["retry_policy"].update(retry_on="reset"),
        "without connect-failure, refused-stream a replica",
    ),
    "retries in the wrong place": (
        lambda t: ext_authz(t)["grpc_service"]["envoy_grpc"].update(retry_policy={"num_retries": 1}),
        "does nothing here",
    ),
    "raw paths": (lambda t: hcm(t).pop("normalize_path"), "set normalize_path: true"),
    "double slashes": (lambda t: hcm(t).pop("merge_slashes"), "set merge_slashes: true"),
    "escaped slashes": (
        lambda t: hcm(t).update(path_with_escaped_slashes_action="KEEP_UNCHANGED"),
        "set path_with_escaped_slashes_action: REJECT_REQUEST",
    ),
    "underscores": (
        lambda t: hcm(t)["common_http_protocol_options"].pop("headers_with_underscores_action"),
        "headers_with_underscores_action: REJECT_REQUEST",
    ),
    "cors behind": (lambda t: hcm(t)["http_filters"].reverse(), "put envoy.filters.http.cors before"),
    "no health checks": (lambda t: cluster(t).pop("health_checks"), "set health_checks"),
    "idle health checks": (
        lambda t: cluster(t)["health_checks"][0].pop("no_traffic_interval"),
        "set no_traffic_interval",
    ),
    "no outlier detection": (lambda t: cluster(t).pop("outlier_detection"), "set outlier_detection"),
    "few retries": (
        lambda t: cluster(t)["circuit_breakers"]["thresholds"][0].update(max_retries=3),
        "max_retries: 1000",
    ),
    "no bound on requests": (
        lambda t: cluster(t)["circuit_breakers"]["thresholds"][0].pop("max_requests"),
        "max_requests (1152)",
    ),
    "another cluster": (lambda t: cluster(t).update(name="other"), "the cluster 'extauthz' that ext_authz asks is not"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_thing_that_is_missing_is_found_alone(tmp_path: Path, change: str) -> None:
    tree = copy.deepcopy(yaml.safe_load(BUNDLED.read_text()))
    spoil, said = CHANGES[change]
    spoil(tree)
    (finding,) = found_in(tree, tmp_path)
    assert said in finding


def test_no_circuit_breakers_at_all(tmp_path: Path) -> None:
    tree = yaml.safe_load(BUNDLED.read_text())
    del cluster(tree)["circuit_breakers"]
    assert len(found_in(tree, tmp_path)) == 3


def test_lower_camel_case_is_understood(tmp_path: Path) -> None:
    tree = yaml.safe_load(BUNDLED.read_text())
    filter_ = ext_authz(tree)
    filter_["validateMutations"] = filter_.pop("validate_mutations")
    filter_["statusOnError"] = {"code": 503}
    del filter_["status_on_error"]
    assert found_in(tree, tmp_path) == []


@pytest.mark.parametrize("tree", [{}, {"static_resources": 5}, {"static_resources": {"listeners": [1, [2]]}}])
def test_a_bootstrap_that_checks_nothing(tmp_path: Path, tree: object) -> None:
    (finding,) = found_in(tree, tmp_path)
    assert "no ext_authz filter" in finding


def test_a_connection_manager_without_the_filter_is_not_ours(tmp_path: Path) -> None:
    tree = yaml.safe_load(BUNDLED.read_text())
    other = copy.deepcopy(tree["static_resources"]["listeners"][0])
    manager = other["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = []
    del manager["normalize_path"]
    tree["static_resources"]["listeners"].append(other)
    assert found_in(tree, tmp_path) == []


def test_findings_are_exit_code_1_as_table_and_as_json(tmp_path: Path) -> None:
    tree = yaml.safe_load(BUNDLED.read_text())
    ext_authz(tree)["failure_mode_allow"] = True
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(tree))
    table = CliRunner().invoke(cli, ["config", "validate", "--envoy", str(file)])
    assert table.exit_code == 1
    assert "must be false" in table.stdout
    as_json = CliRunner().invoke(cli, ["config", "validate", "--envoy", str(file), "--output", "json"])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["findings"][0]["at"].startswith(f"{file}:")
    fine = CliRunner().invoke(cli, ["config", "validate", "--envoy", str(BUNDLED), "--output", "json"])
    assert (fine.exit_code, json.loads(fine.stdout)) == (0, {"valid": True, "findings": []})


@pytest.mark.parametrize("text", ["[1]", "a: [", "a: 1\na: 2"])
def test_a_bootstrap_that_cannot_be_read_is_2(tmp_path: Path, text: str) -> None:
    file = tmp_path / "envoy.yaml"
    file.write_text(text)
    result = CliRunner().invoke(cli, ["config", "validate", "--envoy", str(file)])
    assert result.exit_code == 2
    assert f"{file}" in result.stderr
