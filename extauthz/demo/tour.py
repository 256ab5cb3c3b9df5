"""The tour: requests through Envoy, what must come back, and what did."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from extauthz.demo.cast import OPERATOR
from extauthz.demo.stack import Stack

RUNS: Final = "/api/v1/runs"
THINGS: Final = "/api/v1/things"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request and what must come back. `who` names a key of the cast, None sends none; `before` are warm-up repeats.

    `gate` and `reason` are those of a denial, empty for what passes. `extra` are more request headers.
    """

    says: str
    who: str | None
    method: str = "GET"
    path: str = THINGS
    status: int
    gate: str = ""
    reason: str = ""
    before: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back: "as expected" when status, gate and reason are those of the step."""

    step: Step
    status: int
    gate: str
    reason: str
    body: str

    @property
    def as_expected(self) -> bool:
        """Whether the answer is the step's."""
        return (self.status, self.gate, self.reason) == (self.step.status, self.step.gate, self.step.reason)


TOUR: Final = (
    Step(says="public path, no key", who=None, path="/health", status=200),
    Step(says="good standing, read", who="acme", status=200),
    Step(says="good standing, run", who="acme", method="POST", path=RUNS, status=200),
    Step(says="claims to be another tenant", who="acme", extra={"x-tenant-id": "evil"}, status=200),
    Step(says="onboarding, not paid yet", who="newcomer", method="POST", path=RUNS, status=200),
    Step(says="past due", who="late-payer", method="POST", path=RUNS, status=200),
    Step(says="lifecycle suspended, read", who="paused", status=200),
    Step(says="operator on an operator path", who=OPERATOR, path="/fdr/overview", status=200),
    Step(says="no key", who=None, status=401, gate="auth", reason="missing_credentials"),
    Step(
        says="a made-up key",
        who=None,
        extra={"x-api-key": "exak_nonsense"},
        status=401,
        gate="auth",
        reason="invalid_credentials",
    ),
    Step(says="terminated: key revoked", who="gone", status=401, gate="auth", reason="invalid_credentials"),
    Step(
        says="walking past the gate",
        who=None,
        path="/health/..%3b/api/v1/runs",
        status=400,
        gate="request",
        reason="path",
    ),
    Step(says="not an operator", who="acme", path="/fdr/overview", status=403, gate="auth", reason="operator_required"),
    Step(
        says="lifecycle suspended, write", who="paused", method="POST", status=403, gate="lifecycle", reason="suspended"
    ),
    Step(says="no such tenant", who=OPERATOR, status=403, gate="lifecycle", reason="tenant_unknown"),
    Step(
        says="billing suspended", who="unpaid", method="POST", path=RUNS, status=402, gate="billing", reason="suspended"
    ),
    Step(
        says="third of two a day",
        who="frugal",
        method="POST",
        before=2,
        status=402,
        gate="billing",
        reason="max_requests_per_day",
    ),
    Step(says="fourth of three a minute", who="steady", before=3, status=429, gate="protection", reason="rate"),
    Step(
        says="third run of two units",
        who="thrifty",
        method="POST",
        path=RUNS,
        before=2,
        status=429,
        gate="protection",
        reason="cost",
    ),
    Step(says="third of two a second", who="hasty", before=2, status=503, gate="protection", reason="burst"),
)


async def walk(stack: Stack, keys: Mapping[str, str]) -> AsyncIterator[Outcome]:
    """Send every step through Envoy, in order."""
    for step in TOUR:
        for _ in range(step.before):
            await _send(stack, step, keys)
        yield await _send(stack, step, keys)


async def _send(stack: Stack, step: Step, keys: Mapping[str, str]) -> Outcome:
    headers = dict(step.extra)
    if step.who is not None:
        headers["x-api-key"] = keys[step.who]
    url = URL(stack.edge_url + step.path, encoded=True)  # the path goes out as it is written here
    async with stack.http.request(step.method, url, headers=headers) as answer:
        return Outcome(
            step=step,
            status=answer.status,
            gate=answer.headers.get("x-extauthz-gate", ""),
            reason=answer.headers.get("x-extauthz-reason", ""),
            body=await answer.text(),
        )
