"""Somebody else's provider in Python, found by its entry point, in a whole service."""

from pathlib import Path

import pytest

from extauthz import config, wiring
from extauthz.errors import ConfigError
from tests.served import Served, served

MODULE = """\
from extauthz.model.billing import BillingRecord, BillingState


class AcmeBilling:
    def __init__(self, plan):
        self.plan = plan
        self.started = False

    async def start(self):
        self.started = True

    async def close(self):
        print("closed", flush=True)

    async def find_billing(self, tenant_id):
        assert self.started
        return BillingRecord(state=BillingState.PAST_DUE, plan_id=self.plan)


def make(url, *, timeout):
    assert timeout > 0
    return AcmeBilling(url.removeprefix("acme:"))


def broken(url, *, timeout):
    raise LookupError("no such account")
"""

CONFIGURATION = """\
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "acme:gold"}
  events: {url: "none:"}
plans:
  gold: {name: Gold, tier: PRO, limits: {rate: 777}}
  free: {name: Free, tier: FREE}
"""


def installed(folder: Path) -> Path:
    """A distribution as pip leaves it."""
    (folder / "acme_provider.py").write_text(MODULE)
    info = folder / "acme_provider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-provider\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[extauthz.providers]\nacme = acme_provider:make\nacme-broken = acme_provider:broken\n"
    )
    return folder


async def test_its_answers_count_and_it_is_not_changed_from_here(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    env = {"PYTHONPATH": str(installed(tmp_path / "site"))}
    async with served(tmp_path, CONFIGURATION, env) as replica:
        key = await make_tenant(replica)
        answer = (await replica.check(key)).answer
        assert answer.headers["x-tenant-billing"] == "PAST_DUE"
        assert answer.headers["x-tenant-plan"] == "gold"
        assert answer.to_client["x-ratelimit-limit"] == "777, 777;w=60"
        assert answer.to_client["x-billing-warning"] == "past_due"
        status, content = await replica.admin("PUT", "/tenants/acme/billing", {"plan": "free", "reason": "test"})
        assert (status, content["error"]) == (501, "not_supported")
        assert "acme: provider" in content["detail"]


async def make_tenant(replica: Served) -> str:
    status, _ = await replica.admin("POST", "/tenants", {"id": "acme", "onboarding": "COMPLETE", "reason": "test"})
    assert status == 201
    _, issued = await replica.admin("POST", "/tenants/acme/keys", {"reason": "test"})
    return str(issued["key"])


async def test_an_entry_point_that_fails_is_a_configuration_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed(tmp_path)))
    file = tmp_path / "extauthz.yaml"
    file.write_text(CONFIGURATION.replace("acme:gold", "acme-broken:x"))
    loaded = config.load(file, {})
    with pytest.raises(ConfigError, match=r"acme_provider:broken \(extauthz\.providers\) failed .*no such account"):
        async with wiring.service(loaded.config, {}):
            raise AssertionError


def test_a_scheme_that_nobody_serves_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "extauthz.yaml"
    file.write_text(CONFIGURATION)
    with pytest.raises(config.InvalidConfig, match=r"4: providers\.billing\.url: `acme:` is no provider of billing"):
        config.load(file, {})
