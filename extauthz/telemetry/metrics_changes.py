"""What is counted of lifecycle changes."""

from typing import Final

from extauthz.model.identity import is_valid_id
from extauthz.model.lifecycle import TRANSITIONS, Transition
from extauthz.telemetry.metrics_family import Counters

MAX_TENANTS: Final = 1_000
OTHER_TENANT: Final = "_other"
FAILURES: Final = ("invalid_transition", "not_found", "provider_error")
OTHER_FAILURE: Final = "other"


class ChangeMetrics:
    """Counts transitions. The first 1,000 tenants have a series of their own, the rest share `_other`."""

    def __init__(self) -> None:
        self._tenants: set[str] = set()
        self.transitions = Counters(
            "lifecycle_transitions_total",
            "Lifecycle transitions made, by tenant for the first 1,000 tenants.",
            ("from", "to", "tenant_id"),
            [(before, after, OTHER_TENANT) for before, afters in TRANSITIONS.items() for after in sorted(afters)],
        )
        self.failures = Counters(
            "lifecycle_transition_failures_total",
            "Lifecycle transitions refused or gone wrong.",
            ("reason",),
            [(reason,) for reason in (*FAILURES, OTHER_FAILURE)],
        )
        self.families = (self.transitions, self.failures)

    def transitioned(self, transition: Transition) -> None:
        """A tenant moved; where it stayed in its state nothing is counted."""
        if transition.from_state is not transition.to_state:
            tenant = self._tenant_label(transition.tenant_id)
            self.transitions.of(transition.from_state, transition.to_state, tenant).value += 1

    def transition_failed(self, reason: str) -> None:
        """A transition was refused or went wrong."""
        self.failures.of(reason if reason in FAILURES else OTHER_FAILURE).value += 1

    def _tenant_label(self, tenant_id: str) -> str:
        if tenant_id in self._tenants:
            return tenant_id
        if len(self._tenants) >= MAX_TENANTS or not is_valid_id(tenant_id):
            return OTHER_TENANT
        self._tenants.add(tenant_id)
        return tenant_id
