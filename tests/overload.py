"""A service for tests of too much load: its configuration, and whether it did without a provider because of it."""

from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tests.served import Served

CONFIGURATION: Final = """\
server: {{max_checks: {max_checks}}}
providers:
  protection: {{url: "{protection}"}}
plans:
  big: {{name: Big, tier: ENTERPRISE, limits: {{rate: 1000000, burst: 100000}}}}
  small: {{name: Small, tier: PRO, limits: {{rate: 3600, burst: 60}}}}
default_plan: big
"""


async def fallbacks(replica: Served) -> float:
    """How many times a gate answered without its provider."""
    async with replica.http.get(f"{replica.admin_url}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    samples = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == "gate_fallbacks_total")
