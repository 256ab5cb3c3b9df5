"""What a charge comes to (spec 3.5), in every mode and without its provider."""

from itertools import combinations, product

import pytest

from extauthz.gates.anomaly import AnomalyDetector, AnomalySeverity, Signal
from extauthz.gates.base import GateControl, GateSettings, Stopwatch
from extauthz.gates.limits import Actions, Terms, decide
from extauthz.gates.protection import ProtectionGate, ProtectionRuling
from extauthz.model.billing import BillingState, Limits
from extauthz.model.deadline import Deadline
from extauthz.model.decision import (
    FallbackReason,
    Gate,
    LimitExceeded,
    Mode,
    OnFailure,
    RateLimited,
    Reason,
    Source,
)
from extauthz.model.protection import CHARGED, Dimension, Exceeded, Outcome, RateStatus
from extauthz.ports import Unavailable
from extauthz.testing.clock import FakeClock
from extauthz.testing.fakes import FakeCharger

LIMITS = Limits(rate=60, burst=10, max_requests_per_day=1000, max_cost_per_day=5_000_000)
QUOTA, RATE, BURST, COST = CHARGED
WAITS = {QUOTA: 3_600_000_000, RATE: 1_500_001, BURST: 100_000, COST: 7_200_000_000}
STATUS = RateStatus(limit=60, remaining=3, reset_us=1)
REASONS = {QUOTA: Reason.MAX_REQUESTS_PER_DAY, RATE: Reason.RATE, BURST: Reason.BURST, COST: Reason.COST}
EVERY_SUBSET = [subset for size in range(len(CHARGED) + 1) for subset in combinations(CHARGED, size)]


def over(dimension: Dimension) -> Exceeded:
    return Exceeded(dimension=dimension, wait_us=WAITS[dimension], current=1000, allowed=1000)


def terms(*, quota_counts: bool = True, quota_blocks: bool = True, commit: bool = True) -> Terms:
    return Terms(
        tenant_id="acme",
        limits=LIMITS,
        cost=7,
        quota_counts=quota_counts,
        quota_blocks=quota_blocks,
        plan_id="pro",
        billing_state=BillingState.PAST_DUE,
        commit=commit,
    )


class Bench:
    """The gate on a fake charger."""

    def __init__(
        self,
        *exceeded: Dimension,
        mode: Mode = Mode.ENFORCE,
        on_failure: OnFailure = OnFailure.OPEN,
        actions: Actions | None = None,
        local: FakeCharger | None = None,
        anomaly: AnomalyDetector | None = None,
    ) -> None:
        self.charger = FakeCharger(*(over(dimension) for dimension in exceeded))
        self.charger.rate = STATUS
        self.charger.near = (RATE,)
        self.signals: list[Signal] = []
        self.clock = FakeClock()
        self.gate = ProtectionGate(
            charger=self.charger,
            control=GateControl(Gate.PROTECTION, GateSettings(mode=mode, on_failure=on_failure)),
            actions=actions,
            local=local,
            anomaly=anomaly,
            on_anomaly=self.signals.append,
        )

    async def judge(self, on: Terms | None = None) -> ProtectionRuling:
        return await self.gate.judge(on or terms(), Deadline.after(1.0, self.clock), Stopwatch(self.clock))


async def test_within_every_limit_is_allow() -> None:
    bench = Bench()
    ruling = await bench.judge()
    assert (ruling.denial, ruling.warnings, ruling.rate, ruling.near) == (None, (), STATUS, (RATE,))
    assert (ruling.report.verdict, ruling.report.source) == ("allow", Source.PROVIDER)
    [charge] = bench.charger.consumed
    assert (charge.tenant_id, charge.limits, charge.cost) == ("acme", LIMITS, 7)


@pytest.mark.parametrize(("dimension", "outcome"), [(RATE, Outcome.REJECT), (BURST, Outcome.THROTTLE)])
async def test_rate_rejects_and_burst_throttles(dimension: Dimension, outcome: Outcome) -> None:
    ruling = await Bench(dimension).judge()
    assert ruling.denial is not None
    assert (ruling.denial.gate, ruling.denial.reason) == (Gate.PROTECTION, REASONS[dimension])
    assert ruling.denial.detail == RateLimited(dimension=dimension, outcome=outcome)
    assert (ruling.report.verdict, ruling.rate) == ("deny", STATUS)


