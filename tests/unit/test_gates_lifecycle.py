"""What the lifecycle table permits (spec 2), as one pure function and the gate around it."""

from itertools import product

import pytest

from extauthz.gates.base import Found, GateControl, GateSettings, Stopwatch
from extauthz.gates.lifecycle import TENANT_UNKNOWN, LifecycleGate, decide
from extauthz.model.decision import FallbackReason, Gate, LifecycleBlocked, Mode, OnFailure, Reason, Source
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.lifecycle import Activity, LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import Fetched, Unavailable
from extauthz.testing.clock import FakeClock
from extauthz.testing.fakes import FakeLookup

ACTIVE, SUSPENDED, TERMINATED, ARCHIVED = LifecycleState
COMPLETE, PENDING = Onboarding.COMPLETE, Onboarding.PENDING

# The table of spec 2, column by column.
ONLY_ACTIVE = {Activity.SDK_EXECUTION, Activity.WRITE, Activity.NEW_KEY, Activity.ONBOARDING}
ALSO_SUSPENDED = {Activity.READ, Activity.TOKEN_REFRESH}


def record(state: LifecycleState, onboarding: Onboarding = COMPLETE) -> LifecycleRecord:
    return LifecycleRecord(state=state, onboarding=onboarding)


def test_the_table_names_every_activity() -> None:
    assert set(Activity) == ONLY_ACTIVE | ALSO_SUSPENDED


@pytest.mark.parametrize(("state", "activity"), list(product(LifecycleState, Activity)))
def test_lifecycle_table_after_onboarding(state: LifecycleState, activity: Activity) -> None:
    denial = decide(record(state), activity)
    permitted = {ACTIVE} if activity in ONLY_ACTIVE else {ACTIVE, SUSPENDED}
    if state in permitted:
        assert denial is None
    else:
        assert denial is not None
        assert denial.gate is Gate.LIFECYCLE
        assert (
            denial.reason
            is {SUSPENDED: Reason.SUSPENDED, TERMINATED: Reason.TERMINATED, ARCHIVED: Reason.ARCHIVED}[state]
        )
        assert denial.retry_after_ms is None
        assert isinstance(denial.detail, LifecycleBlocked)
        assert denial.detail.state is state
        assert denial.detail.allowed_states == ((ACTIVE,) if activity in ONLY_ACTIVE else (ACTIVE, SUSPENDED))


@pytest.mark.parametrize(("state", "activity"), list(product(LifecycleState, Activity)))
def test_before_onboarding_is_complete_every_state_but_active_denies_reads_too(
    state: LifecycleState, activity: Activity
) -> None:
    denial = decide(record(state, PENDING), activity)
    assert (denial is None) == (state is ACTIVE)
    if denial is not None:
        assert isinstance(denial.detail, LifecycleBlocked)
        assert denial.detail.allowed_states == (ACTIVE,)


@pytest.mark.parametrize("state", [SUSPENDED, TERMINATED, ARCHIVED])
def test_offboard_006_sdk_execution_is_blocked_in_every_state_but_active(state: LifecycleState) -> None:
    assert decide(record(state), Activity.SDK_EXECUTION) is not None


@pytest.mark.parametrize("activity", Activity)
def test_a_tenant_that_does_not_exist_is_unknown(activity: Activity) -> None:
    assert decide(None, activity) is TENANT_UNKNOWN
    assert TENANT_UNKNOWN.reason is Reason.TENANT_UNKNOWN


def gate(lookup: FakeLookup[str, LifecycleRecord], settings: GateSettings | None = None) -> LifecycleGate:
    return LifecycleGate(lookup=lookup, control=GateControl(Gate.LIFECYCLE, settings))


def watch() -> Stopwatch:
    return Stopwatch(FakeClock())


def test_the_ruling_tells_state_and_onboarding() -> None:
    found: Found[LifecycleRecord | None] = Fetched(value=record(ACTIVE, PENDING), source=Source.CACHE, age=0.5)
    ruling = gate(FakeLookup()).judge(found, Activity.READ, watch())
    assert (ruling.denial, ruling.state, ruling.onboarding) == (None, ACTIVE, PENDING)
    assert (ruling.report.source, ruling.report.age_ms) == (Source.CACHE, 500)


def test_a_default_answer_is_active_with_onboarding_not_known() -> None:
    ruling = gate(FakeLookup()).judge(Unavailable(FallbackReason.TIMEOUT), Activity.SDK_EXECUTION, watch())
    assert (ruling.denial, ruling.state, ruling.onboarding) == (None, ACTIVE, None)
    assert ruling.report.fallback is FallbackReason.TIMEOUT


def test_a_last_known_denial_holds_through_an_outage() -> None:
    stale: Fetched[object] = Fetched(value=record(TERMINATED), source=Source.STALE, age=3000.0)
    ruling = gate(FakeLookup()).judge(Unavailable(FallbackReason.CIRCUIT_OPEN, stale), Activity.READ, watch())
    assert ruling.denial is not None
    assert ruling.denial.reason is Reason.TERMINATED
    assert (ruling.report.source, ruling.report.age_ms) == (Source.STALE, 3_000_000)
    assert ruling.onboarding is COMPLETE


def test_an_unknown_tenant_has_no_state_and_no_onboarding() -> None:
    found: Found[LifecycleRecord | None] = Fetched(value=None, source=Source.PROVIDER)
    ruling = gate(FakeLookup(), GateSettings(mode=Mode.SHADOW)).judge(found, Activity.READ, watch())
    assert (ruling.denial, ruling.state, ruling.onboarding) == (None, None, None)
    assert ruling.report.shadow is TENANT_UNKNOWN


def test_the_system_tenant_is_known_not_to_be_one_without_asking() -> None:
    lookup: FakeLookup[str, LifecycleRecord] = FakeLookup({SYSTEM_TENANT: record(ACTIVE)})
    subject = gate(lookup, GateSettings(on_failure=OnFailure.OPEN))
    found = subject.peek(SYSTEM_TENANT)
    assert found is not None
    assert subject.judge(found, Activity.READ, watch()).denial is TENANT_UNKNOWN
    assert lookup.peeked == []
