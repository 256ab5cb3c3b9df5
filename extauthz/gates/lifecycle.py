"""The lifecycle gate: may this tenant run at all? (spec 2 and 3.3)."""

from typing import Final, NamedTuple

from extauthz.gates.base import Found, GateControl, Stopwatch, ask, report, settle
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Denial, Gate, GateReport, LifecycleBlocked, Reason, Source
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import Activity, LifecycleRecord, LifecycleState, Onboarding, permitted_states
from extauthz.ports import Fetched, Lookup

TENANT_UNKNOWN: Final = Denial(gate=Gate.LIFECYCLE, reason=Reason.TENANT_UNKNOWN)

ASSUMED: Final = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)
"""What stands for a tenant of which nothing can be learned. Its onboarding counts as not known."""

# `_system` owns operator credentials and is nobody's tenant; no provider needs to be asked, or to be up, to know that.
_NO_TENANT: Final[Fetched[LifecycleRecord | None]] = Fetched(value=None, source=Source.NONE)
_DEFAULT: Final = Source.DEFAULT


class LifecycleRuling(NamedTuple):
    """`denial` is the one that stands. `state` None: no such tenant. `onboarding` None: not known."""

    denial: Denial | None
    report: GateReport
    state: LifecycleState | None
    onboarding: Onboarding | None


def _blocked(state: LifecycleState, permitted: frozenset[LifecycleState]) -> Denial:
    return Denial(
        gate=Gate.LIFECYCLE,
        reason=Reason(state.value.lower()),
        detail=LifecycleBlocked(
            state=state, allowed_states=tuple(allowed for allowed in LifecycleState if allowed in permitted)
        ),
    )


_BLOCKED: Final = {
    (state, permitted): _blocked(state, permitted)
    for state in LifecycleState
    for permitted in {permitted_states(activity, onboarding) for activity in Activity for onboarding in Onboarding}
    if state not in permitted
}


def decide(record: LifecycleRecord | None, activity: Activity) -> Denial | None:
    """Whether a tenant with this record (None: there is no such tenant) may do `activity`."""
    if record is None:
        return TENANT_UNKNOWN
    permitted = permitted_states(activity, record.onboarding)
    return None if record.state in permitted else _BLOCKED[record.state, permitted]


class LifecycleGate:
    """Looks a tenant's lifecycle up and judges it.

    Args:
        lookup: by tenant id; None is "no such tenant".
        control: the gate's settings.
    """

    def __init__(self, *, lookup: Lookup[str, LifecycleRecord | None], control: GateControl) -> None:
        self.control = control
        self._lookup = lookup

    def peek(self, tenant_id: str) -> Fetched[LifecycleRecord | None] | None:
        """What is known without waiting; None where the provider has to be asked."""
        return _NO_TENANT if tenant_id == SYSTEM_TENANT else self._lookup.peek(tenant_id)

    async def ask(self, tenant_id: str, deadline: Deadline) -> Found[LifecycleRecord | None]:
        """What the provider says by `deadline`."""
        return await ask(self._lookup, tenant_id, deadline)

    def judge(self, found: Found[LifecycleRecord | None], activity: Activity, watch: Stopwatch) -> LifecycleRuling:
        """The gate's ruling on what was found."""
        control = self.control
        fetched, fallback, closed = settle(control, found, ASSUMED)
        record = fetched.value
        denial, made = report(
            control, closed or decide(record, activity), fetched.source, fetched.age, fallback, watch.lap()
        )
        if record is None:
            return LifecycleRuling(denial, made, None, None)
        return LifecycleRuling(denial, made, record.state, None if fetched.source is _DEFAULT else record.onboarding)