async def test_cost_rejects_with_its_figures() -> None:
    denial = (await Bench(COST).judge()).denial
    assert denial is not None
    assert (denial.gate, denial.reason, denial.retry_after_ms) == (Gate.PROTECTION, Reason.COST, 7_200_000)
    assert denial.detail == LimitExceeded(
        dimension=COST, current=1000, allowed=1000, plan_id="pro", billing_state=BillingState.PAST_DUE
    )


async def test_the_day_quota_is_denied_by_billing_and_protection_itself_allows() -> None:
    ruling = await Bench(QUOTA).judge()
    assert ruling.denial is not None
    assert (ruling.denial.gate, ruling.denial.reason) == (Gate.BILLING, Reason.MAX_REQUESTS_PER_DAY)
    assert ruling.denial.detail == LimitExceeded(
        dimension=QUOTA, current=1000, allowed=1000, plan_id="pro", billing_state=BillingState.PAST_DUE
    )
    assert ruling.report.verdict == "allow"


@pytest.mark.parametrize("exceeded", [subset for subset in EVERY_SUBSET if subset])
async def test_the_first_in_the_locked_order_is_named_and_the_longest_wait_told(
    exceeded: tuple[Dimension, ...],
) -> None:
    bench = Bench(*exceeded)
    denial = (await bench.judge()).denial
    assert denial is not None
    assert denial.reason is REASONS[exceeded[0]]
    assert denial.retry_after_ms == max(-(-WAITS[dimension] // 1000) for dimension in exceeded)
    assert bench.charger.consumed == []


def test_retry_after_is_rounded_up_to_whole_milliseconds() -> None:
    verdict = decide((over(RATE),), terms(), Actions(), counts=frozenset({RATE}), blocks=frozenset({RATE}))
    assert verdict.denial is not None
    assert verdict.denial.retry_after_ms == 1501


@pytest.mark.parametrize(
    ("rate", "burst", "cost"),
    list(
        product(
            (Outcome.REJECT, Outcome.THROTTLE, Outcome.WARN),
            (Outcome.REJECT, Outcome.THROTTLE, Outcome.WARN),
            (Outcome.REJECT, Outcome.WARN),
        )
    ),
)
async def test_abuse_002_every_outcome_is_explicit(rate: Outcome, burst: Outcome, cost: Outcome) -> None:
    actions = Actions(rate=rate, burst=burst, cost=cost)
    bench = Bench(RATE, BURST, COST, actions=actions)
    ruling = await bench.judge()
    outcomes = {RATE: rate, BURST: burst, COST: cost}
    denying = [dimension for dimension in (RATE, BURST, COST) if outcomes[dimension] is not Outcome.WARN]
    if not denying:
        assert (ruling.denial, ruling.report.verdict) == (None, "warn")
        assert ruling.warnings == (RATE, BURST, COST)
        assert ruling.report.shadow is None
        return
    assert ruling.denial is not None
    assert ruling.denial.reason is REASONS[denying[0]]
    detail = ruling.denial.detail
    if isinstance(detail, RateLimited):
        assert detail.outcome is outcomes[denying[0]]
    before = [dimension for dimension in (RATE, BURST, COST) if CHARGED.index(dimension) < CHARGED.index(denying[0])]
    assert ruling.warnings == tuple(before)
    assert bench.charger.charges[0].blocking == {QUOTA, *denying}


@pytest.mark.parametrize("exceeded", [(RATE,), (BURST,), (COST,), (RATE, COST)])
async def test_shadow_charges_in_full_and_reports_what_it_would_have_done(exceeded: tuple[Dimension, ...]) -> None:
    bench = Bench(*exceeded, mode=Mode.SHADOW)
    ruling = await bench.judge()
    assert ruling.denial is None
    assert ruling.report.shadow is not None
    assert ruling.report.shadow.reason is REASONS[exceeded[0]]
    assert ruling.report.shadow.retry_after_ms == max(-(-WAITS[dimension] // 1000) for dimension in exceeded)
    assert ruling.warnings == exceeded
    assert len(bench.charger.consumed) == 1


async def test_in_shadow_the_quota_still_denies_for_billing() -> None:
    bench = Bench(QUOTA, RATE, mode=Mode.SHADOW)
    ruling = await bench.judge()
    assert bench.charger.charges[0].blocking == {QUOTA}
    assert ruling.denial is not None
    assert ruling.denial.gate is Gate.BILLING
    assert ruling.report.shadow is None  # the evaluation stopped before rate


async def test_a_quota_that_billing_only_shadows_is_reported_and_charged() -> None:
    bench = Bench(QUOTA)
    ruling = await bench.judge(terms(quota_blocks=False))
    assert ruling.denial is None
    assert ruling.shadow_quota is not None
    assert ruling.shadow_quota.reason is Reason.MAX_REQUESTS_PER_DAY
    assert len(bench.charger.consumed) == 1


async def test_a_quota_that_is_not_billings_business_is_only_counted() -> None:
    ruling = await Bench(QUOTA).judge(terms(quota_counts=False, quota_blocks=False))
    assert (ruling.denial, ruling.shadow_quota, ruling.warnings) == (None, None, (QUOTA,))


async def test_nothing_is_consumed_without_commit() -> None:
    bench = Bench(anomaly=AnomalyDetector())
    await bench.judge(terms(commit=False))
    assert [charge.commit for charge in bench.charger.charges] == [False]
    assert bench.charger.consumed == []


@pytest.mark.parametrize("reason", list(FallbackReason))
@pytest.mark.parametrize("on_failure", [OnFailure.OPEN, OnFailure.LOCAL])
async def test_without_its_provider_protection_allows(reason: FallbackReason, on_failure: OnFailure) -> None:
    bench = Bench(RATE, on_failure=on_failure)
    bench.charger.outage = Unavailable(reason)
    ruling = await bench.judge()
    assert (ruling.denial, ruling.rate, ruling.near) == (None, None, ())
    made = ruling.report
    assert (made.verdict, made.source, made.fallback) == ("allow", Source.DEFAULT, reason)


@pytest.mark.parametrize("reason", list(FallbackReason))
@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
async def test_closed_is_a_503_that_shadow_only_reports(reason: FallbackReason, mode: Mode) -> None:
    bench = Bench(mode=mode, on_failure=OnFailure.CLOSED)
    bench.charger.outage = Unavailable(reason, retry_after_ms=4200)
    ruling = await bench.judge()
    denial = ruling.denial if mode is Mode.ENFORCE else ruling.report.shadow
    assert denial is not None
    assert (denial.gate, denial.reason, denial.retry_after_ms) == (
        Gate.PROTECTION,
        Reason.PROVIDER_UNAVAILABLE,
        4200,
    )
    assert (ruling.denial is None) == (mode is Mode.SHADOW)
    assert ruling.report.fallback is reason


@pytest.mark.parametrize(("reason", "on_failure"), list(product(FallbackReason, OnFailure)))
async def test_a_flood_never_switches_the_limiter_off(reason: FallbackReason, on_failure: OnFailure) -> None:
    """A full bulkhead and a caller in a hurry are counted in process, whatever `on_failure` says."""
    local = FakeCharger(over(RATE))
    bench = Bench(on_failure=on_failure, local=local)
    bench.charger.outage = Unavailable(reason)
    ruling = await bench.judge()
    counted = on_failure is OnFailure.LOCAL or reason in {FallbackReason.BULKHEAD, FallbackReason.BUDGET}
    assert len(local.charges) == counted
    if counted:
        assert ruling.denial is not None
        assert ruling.denial.reason is Reason.RATE
        assert (ruling.report.source, ruling.report.fallback) == (Source.LOCAL, reason)


async def test_the_day_quota_is_not_enforced_by_what_is_counted_in_process() -> None:
    local = FakeCharger(over(QUOTA))
    bench = Bench(on_failure=OnFailure.LOCAL, local=local)
    bench.charger.outage = Unavailable(FallbackReason.TIMEOUT)
    ruling = await bench.judge()
    assert (ruling.denial, ruling.report.source) == (None, Source.LOCAL)


@pytest.mark.parametrize("asked", [True, False])
async def test_who_counts_in_process_is_told_whether_the_provider_may_have_counted_it_too(asked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    local = FakeCharger()
    bench = Bench(local=local)
    bench.charger.outage = Unavailable(FallbackReason.BUDGET, asked=asked)
    await bench.judge()
    assert local.asked == [asked]


@pytest.mark.parametrize("dimension", [RATE, BURST, COST])
async def test_in_shadow_what_is_counted_in_process_is_charged_in_full_and_only_reported(dimension: Dimension) -> None:
    local = FakeCharger(over(dimension))
    bench = Bench(mode=Mode.SHADOW, on_failure=OnFailure.LOCAL, local=local)
    bench.charger.outage = Unavailable(FallbackReason.CIRCUIT_OPEN)
    ruling = await bench.judge()
    assert ruling.denial is None
    assert ruling.report.shadow is not None
    assert (ruling.report.shadow.reason, ruling.report.source) == (REASONS[dimension], Source.LOCAL)
    assert local.consumed == local.charges


async def test_warn_lets_through_what_is_counted_in_process_too() -> None:
    local = FakeCharger(over(RATE), over(COST))
    actions = Actions(rate=Outcome.WARN, cost=Outcome.WARN)
    bench = Bench(on_failure=OnFailure.LOCAL, local=local, actions=actions)
    bench.charger.outage = Unavailable(FallbackReason.TIMEOUT)
    ruling = await bench.judge()
    assert (ruling.denial, ruling.warnings, ruling.report.verdict) == (None, (RATE, COST), "warn")
    assert local.consumed == local.charges


async def test_an_explanation_consumes_nothing_in_process_either() -> None:
    local = FakeCharger()
    bench = Bench(on_failure=OnFailure.LOCAL, local=local)
    bench.charger.outage = Unavailable(FallbackReason.CIRCUIT_OPEN)
    ruling = await bench.judge(terms(commit=False))
    assert (ruling.report.source, local.consumed) == (Source.LOCAL, [])


async def test_the_client_sees_the_rate_as_it_is_counted_in_process() -> None:
    local = FakeCharger()
    local.rate = RateStatus(limit=60, remaining=59, reset_us=1_000_000)
    bench = Bench(on_failure=OnFailure.LOCAL, local=local)
    bench.charger.outage = Unavailable(FallbackReason.CIRCUIT_OPEN)
    assert (await bench.judge()).rate == local.rate


async def test_actions_may_change_while_running() -> None:
    bench = Bench(RATE)
    bench.gate.change_actions(Actions(rate=Outcome.WARN))
    assert (await bench.judge()).denial is None


class Conspicuous(AnomalyDetector):
    """Signals on every request."""

    def observe(self, tenant_id: str, now: float) -> Signal | None:
        return Signal(tenant_id=tenant_id, severity=AnomalySeverity.CRITICAL, count=int(now), baseline=1.0)


class Broken(AnomalyDetector):
    """Counts the calls it answers with an error."""

    calls = 0

    def observe(self, tenant_id: str, now: float) -> Signal | None:
        self.calls += 1
        raise ZeroDivisionError(tenant_id, now)


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
async def test_abuse_003_an_anomaly_only_warns(mode: Mode) -> None:
    bench = Bench(mode=mode, anomaly=Conspicuous())
    ruling = await bench.judge()
    assert (ruling.denial, ruling.report.shadow) == (None, None)
    assert (ruling.warnings, ruling.report.verdict) == ((Dimension.ANOMALY,), "warn")
    assert [signal.tenant_id for signal in bench.signals] == ["acme"]


async def test_abuse_003_an_anomaly_changes_no_charge() -> None:
    quiet, loud = Bench(RATE), Bench(RATE, anomaly=Conspicuous())
    denials = ((await quiet.judge()).denial, (await loud.judge()).denial)
    assert denials[0] is not None
    assert denials[0] == denials[1]
    assert quiet.charger.charges == loud.charger.charges


async def test_abuse_003_a_detector_that_fails_is_switched_off_and_blocks_nothing() -> None:
    broken = Broken()
    bench = Bench(anomaly=broken)
    for _ in range(2):
        ruling = await bench.judge()
        assert (ruling.denial, ruling.warnings) == (None, ())
    assert broken.calls == 1


async def test_an_explanation_is_not_observed() -> None:
    bench = Bench(anomaly=Conspicuous())
    assert (await bench.judge(terms(commit=False))).warnings == ()
    assert bench.signals == []


async def test_an_anomaly_is_a_warning_even_where_nobody_listens() -> None:
    clock = FakeClock()
    gate = ProtectionGate(charger=FakeCharger(), control=GateControl(Gate.PROTECTION), anomaly=Conspicuous())
    ruling = await gate.judge(terms(), Deadline.after(1.0, clock), Stopwatch(clock))
    assert ruling.warnings == (Dimension.ANOMALY,)
