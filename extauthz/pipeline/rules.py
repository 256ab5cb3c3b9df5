"""What requests are decided by, and how it is replaced while some are under way."""

from copy import copy
from dataclasses import dataclass
from typing import TypeVar

from extauthz.gates.base import GateSettings
from extauthz.gates.billing import BillingGate
from extauthz.gates.lifecycle import LifecycleGate
from extauthz.gates.limits import Actions
from extauthz.gates.protection import ProtectionGate
from extauthz.model.billing import PlanBook
from extauthz.pipeline.authenticate import Authenticator
from extauthz.pipeline.chain import GateChain
from extauthz.routing import RouteTable

G = TypeVar("G", LifecycleGate, BillingGate, ProtectionGate)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """Everything about decisions that may change while the service runs, ready for use.

    `strip_authorization` keeps `authorization` from the upstream whatever it carried; `actions` is what exceeding a limit
    comes to.
    """

    routes: RouteTable
    strip_authorization: bool
    lifecycle: GateSettings
    billing: GateSettings
    plans: PlanBook
    protection: GateSettings
    actions: Actions


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one request is decided by, from beginning to end."""

    routes: RouteTable
    authenticator: Authenticator
    chain: GateChain

    def succeeded_by(self, book: RuleBook) -> "Rules":
        """The rules of `book`. From now on these here stand still: no change of the gates' settings reaches them any more.

        Nothing is awaited: no request is decided by half of each.
        """
        chain = copy(self.chain)
        chain.lifecycle = _successor(chain.lifecycle, book.lifecycle)
        chain.billing = _successor(chain.billing, book.billing)
        chain.billing.change_plans(book.plans)
        chain.protection = _successor(chain.protection, book.protection)
        chain.protection.change_actions(book.actions)
        authenticator = self.authenticator.but(strip_authorization=book.strip_authorization)
        return Rules(routes=book.routes, authenticator=authenticator, chain=chain)


def _successor(gate: G, settings: GateSettings) -> G:
    """A gate with `settings` and everything else that this one has: its look-up, its memory, and its very control.

    Whoever holds the control (a bypass, say) goes on holding the one in force; the gate that retires keeps a copy of it as it
    is at this moment.
    """
    heir = copy(gate)
    gate.control = copy(gate.control)
    heir.control.change(settings)
    return heir
