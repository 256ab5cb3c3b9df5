"""Values as messages and back, whatever they hold."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz._gen.provider.v1 import common_pb2, events_pb2, lifecycle_pb2, protection_pb2, replicas_pb2
from extauthz.errors import InvalidRecord
from extauthz.model.billing import MAX_PER_DAY, MAX_RATE, BillingRecord, BillingState, Limits
from extauthz.model.changed import ChangedKind, StoredChange
from extauthz.model.event import Event, EventQuery, EventSource, EventType, Severity
from extauthz.model.identity import Actor, ActorType, ApiKey, KeyUse
from extauthz.model.lifecycle import (
    AuditRecord,
    Change,
    LifecycleRecord,
    LifecycleState,
    Onboarding,
    Tenant,
    Transition,
)
from extauthz.model.protection import CHARGED, Charge, ChargeResult, Dimension, Exceeded, RateStatus, Usage
from extauthz.providers import remote_change_messages as changes
from extauthz.providers import remote_event_messages as events
from extauthz.providers import remote_key_messages as keys
from extauthz.providers import remote_protection_messages as protection
from extauthz.providers import remote_tenant_messages as tenants
from extauthz.providers import remote_words as words

INT64 = 2**63 - 1

text = st.text(st.characters(codec="utf-8"), max_size=20)
ids = text.filter(bool)
new_ids = st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII), fullmatch=True)
times = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, INT64)
actors = st.builds(Actor, type=st.sampled_from(ActorType), id=ids)
made_changes = st.builds(Change, actor=actors, reason=text, at=times, request_id=text)
lifecycles = st.builds(LifecycleRecord, state=st.sampled_from(LifecycleState), onboarding=st.sampled_from(Onboarding))
billings = st.builds(BillingRecord, state=st.sampled_from(BillingState), plan_id=st.none() | text)
maybe_time = st.none() | times
api_keys = st.builds(
    ApiKey,
    key_id=ids,
    tenant_id=ids,
    secret_hash=st.binary(max_size=40),
    mac_pepper=text,
    hash_pepper=text,
    scopes=st.frozensets(text),
    created_at=times,
    expires_at=maybe_time,
    last_used_at=maybe_time,
    revoked_at=maybe_time,
)
uses = st.builds(
    KeyUse, key_id=ids, used_at=times, secret_hash=st.none() | st.binary(max_size=40), hash_pepper=st.none() | text
)
limits = st.builds(
    Limits,
    rate=st.none() | st.integers(0, MAX_RATE),
    burst=st.none() | st.integers(0, MAX_RATE),
    max_requests_per_day=st.none() | st.integers(0, MAX_PER_DAY),
    max_cost_per_day=st.none() | st.integers(0, MAX_PER_DAY * 1_000_000),
)
charges = st.builds(
    Charge,
    tenant_id=new_ids,
    limits=limits,
    blocking=st.frozensets(st.sampled_from(CHARGED)),
    cost=counts,
    commit=st.booleans(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
stored_events = st.builds(
    Event,
    event_id=ids,
    type=st.sampled_from(EventType),
    source=st.sampled_from(EventSource),
    tenant_id=ids,
    timestamp=times,
    severity=st.sampled_from(Severity),
    actor=actors,
    request_id=text,
    trace_id=text,
    payload=st.dictionaries(text, json_values, max_size=3),
)
queries = st.builds(
    EventQuery,
    tenant_id=text,
    start=times,
    end=times,
    types=st.frozensets(st.sampled_from(EventType)),
    sources=st.frozensets(st.sampled_from(EventSource)),
    after=st.none() | st.tuples(times, text),
    limit=st.integers(1, 1000),
)


@given(st.data())
@pytest.mark.parametrize(
    ("values", "write", "read"),
    [
        (actors, changes.write_actor, changes.read_actor),
        (made_changes, changes.write_change, changes.read_change),
        (
            st.builds(AuditRecord, tenant_id=ids, what=text, before=text, after=text, change=made_changes),
            changes.write_audit,
            changes.read_audit,
        ),
        (lifecycles, tenants.write_lifecycle, tenants.read_lifecycle),
        (st.none() | lifecycles, tenants.write_lifecycle_answer, tenants.read_lifecycle_answer),
        (
            st.builds(Tenant, tenant_id=ids, name=text, record=lifecycles, created_at=times),
            tenants.write_tenant,
            tenants.read_tenant,
        ),
        (
            st.none() | st.builds(Tenant, tenant_id=ids, name=text, record=lifecycles, created_at=times),
            tenants.write_tenant_answer,
            tenants.read_tenant_answer,
        ),
        (billings, tenants.write_billing, tenants.read_billing),
        (st.none() | billings, tenants.write_billing_answer, tenants.read_billing_answer),
        (st.dictionaries(ids, billings, max_size=3), tenants.write_standings, tenants.read_standings),
        (api_keys, keys.write_key, keys.read_key),
        (st.none() | api_keys, keys.write_key_answer, keys.read_key_answer),
        (st.lists(uses, max_size=3), keys.write_uses, keys.read_uses),
        (charges, protection.write_charge, protection.read_charge),
        (st.none() | new_ids, protection.write_clearing, protection.read_clearing),
        (
            st.builds(Usage, requests_today=counts, cost_today=counts),
            protection.write_usage,
            protection.read_usage,
        ),
        (stored_events, events.write_event, events.read_event),
        (queries, events.write_query, events.read_query),
        (
            st.lists(
                st.builds(StoredChange, seq=counts, kind=st.sampled_from(ChangedKind), id=text, origin=text), max_size=3
            ),
            events.write_changes,
            events.read_changes,
        ),
    ],
)
def test_every_value_comes_back_as_it_was(
    values: st.SearchStrategy[Any], write: Callable[[Any], Any], read: Callable[[Any], Any], data: st.DataObject
) -> None:
    value = data.draw(values)
    written = write(value)
    travelled = written if isinstance(written, dict) else type(written).FromString(written.SerializeToString())
    assert read(travelled) == value


@given(
    st.builds(
        Transition,
        tenant_id=ids,
        from_state=st.sampled_from(LifecycleState),
        to_state=st.sampled_from(LifecycleState),
        revoked_keys=counts,
    )
)
def test_a_move_comes_back_as_it_was(made: Transition) -> None:
    assert tenants.read_transition(made.tenant_id, tenants.write_transition(made)) == made


@st.composite
def answered(draw: st.DrawFn) -> tuple[frozenset[Dimension], ChargeResult]:
    exceeded = draw(st.frozensets(st.sampled_from(CHARGED)))
    blocking = draw(st.frozensets(st.sampled_from(CHARGED)))
    near = draw(st.frozensets(st.sampled_from(CHARGED)))
    made = st.builds(Exceeded, dimension=st.just(Dimension.RATE), wait_us=counts, current=counts, allowed=counts)
    return blocking, ChargeResult(
        charged=blocking.isdisjoint(exceeded),
        exceeded=tuple(replace(draw(made), dimension=each) for each in CHARGED if each in exceeded),
        near=tuple(each for each in CHARGED if each in near),
        rate=draw(st.none() | st.builds(RateStatus, limit=counts, remaining=counts, reset_us=counts)),
    )


@given(answered())
def test_the_answer_to_a_charge_comes_back_as_it_was(answer: tuple[frozenset[Dimension], ChargeResult]) -> None:
    blocking, result = answer
    assert protection.read_result(blocking, protection.write_result(result)) == result


@given(answered(), st.randoms())
def test_the_locked_order_does_not_depend_on_the_order_of_an_answer(
    answer: tuple[frozenset[Dimension], ChargeResult], chance: Any
) -> None:
    blocking, result = answer
    message = protection.write_result(result)
    for repeated in (message.exceeded, message.near):
        mixed: list[Any] = list(repeated)
        chance.shuffle(mixed)
        del repeated[:]
        repeated.extend(mixed)
    assert protection.read_result(blocking, message) == result


def contradictions() -> list[protection_pb2.ChargeResponse]:
    rate = protection_pb2.Exceeded(dimension=protection_pb2.DIMENSION_RATE, allowed=1)
    return [
        protection_pb2.ChargeResponse(),
        protection_pb2.ChargeResponse(charged=True, exceeded=[rate]),
        protection_pb2.ChargeResponse(charged=False, exceeded=[rate, rate]),
        protection_pb2.ChargeResponse(exceeded=[protection_pb2.Exceeded(allowed=1)]),
        protection_pb2.ChargeResponse(exceeded=[protection_pb2.Exceeded(dimension=2, wait_us=-1)]),  # type: ignore[arg-type] # a plain number
        protection_pb2.ChargeResponse(charged=True, rate=protection_pb2.RateStatus(remaining=-1)),
        protection_pb2.ChargeResponse(charged=True, near=[protection_pb2.DIMENSION_UNSPECIFIED]),
    ]


@pytest.mark.parametrize("message", contradictions())
def test_abuse_002_an_answer_to_a_charge_that_contradicts_itself_is_none(
    message: protection_pb2.ChargeResponse,
) -> None:
    with pytest.raises(InvalidRecord):
        protection.read_result(frozenset({Dimension.RATE}), message)


def test_an_empty_answer_never_takes_a_tenant_out_of_service() -> None:
    with pytest.raises(InvalidRecord):
        tenants.read_lifecycle_answer(lifecycle_pb2.FindLifecycleResponse())
    with pytest.raises(InvalidRecord):
        tenants.read_billing_answer(type(tenants.write_billing_answer(None))())
    with pytest.raises(InvalidRecord):
        keys.read_key_answer(type(keys.write_key_answer(None))())
    with pytest.raises(InvalidRecord):
        tenants.read_tenant_answer(type(tenants.write_tenant_answer(None))())


def test_an_empty_clearing_clears_nobody() -> None:
    with pytest.raises(InvalidRecord, match="everybody"):
        protection.read_clearing(protection_pb2.ClearUsageRequest())
    with pytest.raises(InvalidRecord, match="an id must"):
        protection.read_clearing(protection_pb2.ClearUsageRequest(tenant_id=""))


def test_a_dimension_of_a_newer_version_is_passed_over_and_none_at_all_is_refused() -> None:
    blocking = [protection_pb2.DIMENSION_RATE, 5, 99, -1]
    newer = protection_pb2.ChargeRequest(tenant_id="acme", blocking=blocking)  # type: ignore[arg-type] # numbers of a newer version
    assert protection.read_charge(newer).blocking == {Dimension.RATE}
    forgotten = protection_pb2.ChargeRequest(tenant_id="acme", blocking=[protection_pb2.DIMENSION_UNSPECIFIED])
    with pytest.raises(InvalidRecord, match="0"):
        protection.read_charge(forgotten)


@pytest.mark.parametrize("key", ["", "x" * 129, "x" * 1_000_000, "a\nb", "\x7f", "ключ", "run-1\n"])
def test_what_is_no_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidRecord, match="1 to 128") as refused:
        changes.read_idempotency_key(key)
    assert len(str(refused.value)) < 100


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=128))
def test_any_printable_ascii_is_an_idempotency_key(key: str) -> None:
    assert changes.read_idempotency_key(key) == key


@pytest.mark.parametrize("number", [0, 99, -1])
def test_a_number_that_no_enum_has_makes_its_record_unreadable(number: int) -> None:
    for table in (words.LIFECYCLE_STATES, words.ONBOARDING, words.BILLING_STATES, words.ACTOR_TYPES, words.SEVERITIES):
        with pytest.raises(InvalidRecord, match=str(number)):
            table.member(number)


def test_a_word_the_contract_lacks_cannot_be_written() -> None:
    with pytest.raises(InvalidRecord, match="anomaly"):
        words.DIMENSIONS.number(Dimension.ANOMALY)


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf])
def test_a_key_never_expires_at_no_time_at_all(time: float) -> None:
    key = ApiKey(key_id="k", tenant_id="t", secret_hash=b"", mac_pepper="", hash_pepper="", created_at=0.0)
    for damaged in (
        replace(key, created_at=time),
        replace(key, expires_at=time),
        replace(key, last_used_at=time),
        replace(key, revoked_at=time),
    ):
        with pytest.raises(InvalidRecord, match="finite"):
            keys.read_key(keys.write_key(damaged))


def test_a_change_of_a_newer_kind_may_be_any_change() -> None:
    message = replicas_pb2.ListChangesResponse(
        changes=[
            replicas_pb2.StoredChange(seq=1, kind=99, id="x"),  # type: ignore[arg-type] # a number of a newer version
            replicas_pb2.StoredChange(seq=2, kind=replicas_pb2.CHANGED_KIND_KEY, id="k"),
        ]
    )
    with pytest.raises(InvalidRecord, match="99"):
        events.read_changes(message)


@pytest.mark.parametrize(
    ("payload", "says"),
    [("[]", "object"), ("{", "read"), ("[" * 100_000, "nested"), ('{"a": NaN}', "payload"), ("7", "object")],
)
def test_a_payload_that_is_no_json_object_makes_the_event_unreadable(payload: str, says: str) -> None:
    message = events_pb2.Event(
        event_id="e",
        event_type="config_reloaded",
        event_source="system",
        tenant_id="_system",
        severity=events_pb2.SEVERITY_INFO,
        actor=common_pb2.Actor(type=common_pb2.ACTOR_TYPE_SYSTEM, id="x"),
        payload_json=payload,
    )
    with pytest.raises(InvalidRecord, match=says):
        events.read_event(message)
    message.payload_json = ""
    assert events.read_event(message).payload == {}


def test_a_query_for_a_type_of_a_newer_version_is_not_answered_with_everything() -> None:
    with pytest.raises(InvalidRecord, match="tenant_cloned"):
        events.read_query(events_pb2.QueryEventsRequest(event_types=["tenant_cloned"]))


@pytest.mark.parametrize(
    ("limit", "sent"), [(-5, 1), (0, 1), (1, 1), (7, 7), (1000, 1000), (1001, 1000), (2**40, 1000)]
)
def test_a_limit_stays_in_its_bounds(limit: int, sent: int) -> None:
    assert changes.page_limit(limit) == sent
