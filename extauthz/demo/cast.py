"""The demo's configuration, and its tenants: one in every state that a request can meet."""

from dataclasses import dataclass
from typing import Final

from extauthz.demo.stack import Stack

CONFIGURATION: Final = """\
# The demo's configuration: embedded providers in a temporary folder, and plans small enough to use up by hand.
server: {{drain: 0s}}
providers:
  credentials: {{url: "sqlite:///{directory}/demo.db"}}
  lifecycle:   {{url: "sqlite:///{directory}/demo.db", snapshot: "{directory}/demo.blocked"}}
  billing:     {{url: "sqlite:///{directory}/demo.db"}}
  protection:  {{url: "memory:"}}
  events:      {{url: "sqlite:///{directory}/demo-events.db", dead_letter: "{directory}/demo.dead.jsonl"}}
routes:
  - {{prefix: "/api/v1/runs", class: sdk, cost: 1}}
plans:
  free:      {{name: Free, tier: FREE, limits: {{rate: 60, burst: 10, max_requests_per_day: 1000, max_cost_per_day: 500}}}}
  pro:       {{name: Pro, tier: PRO, limits: {{rate: 6000, burst: 500, max_requests_per_day: 1000000}}}}
  two-a-day: {{name: Two a day, tier: FREE, limits: {{max_requests_per_day: 2}}}}
  slow:      {{name: Three a minute, tier: FREE, limits: {{rate: 3}}}}
  bursty:    {{name: Two a second, tier: FREE, limits: {{burst: 2}}}}
  cheap:     {{name: Two units a day, tier: FREE, limits: {{max_cost_per_day: 2}}}}
default_plan: free
"""


OUTAGE_CONFIGURATION: Final = """\
# The outage demo's configuration: keys in this process, everything else asked over gRPC from a process that will be frozen.
# Deadlines are the defaults; answers are kept for a second and circuits stay open for three, so that there is something to see.
server: {{drain: 0s}}
providers:
  credentials: {{url: "sqlite:///{directory}/demo.db"}}
  lifecycle:   {{url: "{providers}", breaker: {{reset: 3s}}, cache: {{ttl: 1s}}, snapshot: "{directory}/demo.blocked"}}
  billing:     {{url: "{providers}", breaker: {{reset: 3s}}, cache: {{ttl: 1s, plan_ttl: 1s}}}}
  protection:  {{url: "{providers}", breaker: {{reset: 3s}}}}
  events:      {{url: "none:"}}
routes:
  - {{prefix: "/api/v1/runs", class: sdk}}
plans:
  pro: {{name: Pro, tier: PRO, limits: {{rate: 60000, burst: 5000}}}}
default_plan: pro
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """A tenant of the demo: what it is there to show, how it starts, and where it is moved after it got its key."""

    tenant_id: str
    shows: str
    plan: str = "pro"
    onboarding: str = "COMPLETE"
    billing: str = "ACTIVE"
    lifecycle: str = "ACTIVE"


CAST: Final = (
    Character(tenant_id="acme", shows="in good standing: everything passes"),
    Character(
        tenant_id="newcomer",
        shows="still onboarding: billing never stops it",
        onboarding="PENDING",
        billing="SUSPENDED",
    ),
    Character(tenant_id="late-payer", shows="past due: passes, the client is told", billing="PAST_DUE"),
    Character(tenant_id="unpaid", shows="billing suspended: 402", billing="SUSPENDED"),
    Character(tenant_id="paused", shows="lifecycle suspended: reads pass, writes are 403", lifecycle="SUSPENDED"),
    Character(tenant_id="gone", shows="terminated: its keys are revoked, 401", lifecycle="TERMINATED"),
    Character(tenant_id="frugal", shows="two requests a day, then 402", plan="two-a-day"),
    Character(tenant_id="steady", shows="three requests a minute, then 429", plan="slow"),
    Character(tenant_id="hasty", shows="two requests a second, then 503", plan="bursty"),
    Character(tenant_id="thrifty", shows="two units of cost a day, then 429", plan="cheap"),
)

OPERATOR: Final = "operator"


async def set_the_scene(stack: Stack) -> dict[str, str]:
    """Make the tenants through the admin port; their keys by tenant id, and the operator's under `operator`."""
    keys = {character.tenant_id: await enter(stack, character) for character in CAST}
    made = await stack.admin("POST", "/operators/keys", {"reason": "demo"})
    return keys | {OPERATOR: made["key"]}


async def enter(stack: Stack, character: Character) -> str:
    """Make one tenant as it is to be; its key."""
    name = character.tenant_id
    await stack.admin(
        "POST",
        "/tenants",
        {
            "id": name,
            "plan": character.plan,
            "onboarding": character.onboarding,
            "billing_state": character.billing,
            "reason": "demo",
        },
    )
    key: str = (await stack.admin("POST", f"/tenants/{name}/keys", {"reason": "demo"}))["key"]
    if character.lifecycle != "ACTIVE":
        await stack.admin("POST", f"/tenants/{name}/lifecycle", {"to": character.lifecycle, "reason": "demo"})
    return key
