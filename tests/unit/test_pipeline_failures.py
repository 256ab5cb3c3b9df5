"""Every way a provider can fail, in every mode and failure mode (spec 3.7 and 4), gate by gate."""

from dataclasses import dataclass
from itertools import product

import pytest

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.decision import Decision, FallbackReason, Gate, Mode, OnFailure, Reason, Source
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import Fetched, Unavailable
from extauthz.testing.builders import make_request
from extauthz.testing.clock import FakeClock
from extauthz.testing.stage import Stage, report_of

DENIED: Fetched[object] = Fetched(
    value=LifecycleRecord(state=LifecycleState.TERMINATED, onboarding=Onboarding.COMPLETE),
    source=Source.STALE,
    age=1800.0,
)
PERMITTED: Fetched[object] = Fetched(
    value=LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE), source=Source.STALE, age=1800.0
)
UNPAID: Fetched[object] = Fetched(
    value=BillingRecord(state=BillingState.SUSPENDED, plan_id="pro"), source=Source.STALE, age=1800.0
)
PAID: Fetched[object] = Fetched(
    value=BillingRecord(state=BillingState.ACTIVE, plan_id="pro"), source=Source.STALE, age=1800.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A provider that fails. `known` is whether its last-known state denies; None: there is none."""

    gate: Gate
    reason: FallbackReason
    known: bool | None
    mode: Mode
    on_failure: OnFailure

    def outage(self) -> Unavailable:
        denies, permits = (DENIED, PERMITTED) if self.gate is Gate.LIFECYCLE else (UNPAID, PAID)
        last_known = None if self.known is None else denies if self.known else permits
        return Unavailable(self.reason, last_known, retry_after_ms=7_000)

    async def decide(self) -> Decision:
        stage = Stage(FakeClock())
        stage.set(self.gate, self.mode, self.on_failure)
        lookup = stage.lifecycle if self.gate is Gate.LIFECYCLE else stage.billing
        lookup.outage = self.outage()
        return await stage.decide(make_request("/api/v1/runs", "POST"))

    @property
    def would_deny(self) -> Reason | None:
        """What an enforcing gate denies with."""
        if self.known is None:
            return Reason.PROVIDER_UNAVAILABLE if self.on_failure is OnFailure.CLOSED else None
        denial = Reason.TERMINATED if self.gate is Gate.LIFECYCLE else Reason.SUSPENDED
        return denial if self.known else None

    @property
    def source(self) -> Source:
        """Where the report says that the answer came from."""
        if self.known is not None:
            return Source.STALE
        closed = self.would_deny is not None and self.mode is Mode.ENFORCE
        return Source.NONE if closed else Source.DEFAULT


CASES = [
    Case(gate=gate, reason=reason, known=known, mode=mode, on_failure=on_failure)
    for gate, reason, known, mode, on_failure in product(
        (Gate.LIFECYCLE, Gate.BILLING),
        FallbackReason,
        (None, False, True),
        (Mode.ENFORCE, Mode.SHADOW),
        (OnFailure.OPEN, OnFailure.CLOSED),
    )
]
EACH_CASE = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.gate}-{case.reason}-{case.known}-{case.mode}-{case.on_failure}"
)


@EACH_CASE
async def test_only_enforce_denies(case: Case) -> None:
    decision = await case.decide()
    expected = case.would_deny if case.mode is Mode.ENFORCE else None
    assert decision.reason is (expected or Reason.NONE)
    assert decision.gate is (case.gate if expected else Gate.NONE)


@EACH_CASE
async def test_closed_is_told_until_when(case: Case) -> None:
    decision = await case.decide()
    if decision.reason is Reason.PROVIDER_UNAVAILABLE:
        assert decision.denial is not None
        assert decision.denial.retry_after_ms == 7_000
    else:
        assert decision.denial is None or decision.denial.retry_after_ms is None


@EACH_CASE
async def test_shadow_reports_what_it_would_have_done(case: Case) -> None:
    shadow = report_of(await case.decide(), case.gate).shadow
    if case.mode is Mode.ENFORCE or case.would_deny is None:
        assert shadow is None
    else:
        assert shadow is not None
        assert (shadow.gate, shadow.reason) == (case.gate, case.would_deny)


@EACH_CASE
async def test_the_report_tells_why_and_what_stood_in(case: Case) -> None:
    made = report_of(await case.decide(), case.gate)
    assert (made.mode, made.fallback, made.source) == (case.mode.value, case.reason, case.source)
    assert made.age_ms == (1_800_000 if case.source is Source.STALE else None)


@EACH_CASE
async def test_only_an_enforcing_gate_that_answered_is_degraded(case: Case) -> None:
    decision = await case.decide()
    degraded = case.mode is Mode.ENFORCE and case.source is not Source.NONE
    assert decision.degraded == ((case.gate,) if degraded else ())


@pytest.mark.parametrize(("gate", "reason"), list(product((Gate.LIFECYCLE, Gate.BILLING), FallbackReason)))
@pytest.mark.parametrize("on_failure", [OnFailure.OPEN, OnFailure.CLOSED])
async def test_a_gate_that_is_off_does_not_notice(gate: Gate, reason: FallbackReason, on_failure: OnFailure) -> None:
    case = Case(gate=gate, reason=reason, known=True, mode=Mode.OFF, on_failure=on_failure)
    decision = await case.decide()
    assert decision.allowed
    assert (report_of(decision, gate).fallback, decision.degraded) == (None, ())


@pytest.mark.parametrize("reason", list(FallbackReason))
async def test_billing_001_a_closed_billing_gate_does_not_block_onboarding(reason: FallbackReason) -> None:
    stage = Stage(FakeClock())
    stage.tenant(onboarding=Onboarding.PENDING)
    stage.set(Gate.BILLING, on_failure=OnFailure.CLOSED)
    stage.billing.outage = Unavailable(reason)
    decision = await stage.decide(make_request("/api/v1/runs", "POST"))
    assert decision.allowed
    assert decision.degraded == (Gate.BILLING,)
    limits = stage.charger.charges[0].limits
    assert (limits.rate, limits.burst) == (60, 10)  # of the default plan, which needs no billing provider


async def test_a_closed_billing_gate_does_not_deny_what_billing_has_no_say_in() -> None:
    stage = Stage(FakeClock())
    stage.set(Gate.BILLING, on_failure=OnFailure.CLOSED)
    stage.billing.outage = Unavailable(FallbackReason.TIMEOUT)
    assert (await stage.decide(make_request("/api/v1/things", "GET"))).allowed
    assert (await stage.decide(make_request("/api/v1/things", "POST"))).reason is Reason.PROVIDER_UNAVAILABLE


@pytest.mark.parametrize("reason", list(FallbackReason))
async def test_everything_but_auth_down_still_lets_authenticated_traffic_flow(reason: FallbackReason) -> None:
    stage = Stage(FakeClock())
    stage.lifecycle.outage = stage.billing.outage = stage.charger.outage = Unavailable(reason)
    decision = await stage.decide(make_request("/api/v1/runs", "POST"))
    assert decision.allowed
    assert [made.fallback for made in decision.reports] == [None, reason, reason, reason]
