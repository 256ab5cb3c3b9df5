"""`gates`: how much each gate may do, and what it answers without its provider (spec sections 3.2 to 3.7)."""

from typing import Literal

from extauthz.config.section import Section
from extauthz.config.units import Flag
from extauthz.model.decision import Mode, OnFailure
from extauthz.model.identity import AuthMethod
from extauthz.model.protection import Outcome

RateAction = Literal[Outcome.REJECT, Outcome.THROTTLE, Outcome.WARN]
CostAction = Literal[Outcome.REJECT, Outcome.WARN]
OpenOrClosed = Literal[OnFailure.OPEN, OnFailure.CLOSED]


class AuthGateConfig(Section):
    """Who is calling? Always enforced, always fail-closed: it has no mode."""

    methods: tuple[AuthMethod, ...] = (AuthMethod.API_KEY,)
    """What is tried; the first that was presented names the caller."""
    operator_claim: str | None = None
    """The claim that makes a token an operator's credential."""
    strip_authorization: Flag = False
    """Whether the upstream never sees `authorization`. Off: it goes only where it carried our API key."""


class GateConfig(Section):
    """A gate that fails open."""

    mode: Mode = Mode.ENFORCE
    """`enforce`, `shadow` (evaluate and count, never deny) or `off`."""
    on_failure: OpenOrClosed = OnFailure.OPEN
    """Without provider and last-known state: `open` lets the request through, `closed` answers 503."""


class LifecycleGateConfig(GateConfig):
    """May this tenant run at all?"""


class BillingGateConfig(GateConfig):
    """Is it in good standing, inside its plan?"""


class ActionsConfig(Section):
    """What happens above each limit: `reject` answers 429, `throttle` 503, `warn` lets the request through."""

    rate: RateAction = Outcome.REJECT
    """Above the requests per minute."""
    burst: RateAction = Outcome.THROTTLE
    """Above the requests per second."""
    cost: CostAction = Outcome.REJECT
    """Above the cost of the day."""


class ProtectionGateConfig(Section):
    """Should this request go on right now?"""

    mode: Mode = Mode.ENFORCE
    """`enforce`, `shadow` (evaluate and count, never deny) or `off`."""
    on_failure: OnFailure = OnFailure.OPEN
    """Without its provider: `open` lets the request through, `closed` answers 503, `local` counts in this process, by itself."""
    actions: ActionsConfig = ActionsConfig()
    draft_headers: Flag = False
    """Whether answers also carry `ratelimit` and `ratelimit-policy` of the IETF draft."""


class GatesConfig(Section):
    """The four gates."""

    auth: AuthGateConfig = AuthGateConfig()
    lifecycle: LifecycleGateConfig = LifecycleGateConfig()
    billing: BillingGateConfig = BillingGateConfig()
    protection: ProtectionGateConfig = ProtectionGateConfig()
