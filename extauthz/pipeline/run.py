"""The pipeline: route, authenticate, lifecycle, billing, charge; the first denial wins."""

from collections.abc import Callable, Mapping
from typing import Final

import uuid_utils

from extauthz.gates.base import GateControl
from extauthz.gates.billing import BillingGate
from extauthz.gates.lifecycle import LifecycleGate
from extauthz.gates.protection import ProtectionGate
from extauthz.model.deadline import Clock, Deadline
from extauthz.model.decision import Decision, Denial, FallbackReason, Gate, GateReport, Mode, Reason
from extauthz.model.identity import OPERATOR_SCOPE, SYSTEM_TENANT, AuthMethod, Principal
from extauthz.model.request import READ_METHODS, CheckRequest, Route, RouteClass
from extauthz.pipeline.asks import Asks, asks
from extauthz.pipeline.authenticate import Authenticated, Authenticator
from extauthz.pipeline.chain import GateChain
from extauthz.pipeline.rules import RuleBook, Rules
from extauthz.pipeline.trail import Trail
from extauthz.routing import BadContext, BadPath, RouteTable

OVERLOADED: Final = Denial(gate=Gate.REQUEST, reason=Reason.OVERLOADED, retry_after_ms=1000)

_PUBLIC: Final = RouteClass.PUBLIC
_AUTH: Final = Gate.AUTH
_ENFORCE: Final = Mode.ENFORCE.value
_OPERATOR_REQUIRED: Final = Denial(gate=_AUTH, reason=Reason.OPERATOR_REQUIRED, credential_presented=True)
_INSUFFICIENT_SCOPE: Final = Denial(gate=_AUTH, reason=Reason.INSUFFICIENT_SCOPE, credential_presented=True)


def new_decision_id() -> str:
    """A UUIDv7."""
    return str(uuid_utils.uuid7())


class Pipeline:
    """Decides about requests, each by the rules that held when it came.

    Args:
        routes: the route table.
        authenticator: the auth gateway.
        lifecycle: the lifecycle gate.
        billing: the billing gate.
        protection: the protection gate.
        clock: monotonic seconds, the scale of every deadline.
        charge_timeout: the protection provider's own deadline in seconds; at most this much is kept for the charge.
        explain_budget: seconds that an explanation may take.
        new_id: makes decision ids.
    """

    def __init__(
        self,
        *,
        routes: RouteTable,
        authenticator: Authenticator,
        lifecycle: LifecycleGate,
        billing: BillingGate,
        protection: ProtectionGate,
        clock: Clock,
        charge_timeout: float = 0.1,
        explain_budget: float = 1.0,
        new_id: Callable[[], str] = new_decision_id,
    ) -> None:
        chain = GateChain(lifecycle=lifecycle, billing=billing, protection=protection, charge_timeout=charge_timeout)
        self._rules = Rules(routes=routes, authenticator=authenticator, chain=chain)
        self._clock = clock
        self._explain_budget = explain_budget
        self._new_id = new_id

    @property
    def controls(self) -> Mapping[Gate, GateControl]:
        """How each gate is set that can be; the same objects as long as the pipeline lives, whatever the rules."""
        chain = self._rules.chain
        return {gate.control.gate: gate.control for gate in (chain.lifecycle, chain.billing, chain.protection)}

    def change(self, book: RuleBook) -> None:
        """Decide by `book` from the next request on; those under way end by what they began with."""
        self._rules = self._rules.succeeded_by(book)

    async def decide(self, request: CheckRequest, deadline: Deadline) -> Decision:
        """The decision about one request, due at `deadline.at`."""
        return await self._decide(request, deadline, None)

    async def explain(self, tenant_id: str, method: str, path: str) -> Decision:
        """What would be decided about a request of that tenant: no credential is asked for, nothing is charged.

        The caller is taken to have every scope that the route requires.
        """
        request = CheckRequest(method=method, path=path, headers={})
        return await self._decide(request, Deadline.after(self._explain_budget, self._clock), tenant_id)

    async def _decide(self, request: CheckRequest, deadline: Deadline, explained: str | None) -> Decision:
        """The decision; with `explained` about that tenant, uncharged."""
        rules = self._rules
        trail = self._begin(request, rules)
        if isinstance(trail, Decision):
            return trail
        route = trail.route
        if route.route_class is _PUBLIC:
            return trail.decide(None)
        needs = asks(route.route_class, is_read=request.method in READ_METHODS)
        if explained is None:
            answer = await rules.authenticator.authenticate(request, deadline)
        else:
            answer = _as_if(explained, route)
        denial = _admit(answer, needs, trail)
        if denial is None:
            denial = await rules.chain.run(needs, trail, deadline, commit=explained is None)
            if denial is None and deadline.gone:
                denial = OVERLOADED  # nobody listens any more: whoever looks at it, an answer that late is no allow
        return trail.decide(denial)

    def _begin(self, request: CheckRequest, rules: Rules) -> Trail | Decision:
        """The way to go, or the 400 that it comes to."""
        decision_id = self._new_id()
        try:
            route = rules.routes.match(request.method, request.path, request.context_extensions)
        except BadPath as error:
            reason, note = Reason.PATH, str(error)
        except BadContext as error:
            reason, note = Reason.CONTEXT, str(error)
        else:
            return Trail(self._clock, decision_id, route, rules.chain.skipped)
        denial = Denial(gate=Gate.REQUEST, reason=reason, note=note)
        return Decision(decision_id=decision_id, denial=denial, route=None)


def _as_if(tenant_id: str, route: Route) -> Authenticated:
    """The caller of an explanation."""
    scopes = route.scopes | {OPERATOR_SCOPE} if tenant_id == SYSTEM_TENANT else route.scopes
    return Authenticated(Principal(tenant_id=tenant_id, method=AuthMethod.API_KEY, subject="", scopes=scopes), ())


def _admit(answer: Authenticated | Denial, needs: Asks, trail: Trail) -> Denial | None:
    """What the auth gateway comes to: who it is, and whether it may use this route at all."""
    if isinstance(answer, Denial):
        denial: Denial | None = answer
    else:
        trail.principal, trail.strip = answer
        trail.tenant_id = answer.principal.tenant_id
        denial = _authorize(answer.principal, needs, trail.route)
    trail.auth = GateReport(
        gate=_AUTH,
        verdict="allow" if denial is None else "deny",
        mode=_ENFORCE,
        seconds=trail.lap(),
        fallback=_outage(denial),
    )
    return denial


def _authorize(principal: Principal, needs: Asks, route: Route) -> Denial | None:
    if needs.operator and not principal.is_operator:
        return _OPERATOR_REQUIRED
    return None if route.scopes <= principal.scopes else _INSUFFICIENT_SCOPE


def _outage(denial: Denial | None) -> FallbackReason | None:
    """Why the credential provider gave no answer, where that is what denied."""
    if denial is None or denial.reason is not Reason.PROVIDER_UNAVAILABLE:
        return None
    return FallbackReason(denial.note)
