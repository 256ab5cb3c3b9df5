"""Allows and metadata, written by us and read by an independent library."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.model.billing import BillingState
from extauthz.model.decision import Decision, Denial, Facts, FallbackReason, Gate, GateReport, Reason, Source
from extauthz.model.identity import OPERATOR_SCOPE, SYSTEM_TENANT, AuthMethod, Principal
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.protection import RateStatus
from extauthz.model.request import CheckRequest
from extauthz.server.encode import Encoder
from extauthz.server.headers import OWN_NAMES, is_sendable
from extauthz.server.recent import Recent
from tests import oracle

RATE = RateStatus(limit=60, remaining=41, reset_us=18_000_001)
OPERATOR = Principal(
    tenant_id=SYSTEM_TENANT, method=AuthMethod.API_KEY, subject="operatorkey", scopes=frozenset({OPERATOR_SCOPE})
)


def answer_to(decision: Decision, headers: dict[str, str] | None = None, *, draft: bool = False) -> oracle.Answer:
    request = CheckRequest(method="POST", path="/", headers=headers or {})
    return oracle.read(Encoder(draft_headers=draft).encode(decision, request, 0.0012345))


def test_an_allow_tells_the_upstream_who_is_calling() -> None:
    answer = answer_to(oracle.decision())
    assert answer.allowed
    assert answer.headers == {
        "x-tenant-id": "acme",
        "x-tenant-plan": "pro",
        "x-tenant-lifecycle": "ACTIVE",
        "x-tenant-billing": "ACTIVE",
        "x-auth-method": "api_key",
        "x-auth-subject": "abcdefghijklmnop",
    }
    assert answer.removed == ["x-extauthz-degraded", "x-api-key"]
    assert answer.to_client == {}


def test_what_is_not_known_is_removed_instead() -> None:
    known = Facts(principal=oracle.principal(), lifecycle=LifecycleState.SUSPENDED)
    answer = answer_to(oracle.decision(known=known, strip=("x-api-key", "authorization")))
    assert sorted(answer.headers) == ["x-auth-method", "x-auth-subject", "x-tenant-id", "x-tenant-lifecycle"]
    assert answer.removed == [
        "x-tenant-plan",
        "x-tenant-billing",
        "x-extauthz-degraded",
        "x-api-key",
        "authorization",
    ]


def test_public_requests_carry_none_of_our_names() -> None:
    answer = answer_to(oracle.decision(known=Facts(), strip=()))
    assert answer.headers == {}
    assert answer.removed == list(OWN_NAMES)


def test_operators_get_auth_headers_only() -> None:
    known = Facts(principal=OPERATOR, lifecycle=LifecycleState.ACTIVE, plan=oracle.PLAN)
    answer = answer_to(oracle.decision(known=known, degraded=(Gate.LIFECYCLE,)))
    assert answer.headers == {"x-auth-method": "api_key", "x-auth-subject": "operatorkey"}
    assert set(OWN_NAMES) - set(answer.headers) <= set(answer.removed)


def test_the_upstream_learns_which_gates_were_degraded() -> None:
    answer = answer_to(oracle.decision(degraded=(Gate.LIFECYCLE, Gate.BILLING)))
    assert answer.headers["x-extauthz-degraded"] == "lifecycle,billing"
    assert "x-extauthz-degraded" not in answer.removed
    assert answer.metadata["degraded"] == "lifecycle,billing"


@pytest.mark.parametrize("known", [oracle.facts(), Facts(), Facts(principal=OPERATOR)])
def test_a_clients_own_tenant_headers_are_removed_on_every_class(known: Facts) -> None:
    forged = dict.fromkeys(OWN_NAMES, "forged") | {"x-tenant-anything": "1", "x-extauthz-reason": "2"}
    answer = answer_to(oracle.decision(known=known), forged | {"x-tenancy": "3", "accept": "*/*"})
    assert {"x-tenant-anything", "x-extauthz-reason"} <= set(answer.removed)
    assert set(OWN_NAMES) == (set(OWN_NAMES) & set(answer.removed)) | set(answer.headers)
    assert "x-tenancy" not in answer.removed
    assert "accept" not in answer.removed


@given(st.lists(st.sampled_from(["x-tenant-a", "x-extauthz-b", "x-tenant-id", "x-auth-method", "x-a", "x-tenant-"])))
def test_no_reserved_header_survives(names: list[str]) -> None:
    answer = answer_to(oracle.decision(), dict.fromkeys(names, "v"))
    for name in names:
        if name.startswith(("x-tenant-", "x-extauthz-", "x-auth-method")):
            assert name in answer.removed or name in answer.headers


def test_a_counted_request_is_told_where_its_rate_stands() -> None:
    answer = answer_to(oracle.decision(known=replace(oracle.facts(), rate=RATE)))
    assert answer.to_client == {
        "x-ratelimit-limit": "60, 60;w=60",
        "x-ratelimit-remaining": "41",
        "x-ratelimit-reset": "19",
    }


def test_the_draft_headers_are_added_on_request() -> None:
    answer = answer_to(oracle.decision(known=replace(oracle.facts(), rate=RATE)), draft=True)
    assert answer.to_client["ratelimit-policy"] == '"rate";q=60;w=60'
    assert answer.to_client["ratelimit"] == '"rate";r=41;t=19'


def test_a_tenant_that_is_past_due_is_warned() -> None:
    answer = answer_to(oracle.decision(known=replace(oracle.facts(), billing=BillingState.PAST_DUE)))
    assert answer.to_client == {"x-billing-warning": "past_due"}
    assert answer.headers["x-tenant-billing"] == "PAST_DUE"


# Provider data on its way into a header


@pytest.mark.parametrize(
    "bad", ["a\r\nx-admin: 1", "a\nb", "a\x00b", "a\x7fb", "é", "", " a", "a ", "\ud800", "a\tb", "a" * 4097]
)
def test_provider_data_that_no_header_can_carry_is_left_out(bad: str) -> None:
    known = Facts(principal=oracle.principal(subject=bad), plan=replace(oracle.PLAN, plan_id=bad))
    answer = answer_to(oracle.decision(known=known))
    assert answer.headers == {"x-auth-method": "api_key", "x-tenant-id": "acme"}
    assert {"x-auth-subject", "x-tenant-plan"} <= set(answer.removed)


@given(st.text(st.characters(), max_size=30))
def test_whatever_a_provider_says_the_answer_can_be_read(text: str) -> None:
    known = replace(oracle.facts(), principal=oracle.principal(text, text), plan=replace(oracle.PLAN, plan_id=text))
    answer = answer_to(oracle.decision(known=known))
    assert answer.headers.get("x-tenant-id") == (text if is_sendable(text) and text != SYSTEM_TENANT else None)
    assert answer.metadata["tenant_id"] == text.encode("utf-8", "replace").decode()


# Metadata


def test_metadata_of_an_allow() -> None:
    reports = (
        oracle.report(Gate.AUTH, age_ms=12),
        GateReport(
            gate=Gate.LIFECYCLE,
            verdict="allow",
            mode="shadow",
            source=Source.STALE,
            age_ms=5000,
            shadow=Denial(gate=Gate.LIFECYCLE, reason=Reason.SUSPENDED),
            fallback=FallbackReason.TIMEOUT,
        ),
        GateReport(gate=Gate.BILLING, verdict="skip", mode="off"),
    )
    assert answer_to(oracle.decision(reports=reports)).metadata == {
        "decision_id": oracle.DECISION_ID,
        "tenant_id": "acme",
        "plan": "pro",
        "decision": "allow",
        "gate": "none",
        "reason": "none",
        "degraded": "",
        "latency_ms": 1.234,
        "auth": {"verdict": "allow", "mode": "enforce", "source": "cache", "age_ms": 12.0},
        "lifecycle": {
            "verdict": "allow",
            "mode": "shadow",
            "source": "stale",
            "shadow": "suspended",
            "fallback": "timeout",
            "age_ms": 5000.0,
        },
        "billing": {"verdict": "skip", "mode": "off", "source": "none"},
    }


def test_metadata_leave_out_what_is_not_known() -> None:
    assert {"tenant_id", "plan"}.isdisjoint(answer_to(oracle.decision(known=Facts())).metadata)


def test_a_denial_has_metadata_too() -> None:
    denial = Denial(gate=Gate.REQUEST, reason=Reason.OVERLOADED)
    metadata = answer_to(oracle.decision(denial, reports=(oracle.report(Gate.AUTH),))).metadata
    assert metadata["auth"] == {"verdict": "allow", "mode": "enforce", "source": "cache"}
    assert metadata["decision_id"] == oracle.DECISION_ID


def test_an_answer_to_what_could_not_be_read() -> None:
    decided = oracle.decision(Denial(gate=Gate.REQUEST, reason=Reason.MESSAGE), known=Facts())
    answer = oracle.read(Encoder().encode(decided, None, math.pi))
    assert answer.body == {"error": "malformed_request", "gate": "request", "reason": "message"}


# What is kept between two checks


def test_a_kept_answer_changes_with_what_it_was_made_from() -> None:
    encoder = Encoder(allows_kept=2)
    request = CheckRequest(method="GET", path="/", headers={})
    seen: set[bytes] = set()
    variants = [
        oracle.decision(),
        oracle.decision(degraded=(Gate.BILLING,)),
        oracle.decision(strip=()),
        oracle.decision(known=replace(oracle.facts(), lifecycle=None)),
        oracle.decision(known=replace(oracle.facts(), billing=BillingState.TRIAL)),
        oracle.decision(known=replace(oracle.facts(), plan=None)),
        oracle.decision(known=replace(oracle.facts(), principal=oracle.principal("other"))),
        oracle.decision(known=Facts()),
    ]
    for _ in range(2):
        for decided in variants:
            written = encoder.encode(decided, request, 0.0)
            assert oracle.read(written) == answer_with_latency(decided, 0.0)
            seen.add(written)
    assert len(seen) == len(variants)


def answer_with_latency(decided: Decision, seconds: float) -> oracle.Answer:
    request = CheckRequest(method="GET", path="/", headers={})
    return oracle.read(Encoder().encode(decided, request, seconds))


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    kept: Recent[int, str] = Recent(10)
    kept.put(-1, "used again and again")
    for key in range(1000):
        kept.put(key, "once")
        assert kept.get(-1) == "used again and again"
        assert kept.get(key) == "once"
        assert len(kept) <= 20
    assert kept.get(0) is None
