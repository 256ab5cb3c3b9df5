"""The pipeline against a plain model of spec sections 2 and 3, over generated tenants, requests, settings and faults.

The model is written from the spec and shares no rule with the package: strings, sets and ifs.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from extauthz.errors import InvalidCredential
from extauthz.gates.limits import Actions
from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.decision import Decision, FallbackReason, Gate, Mode, OnFailure, Source
from extauthz.model.identity import Principal
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.model.protection import Dimension, Exceeded, Outcome
from extauthz.ports import Fetched, Unavailable
from extauthz.testing.builders import KEY, TENANT, make_operator, make_principal, make_request
from extauthz.testing.clock import FakeClock
from extauthz.testing.fakes import FakeCharger
from extauthz.testing.stage import Stage

PATHS: Final = {
    "public": "/health",
    "refresh": "/api/v1/auth/refresh",
    "onboarding": "/api/v1/onboarding/steps",
    "operator": "/fdr/x",
    "sdk": "/api/v1/runs",
    "standard": "/api/v1/things",
}
DIMENSIONS: Final = ("quota", "rate", "burst", "cost")


@dataclass(frozen=True)
class GateSetting:
    mode: str
    on_failure: str


@dataclass(frozen=True)
class World:
    """Everything one check depends on. Records are tuples of words; None is "no such tenant".

    A failure is (reason, last known), where the last known is "none" or a record; None: the provider answers.
    """

    route_class: str
    method: str
    credential: str
    lifecycle: tuple[str, str] | None
    billing: tuple[str, str] | None
    lifecycle_failure: tuple[str, tuple[str, str] | str | None] | None
    billing_failure: tuple[str, tuple[str, str] | str | None] | None
    charge_failure: str | None
    exceeded: tuple[str, ...]
    has_local: bool
    actions: tuple[str, str, str]
    lifecycle_gate: GateSetting
    billing_gate: GateSetting
    protection_gate: GateSetting


@dataclass
class Answer:
    """What is compared: who denied and why, what was degraded or shadowed, and what was charged where."""

    gate: str = "none"
    reason: str = "none"
    degraded: list[str] = field(default_factory=list)
    shadows: list[tuple[str, str]] = field(default_factory=list)
    blocking: set[str] | None = None
    charged: str = "nowhere"

    def deny(self, gate: str, reason: str) -> "Answer":
        self.gate, self.reason = gate, reason
        return self


def model(world: World) -> Answer:  # noqa: C901, PLR0911, PLR0912, PLR0915 - one story from top to bottom, as the spec tells it
    answer = Answer()
    if world.route_class == "public":
        return answer

    # 3.2: auth, fail-closed
    if world.credential == "none":
        return answer.deny("auth", "missing_credentials")
    if world.credential == "revoked":
        return answer.deny("auth", "invalid_credentials")
    if world.credential == "store_out":
        return answer.deny("auth", "provider_unavailable")
    if world.route_class == "operator":
        return answer if world.credential == "operator" else answer.deny("auth", "operator_required")

    reads = world.method in {"GET", "HEAD", "OPTIONS"}

    # 3.3: lifecycle
    onboarding = "not known"
    gate = world.lifecycle_gate
    if gate.mode != "off":
        tenant = None if world.credential == "operator" else world.lifecycle
        failed = world.lifecycle_failure is not None and world.credential != "operator"
        denied = ""
        if failed and world.lifecycle_failure is not None:
            tenant_or_none = world.lifecycle_failure[1]
            if tenant_or_none == "none":
                denied = "provider_unavailable" if gate.on_failure == "closed" else ""
                tenant = ("ACTIVE", "not known")
            else:
                assert tenant_or_none is None or isinstance(tenant_or_none, tuple)
                tenant = tenant_or_none
        if tenant is None:
            denied = "tenant_unknown"
        else:
            state, onboarding = tenant
            may_be_suspended = world.route_class == "refresh" or (world.route_class == "standard" and reads)
            if onboarding == "PENDING":
                may_be_suspended = False
            if state == "SUSPENDED" and not may_be_suspended:
                denied = "suspended"
            if state in {"TERMINATED", "ARCHIVED"}:
                denied = state.lower()
        if failed and gate.mode == "enforce" and denied != "provider_unavailable":
            answer.degraded.append("lifecycle")
        if denied and gate.mode == "enforce":
            return answer.deny("lifecycle", denied)
        if denied:
            answer.shadows.append(("lifecycle", denied))
    if world.route_class in {"refresh", "onboarding"}:
        return answer

    # 3.4: billing
    may_deny = (world.route_class == "sdk" or not reads) and onboarding == "COMPLETE"
    plan_known = False
    gate = world.billing_gate
    if gate.mode != "off":
        # `_system` has no record of its own in these worlds.
        record = None if world.credential == "operator" else world.billing
        failed, denied = False, ""
        if world.billing_failure is not None:
            failed = True
            record_or_none = world.billing_failure[1]
            if record_or_none == "none":
                denied = "provider_unavailable" if gate.on_failure == "closed" and may_deny else ""
                record = ("TRIAL", "gone")
            else:
                assert record_or_none is None or isinstance(record_or_none, tuple)
                record = record_or_none
        standing, plan = record or ("TRIAL", "free")  # the default plan, which limits everything as `pro` does
        plan_known = plan != "gone"
        if not plan_known:
            failed = True
            denied = "provider_unavailable" if gate.on_failure == "closed" and may_deny else ""
        if standing == "SUSPENDED" and may_deny:
            denied = "suspended"
        if failed and gate.mode == "enforce" and denied != "provider_unavailable":
            answer.degraded.append("billing")
        if denied and gate.mode == "enforce":
            return answer.deny("billing", denied)
        if denied:
            answer.shadows.append(("billing", denied))

    # 3.5: the charge
    gate = world.protection_gate
    if gate.mode == "off":
        return answer
    if onboarding == "PENDING":
        limited = {"rate", "burst"}
    elif plan_known:
        limited = {"quota", "rate", "burst", "cost"}
    else:
        limited = set()
    by_protection = {
        dimension
        for dimension, action in zip(("rate", "burst", "cost"), world.actions, strict=True)
        if action != "warn"
    }
    quota_enforced = may_deny and world.billing_gate.mode == "enforce"
    answer.blocking = {"quota"} if quota_enforced else set()
    if gate.mode == "enforce":
        answer.blocking |= by_protection
    where = "provider"
    if world.charge_failure is not None:
        never_uncounted = world.charge_failure in {"bulkhead", "budget"}
        if world.has_local and (gate.on_failure == "local" or never_uncounted):
            where = "local"
            limited -= {"quota"}
            if gate.mode == "enforce":
                answer.degraded.append("protection")
        elif gate.on_failure == "closed":
            if gate.mode == "enforce":
                return answer.deny("protection", "provider_unavailable")
            answer.shadows.append(("protection", "provider_unavailable"))
            return answer
        else:
            if gate.mode == "enforce":
                answer.degraded.append("protection")
            return answer
    for dimension in DIMENSIONS:
        if dimension not in world.exceeded or dimension not in limited:
            continue
        owner = "billing" if dimension == "quota" else "protection"
        reason = "max_requests_per_day" if dimension == "quota" else dimension
        if dimension == "quota":
            denies, enforced = may_deny, quota_enforced
        else:
            denies, enforced = dimension in by_protection, gate.mode == "enforce"
        if denies and enforced:
            return answer.deny(owner, reason)
        already = [gate_name for gate_name, _ in answer.shadows]
        if denies and (owner not in already or dimension == "quota"):
            # A gate has one shadow; the day quota, found out last, replaces what billing would have said before.
            answer.shadows = [shadow for shadow in answer.shadows if shadow[0] != owner]
            answer.shadows.append((owner, reason))
    answer.charged = where
    return answer


# Worlds

GATES = st.builds(
    GateSetting,
    mode=st.sampled_from(["enforce", "enforce", "enforce", "shadow", "off"]),
    on_failure=st.sampled_from(["open", "open", "closed"]),
)
LIFECYCLES = st.sampled_from(
    [
        *[("ACTIVE", "COMPLETE")] * 6,
        *[("ACTIVE", "PENDING")] * 4,
        *[
            (state, onboarding)
            for state in ("SUSPENDED", "TERMINATED", "ARCHIVED")
            for onboarding in ("COMPLETE", "PENDING")
        ],
        None,
    ]
)
BILLINGS = st.none() | st.tuples(
    st.sampled_from(["TRIAL", "ACTIVE", "PAST_DUE", "SUSPENDED"]), st.sampled_from(["pro", "pro", "free", "gone"])
)
REASONS = st.sampled_from([reason.value for reason in FallbackReason])
WORLDS = st.builds(
    World,
    route_class=st.sampled_from([*PATHS, "sdk", "sdk", "standard", "standard"]),
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "POST", "DELETE"]),
    credential=st.sampled_from(["key"] * 12 + ["none", "revoked", "store_out", "operator"]),
    lifecycle=LIFECYCLES,
    billing=BILLINGS,
    lifecycle_failure=st.none() | st.none() | st.tuples(REASONS, st.just("none") | LIFECYCLES),
    billing_failure=st.none() | st.none() | st.tuples(REASONS, st.just("none") | BILLINGS),
    charge_failure=st.none() | st.none() | REASONS,
    exceeded=st.sets(st.sampled_from(DIMENSIONS), max_size=3).map(
        lambda over: tuple(d for d in DIMENSIONS if d in over)
    ),
    has_local=st.booleans(),
    actions=st.tuples(
        st.sampled_from(["reject", "throttle", "warn"]),
        st.sampled_from(["reject", "throttle", "warn"]),
        st.sampled_from(["reject", "warn"]),
    ),
    lifecycle_gate=GATES,
    billing_gate=GATES,
    protection_gate=st.builds(
        GateSetting,
        mode=st.sampled_from(["enforce", "enforce", "enforce", "shadow", "off"]),
        on_failure=st.sampled_from(["open", "closed", "local"]),
    ),
)


# The same world on the stage


def lifecycle_record(words: tuple[str, str]) -> LifecycleRecord:
    return LifecycleRecord(state=LifecycleState(words[0]), onboarding=Onboarding(words[1]))


def billing_record(words: tuple[str, str]) -> BillingRecord:
    return BillingRecord(state=BillingState(words[0]), plan_id=words[1])


def outage(reason: str, known: object = "none") -> Unavailable:
    last_known: Fetched[object] | None = None
    if known != "none":
        last_known = Fetched(value=known, source=Source.STALE, age=9.0)
    return Unavailable(FallbackReason(reason), last_known)


def stage_of(world: World) -> tuple[Stage, FakeCharger]:
    exceeded = tuple(
        Exceeded(dimension=Dimension(dimension), wait_us=1_000, current=1, allowed=1) for dimension in world.exceeded
    )
    local = FakeCharger(*exceeded)
    rate, burst, cost = (Outcome(action) for action in world.actions)
    actions = Actions(rate=rate, burst=burst, cost=cost)
    stage = Stage(FakeClock(), local=local if world.has_local else None, actions=actions)
    stage.charger.exceeded = exceeded
    for gate, setting in (
        (Gate.LIFECYCLE, world.lifecycle_gate),
        (Gate.BILLING, world.billing_gate),
        (Gate.PROTECTION, world.protection_gate),
    ):
        stage.set(gate, Mode(setting.mode), OnFailure(setting.on_failure))
    set_providers(stage, world)
    return stage, local


def set_providers(stage: Stage, world: World) -> None:
    outcomes: dict[str, Principal | InvalidCredential | Unavailable] = {
        "key": make_principal(),
        "none": make_principal(),
        "revoked": InvalidCredential("revoked"),
        "store_out": outage("timeout"),
        "operator": make_operator(),
    }
    stage.key.known[KEY] = outcomes[world.credential]
    stage.lifecycle.values = {} if world.lifecycle is None else {TENANT: lifecycle_record(world.lifecycle)}
    stage.billing.values = {} if world.billing is None else {TENANT: billing_record(world.billing)}
    if world.lifecycle_failure is not None:
        reason, known = world.lifecycle_failure
        stage.lifecycle.outage = outage(reason, lifecycle_record(known) if isinstance(known, tuple) else known)
    if world.billing_failure is not None:
        reason, known = world.billing_failure
        stage.billing.outage = outage(reason, billing_record(known) if isinstance(known, tuple) else known)
    if world.charge_failure is not None:
        stage.charger.outage = outage(world.charge_failure)


def play(world: World, runner: asyncio.Runner) -> tuple[Answer, Decision]:
    stage, local = stage_of(world)
    key = None if world.credential == "none" else KEY
    decision = runner.run(stage.decide(make_request(PATHS[world.route_class], world.method, key=key)))
    charges = stage.charger.charges
    charged = "provider" if stage.charger.consumed else "local" if local.consumed else "nowhere"
    answer = Answer(
        gate=decision.gate.value,
        reason=decision.reason.value,
        degraded=[gate.value for gate in decision.degraded],
        shadows=[(made.gate.value, made.shadow.reason.value) for made in decision.reports if made.shadow is not None],
        blocking={dimension.value for dimension in charges[0].blocking} if charges else None,
        charged=charged,
    )
    return answer, decision


def test_the_pipeline_decides_as_the_model_does() -> None:
    """No wrong allow, no denial without its reason, nothing charged that was not let through."""

    @settings(max_examples=2_000, deadline=None)
    @given(world=WORLDS)
    def compare(world: World) -> None:
        expected = model(world)
        answer, decision = play(world, runner)
        assert answer == expected
        assert decision.allowed == (expected.gate == "none")
        assert (decision.denial is None) == (decision.reason.value == "none")

    with asyncio.Runner() as runner:
        compare()


REACHED: Final = [
    (gate, reason)
    for gate, reasons in {
        "none": ("none",),
        "auth": ("missing_credentials", "invalid_credentials", "provider_unavailable", "operator_required"),
        "lifecycle": ("suspended", "terminated", "archived", "tenant_unknown", "provider_unavailable"),
        "billing": ("suspended", "max_requests_per_day", "provider_unavailable"),
        "protection": ("rate", "burst", "cost", "provider_unavailable"),
    }.items()
    for reason in reasons
]


@pytest.mark.parametrize(("gate", "reason"), REACHED)
def test_the_worlds_reach_every_kind_of_answer(gate: str, reason: str) -> None:
    """The comparison above is worth what its worlds are."""

    def is_answered(world: World) -> bool:
        answer = model(world)
        return (answer.gate, answer.reason) == (gate, reason)

    quick = settings(max_examples=5_000, deadline=None, phases=[Phase.generate])
    with asyncio.Runner() as runner:
        found = find(WORLDS, is_answered, settings=quick)
        answer, _ = play(found, runner)
    assert answer == model(found)
