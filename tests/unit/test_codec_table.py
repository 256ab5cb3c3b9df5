"""Every row of the table of answers, written by us and read by an independent library."""

import pytest

from extauthz.model.decision import REASONS_BY_GATE, Denial, Facts, Gate, LimitExceeded, Reason
from extauthz.model.protection import Dimension, RateStatus
from extauthz.model.request import CheckRequest
from extauthz.server.encode import Encoder
from extauthz.server.status import ROWS, http_status
from tests import oracle
from tests.answer_table import RATE_LINES, TABLE, Expected

RATE = RateStatus(limit=60, remaining=0, reset_us=59_000_001)
PATHS = [pytest.param(row, id=f"{row.status}-{row.gate}-{row.reason}") for row in TABLE]


def asked(headers: dict[str, str] | None = None, request_id: str = "r-1") -> CheckRequest:
    return CheckRequest(method="POST", path="/client-path", headers=headers or {}, request_id=request_id)


def known(row: Expected) -> Facts:
    """The rate is known where protection was asked; it must not show in the answers of other gates."""
    counted = row.headers.keys() & RATE_LINES.keys() or row.gate is Gate.BILLING
    return Facts(principal=oracle.principal(), rate=RATE if counted else None)


@pytest.mark.parametrize("row", PATHS)
def test_a_row_of_the_table(row: Expected) -> None:
    decided = oracle.decision(row.denial(), known=known(row))
    answer = oracle.read(Encoder().encode(decided, asked(), 0.001))
    assert not answer.allowed
    assert answer.http_status == row.status == http_status(row.denial())
    assert answer.rpc_code == row.grpc
    assert answer.body == {
        "error": row.error,
        "gate": row.gate.value,
        "reason": row.reason.value,
        "request_id": "r-1",
        **row.body,
    }
    assert answer.to_client == {
        "content-type": "application/json",
        "x-extauthz-gate": row.gate.value,
        "x-extauthz-reason": row.reason.value,
        **row.headers,
    }
    words = (answer.metadata["decision"], answer.metadata["gate"], answer.metadata["reason"])
    assert words == ("deny", row.gate.value, row.reason.value)


@pytest.mark.parametrize("row", PATHS)
@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "Application/GRPC-Web"])
def test_a_grpc_caller_gets_its_status(row: Expected, content_type: str) -> None:
    decided = oracle.decision(row.denial(), known=known(row))
    answer = oracle.read(Encoder().encode(decided, asked({"content-type": content_type}), 0.001))
    assert answer.to_client["grpc-status"] == str(row.grpc)


@pytest.mark.parametrize("row", PATHS)
def test_nothing_of_the_client_or_of_the_note_comes_back(row: Expected) -> None:
    request = asked({"x-api-key": "client-secret", ":authority": "client-host"}, request_id="")
    written = Encoder().encode(oracle.decision(row.denial(), known=known(row)), request, 0.001)
    assert "request_id" not in oracle.read(written).body
    for word in (b"client-secret", b"client-host", b"client-path", b"secret-note"):
        assert word not in written


def test_a_quota_of_a_tenant_whose_standing_is_not_known() -> None:
    detail = LimitExceeded(dimension=Dimension.QUOTA, current=10, allowed=10, plan_id="pro", billing_state=None)
    denial = Denial(gate=Gate.BILLING, reason=Reason.MAX_REQUESTS_PER_DAY, detail=detail)
    assert "billing_state" not in oracle.read(Encoder().encode(oracle.decision(denial), asked(), 0.001)).body


def test_every_reason_a_gate_can_give_has_its_row() -> None:
    pairs = {(gate, reason) for gate, reasons in REASONS_BY_GATE.items() for reason in reasons if gate is not Gate.NONE}
    assert pairs == set(ROWS) == {(row.gate, row.reason) for row in TABLE}


def test_a_denial_that_does_not_exist_is_not_written() -> None:
    with pytest.raises(KeyError):
        Encoder().encode(oracle.decision(Denial(gate=Gate.BILLING, reason=Reason.RATE)), asked(), 0.001)


def test_an_allow_is_200_for_who_explains_it() -> None:
    assert http_status(None) == 200
