"""The check between bytes and bytes, on a clock of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from extauthz.model import trace
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision, Denial, Gate, Reason
from extauthz.model.request import CheckRequest
from extauthz.server.check import Checker, DeadlinePassed
from extauthz.server.decode import MalformedMessage
from extauthz.testing.clock import FakeClock
from tests import oracle

Decide = Callable[[CheckRequest, Deadline], Awaitable[Decision]]


async def allow(_request: CheckRequest, _deadline: Deadline) -> Decision:
    return oracle.decision()


@dataclass
class FakeDecider:
    """Decides as it is told and remembers what it was asked."""

    decides: Decide = allow
    asked: list[tuple[CheckRequest, Deadline]] = field(default_factory=list)

    async def decide(self, request: CheckRequest, deadline: Deadline) -> Decision:
        self.asked.append((request, deadline))
        return await self.decides(request, deadline)


@dataclass
class Told:
    """Remembers what was told; raises where it should."""

    broken: bool = False
    checks: list[tuple[CheckRequest | None, Decision, float]] = field(default_factory=list)

    def checked(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        if self.broken:
            raise RuntimeError("observer is broken")
        self.checks.append((request, decision, seconds))


@dataclass
class Bench:
    """A checker, what it decides with, and who is told."""

    decider: FakeDecider = field(default_factory=FakeDecider)
    told: Told = field(default_factory=Told)
    clock: FakeClock = field(default_factory=FakeClock)
    max_checks: int = 10
    draft_headers: bool = False

    def __post_init__(self) -> None:
        self.checker = Checker(
            decider=self.decider,
            observer=self.told,
            clock=self.clock,
            budget=1.0,
            margin=0.01,
            max_checks=self.max_checks,
            draft_headers=self.draft_headers,
        )

    async def ask(self, message: bytes, remaining: float | None = None) -> oracle.Answer:
        return oracle.read(await self.checker.check(message, remaining, trusted_transport=False))


def bench(decides: Decide = allow, *, max_checks: int = 10) -> Bench:
    return Bench(decider=FakeDecider(decides), max_checks=max_checks)


async def test_an_allow_goes_through_and_is_told() -> None:
    tested = bench()
    answer = await tested.ask(oracle.message({"x-request-id": "r-1"}))
    assert answer.allowed
    assert answer.headers["x-tenant-id"] == "acme"
    [(request, decision, seconds)] = tested.told.checks
    assert request is not None
    assert (request.path, request.request_id, decision.allowed, seconds) == ("/api/v1/runs", "r-1", True, 0.0)


@pytest.mark.parametrize(
    ("remaining", "due", "given_up"),
    [(None, 0.99, 1.0), (0.2, 0.19, 0.2), (5.0, 0.99, 5.0), (359_999_996_400.0, 0.99, 359_999_996_400.0)],
)
async def test_the_deadline_is_the_sooner_of_callers_and_ours_less_the_margin(
    remaining: float | None, due: float, given_up: float
) -> None:
    tested = bench()
    started = tested.clock()
    await tested.ask(oracle.message(), remaining)
    [(_, deadline)] = tested.decider.asked
    assert deadline.at == pytest.approx(started + due)
    assert deadline.hard_at == pytest.approx(started + given_up)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("nonsense\r\n", False),
        (None, False),
    ],
)
async def test_what_is_asked_for_a_request_belongs_to_its_trace(sent: str | None, kept: bool) -> None:  # noqa: FBT001 - a row of the table
    seen: list[str] = []

    async def look(_request: CheckRequest, _deadline: Deadline) -> Decision:
        seen.append(trace.current.get())
        return oracle.decision()

    await bench(look).ask(oracle.message({} if sent is None else {"traceparent": sent}))
    assert seen == [sent if kept else ""]


@pytest.mark.parametrize("remaining", [0.0, -1.0])
async def test_a_deadline_that_passed_on_arrival_is_no_check(remaining: float) -> None:
    tested = bench()
    with pytest.raises(DeadlinePassed):
        await tested.checker.check(oracle.message(), remaining)
    assert tested.decider.asked == []
    assert tested.told.checks == []


async def test_bytes_that_are_no_message_are_no_check() -> None:
    tested = bench()
    with pytest.raises(MalformedMessage):
        await tested.checker.check(b"\xff\xff", None)
    assert tested.told.checks == []


@pytest.mark.parametrize(
    ("message", "reason", "readable"),
    [(b"", Reason.MESSAGE, False), (oracle.message(path=""), Reason.PATH, True)],
)
async def test_a_message_that_says_too_little_is_a_denial(message: bytes, reason: Reason, *, readable: bool) -> None:
    tested = bench()
    answer = await tested.ask(message)
    assert (answer.http_status, answer.body["reason"]) == (400, reason.value)
    assert tested.decider.asked == []
    [(request, decision, _)] = tested.told.checks
    assert (request is not None) is readable
    assert decision.reason is reason
    assert decision.decision_id == answer.metadata["decision_id"] != ""


async def test_an_answer_that_comes_too_late_is_no_allow() -> None:
    async def late(_request: CheckRequest, _deadline: Deadline) -> Decision:
        tested.clock.advance(0.2)
        return oracle.decision()

    tested = bench(late)
    answer = await tested.ask(oracle.message(), 0.2)
    assert (answer.http_status, answer.body["reason"]) == (503, "overloaded")
    assert answer.to_client["retry-after"] == "1"
    [(_, decision, seconds)] = tested.told.checks
    assert seconds == pytest.approx(0.2)
    assert not decision.allowed


async def test_a_denial_that_comes_late_stays_what_it_is() -> None:
    async def late(_request: CheckRequest, _deadline: Deadline) -> Decision:
        tested.clock.advance(0.3)
        return oracle.decision(Denial(gate=Gate.LIFECYCLE, reason=Reason.TENANT_UNKNOWN))

    tested = bench(late)
    assert (await tested.ask(oracle.message(), 0.2)).body["error"] == "tenant_unknown"


async def test_the_time_of_a_check_is_in_the_metadata() -> None:
    async def slow(_request: CheckRequest, _deadline: Deadline) -> Decision:
        tested.clock.advance(0.0125)
        return oracle.decision()

    tested = bench(slow)
    assert (await tested.ask(oracle.message())).metadata["latency_ms"] == pytest.approx(12.5)


async def test_more_checks_at_once_than_allowed_are_refused() -> None:
    go_on = asyncio.Event()

    async def hang(_request: CheckRequest, _deadline: Deadline) -> Decision:
        await go_on.wait()
        return oracle.decision()

    tested = bench(hang, max_checks=3)
    running = [asyncio.create_task(tested.ask(oracle.message())) for _ in range(3)]
    await asyncio.sleep(0)  # each runs until it hangs
    assert tested.checker.running == 3
    refused = await tested.ask(oracle.message({"x-request-id": "r-9"}))
    assert (refused.http_status, refused.to_client["retry-after"]) == (503, "1")
    assert refused.body == {"error": "overloaded", "gate": "request", "reason": "overloaded", "request_id": "r-9"}
    go_on.set()
    assert all(answer.allowed for answer in await asyncio.gather(*running))
    assert tested.checker.running == 0
    assert (await tested.ask(oracle.message())).allowed


async def test_a_caller_that_leaves_frees_its_place_and_is_not_told() -> None:
    tested = bench(lambda _request, _deadline: asyncio.get_running_loop().create_future(), max_checks=1)
    leaving = asyncio.create_task(tested.ask(oracle.message()))
    await asyncio.sleep(0)
    assert tested.checker.running == 1
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert tested.checker.running == 0
    assert tested.told.checks == []


async def test_an_error_inside_is_a_denial_that_says_nothing_of_it() -> None:
    secret = f"password=hunter{1 + 1}"

    async def fail(_request: CheckRequest, _deadline: Deadline) -> Decision:
        raise ValueError(secret)

    tested = bench(fail)
    with capture_logs() as logs:
        answer = await tested.ask(oracle.message({"x-request-id": "r-1"}))
    assert (answer.http_status, answer.rpc_code) == (500, 13)
    assert answer.body == {"error": "internal", "gate": "request", "reason": "internal", "request_id": "r-1"}
    [line] = logs
    assert (line["event"], line["error"]) == ("check_failed", "ValueError")
    assert line["decision_id"] == answer.metadata["decision_id"]
    assert "in fail" in line["places"]
    assert "hunter2" not in str(line)
    assert tested.checker.running == 0
    assert [decision.reason for _, decision, _ in tested.told.checks] == [Reason.INTERNAL]


async def test_a_decision_that_cannot_be_written_is_an_error_inside() -> None:
    async def nonsense(_request: CheckRequest, _deadline: Deadline) -> Decision:
        return oracle.decision(Denial(gate=Gate.BILLING, reason=Reason.RATE))

    tested = bench(nonsense)
    with capture_logs() as logs:
        answer = await tested.ask(oracle.message())
    assert (answer.http_status, answer.metadata["decision_id"]) == (500, oracle.DECISION_ID)
    assert [line["decision_id"] for line in logs] == [oracle.DECISION_ID]
    assert [decision.reason for _, decision, _ in tested.told.checks] == [Reason.INTERNAL]


async def test_observe_001_an_observer_that_raises_changes_no_answer() -> None:
    tested = Bench(told=Told(broken=True))
    with capture_logs() as logs:
        answer = await tested.ask(oracle.message())
    assert answer.allowed
    assert [line["event"] for line in logs] == ["check_observer_failed"]


@pytest.mark.parametrize("trusted", [True, False])
async def test_whether_the_caller_was_verified_is_handed_on(*, trusted: bool) -> None:
    tested = bench()
    await tested.checker.check(oracle.message(), None, trusted_transport=trusted)
    [(request, _)] = tested.decider.asked
    assert request.trusted_transport is trusted
