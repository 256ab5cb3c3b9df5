"""The servicers without a network, by grpcio-testing, which suits synchronous ones."""

from pathlib import Path
from typing import Any

import grpc
import grpc_testing
import pytest
from extauthz.provider.v1 import billing_pb2, lifecycle_pb2
from server import Billing, Lifecycle, Tenants

LIFECYCLE = lifecycle_pb2.DESCRIPTOR.services_by_name["LifecycleService"]
BILLING = billing_pb2.DESCRIPTOR.services_by_name["BillingService"]
TENANTS = """{
  "acme": {"state": "ACTIVE", "billing": "ACTIVE", "plan": "pro"},
  "new": {"state": "ACTIVE", "onboarded": false},
  "odd": {"state": "ASLEEP", "billing": "BARTER"}
}"""
DAMAGED = [
    "null",
    "[]",
    "7",
    '"ACTIVE"',
    '{"onboarded": true, "billing": null}',
    '{"state": ["ACTIVE"], "billing": {}}',
    '{"state": "", "billing": "ACTIVE", "plan": 7}',
    '{"state": "\\ud800", "billing": "ACTIVE", "plan": "\\ud800"}',
]


@pytest.fixture
def server(tmp_path: Path) -> Any:
    """Both servicers over a file."""
    file = tmp_path / "tenants.json"
    file.write_text(TENANTS)
    return serving(file)


def serving(file: Path) -> Any:
    """Both servicers over that file."""
    tenants = Tenants(file)
    servicers = {LIFECYCLE: Lifecycle(tenants), BILLING: Billing(tenants)}
    return grpc_testing.server_from_dictionary(servicers, grpc_testing.strict_real_time())


def asked(server: Any, service: Any, method: str, request: Any) -> tuple[Any, grpc.StatusCode]:
    """Answer and status of a call."""
    call = server.invoke_unary_unary(service.methods_by_name[method], (), request, 5.0)
    answer, _, code, _ = call.termination()
    return answer, code


def lifecycle(server: Any, tenant_id: str) -> tuple[Any, grpc.StatusCode]:
    """The answer to a look-up."""
    return asked(server, LIFECYCLE, "FindLifecycle", lifecycle_pb2.FindLifecycleRequest(tenant_id=tenant_id))


def billing(server: Any, tenant_id: str) -> tuple[Any, grpc.StatusCode]:
    """The answer to a look-up."""
    return asked(server, BILLING, "FindBilling", billing_pb2.FindBillingRequest(tenant_id=tenant_id))


def test_a_tenant_is_found(server: Any) -> None:
    """With its state, its standing and its plan."""
    answer, code = lifecycle(server, "acme")
    assert code is grpc.StatusCode.OK
    assert answer.record.state == lifecycle_pb2.LIFECYCLE_STATE_ACTIVE
    assert answer.record.onboarding == lifecycle_pb2.ONBOARDING_COMPLETE
    answer, _ = billing(server, "acme")
    assert (answer.record.state, answer.record.plan_id) == (billing_pb2.BILLING_STATE_ACTIVE, "pro")


def test_a_tenant_that_is_new_has_no_standing_yet(server: Any) -> None:
    """And its onboarding goes on."""
    answer, _ = lifecycle(server, "new")
    assert answer.record.onboarding == lifecycle_pb2.ONBOARDING_PENDING
    answer, _ = billing(server, "new")
    assert answer.WhichOneof("answer") == "no_standing"


def test_a_tenant_that_is_not_there_is_an_answer(server: Any) -> None:
    """With the status OK."""
    answer, code = lifecycle(server, "nobody")
    assert (answer.WhichOneof("answer"), code) == ("no_such_tenant", grpc.StatusCode.OK)


@pytest.mark.parametrize("record", DAMAGED)
def test_a_record_that_is_damaged_is_the_fault_of_that_record(record: str, tmp_path: Path) -> None:
    """Whatever it holds: UNKNOWN would open the circuit for all tenants after three look-ups of this one."""
    file = tmp_path / "damaged.json"
    file.write_text(f'{{"acme": {record}}}')
    server = serving(file)
    assert lifecycle(server, "acme")[1] is grpc.StatusCode.DATA_LOSS
    assert billing(server, "acme")[1] is grpc.StatusCode.DATA_LOSS
    assert lifecycle(server, "nobody")[1] is grpc.StatusCode.OK


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_file_that_is_damaged_is_no_answer(content: str, tmp_path: Path) -> None:
    """Neither "no such tenant" of everybody, nor the fault of the one that was asked for."""
    file = tmp_path / "damaged.json"
    file.write_text(content)
    for ask in (lifecycle, billing):
        assert ask(serving(file), "acme")[1] is grpc.StatusCode.UNKNOWN


def test_a_word_that_is_none_is_the_fault_of_that_record(server: Any) -> None:
    """Not of the provider."""
    assert lifecycle(server, "odd")[1] is grpc.StatusCode.DATA_LOSS
    assert billing(server, "odd")[1] is grpc.StatusCode.DATA_LOSS
