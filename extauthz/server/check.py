"""One Check: bytes in, bytes out. Knows nothing of the transport that carries them."""

import traceback
from dataclasses import replace
from typing import Protocol

import structlog
import uuid_utils

from extauthz.errors import ExtauthzError
from extauthz.model import trace
from extauthz.model.deadline import Clock, Deadline
from extauthz.model.decision import Decision, Denial, Gate, Reason
from extauthz.model.request import CheckRequest
from extauthz.ports import CheckObserver
from extauthz.server.decode import decode, fault
from extauthz.server.encode import Encoder

_OVERLOADED = Denial(gate=Gate.REQUEST, reason=Reason.OVERLOADED, retry_after_ms=1000)
_INTERNAL = Denial(gate=Gate.REQUEST, reason=Reason.INTERNAL)

_log = structlog.stdlib.get_logger(__name__)


class DeadlinePassed(ExtauthzError):
    """The caller's deadline had passed before its message arrived."""


class Decider(Protocol):
    """Decides about requests: the pipeline."""

    async def decide(self, request: CheckRequest, deadline: Deadline) -> Decision:
        """The decision. It is due at `deadline.at`."""


class Checks(Protocol):
    """What a front end needs: answers to messages."""

    async def check(self, message: bytes, remaining: float | None, *, trusted_transport: bool) -> bytes:
        """The answer to one CheckRequest.

        `remaining` is what is left of the caller's time in seconds, None where it set no limit. `trusted_transport` says that the
        caller was itself verified.

        Raises:
            MalformedMessage: the bytes are no CheckRequest.
            DeadlinePassed: nobody is waiting any more.
        """


class Checker:
    """Answers checks.

    `budget` is the longest a check may take (seconds), `margin` what of it, or of the caller's own time, is kept for sending
    the answer. Above `max_checks` at once a check is refused. `draft_headers` adds the rate headers of the IETF draft.
    """

    def __init__(
        self,
        *,
        decider: Decider,
        observer: CheckObserver,
        clock: Clock,
        budget: float = 1.0,
        margin: float = 0.01,
        max_checks: int = 1024,
        draft_headers: bool = False,
    ) -> None:
        self._decider = decider
        self._observer = observer
        self._clock = clock
        self._budget = budget
        self._margin = margin
        self._max_checks = max_checks
        self._encoder = Encoder(draft_headers=draft_headers)
        self._running = 0

    def change(self, *, draft_headers: bool) -> None:
        """Answer with or without the draft's headers from the next check on."""
        self._encoder = Encoder(draft_headers=draft_headers)

    @property
    def running(self) -> int:
        """How many checks are being decided now."""
        return self._running

    async def check(self, message: bytes, remaining: float | None, *, trusted_transport: bool = False) -> bytes:
        """The answer to one CheckRequest; see `Checks`.

        Raises:
            MalformedMessage: the bytes are no CheckRequest.
            DeadlinePassed: `remaining` is not positive.
        """
        started = self._clock()
        if remaining is not None and remaining <= 0:
            raise DeadlinePassed("the deadline had passed on arrival")
        encoder = self._encoder  # a check under way is answered as it began
        request = decode(message, trusted_transport=trusted_transport)
        # Every call of the front end has a context of its own, so there is nothing to set back.
        trace.current.set(_traceparent(request))
        decision = await self._decide(request, self._deadline(started, remaining))
        answer, decision = self._encode(encoder, decision, request, self._clock() - started)
        readable = None if decision.reason is Reason.MESSAGE else request
        self._tell(readable, decision, self._clock() - started)
        return answer

    def _deadline(self, started: float, remaining: float | None) -> Deadline:
        """Fixed here, once. Without a limit of the caller's the budget is taken for it."""
        time = self._budget if remaining is None else remaining
        return Deadline(started + min(time, self._budget) - self._margin, started + time, self._clock)

    async def _decide(self, request: CheckRequest, deadline: Deadline) -> Decision:
        denial = fault(request)
        if denial is None and self._running >= self._max_checks:
            denial = _OVERLOADED
        if denial is not None:
            return _refusal(denial)
        self._running += 1
        try:
            decision = await self._decider.decide(request, deadline)
        except Exception as error:  # noqa: BLE001 - whatever went wrong inside, the caller gets an answer, and it is no
            return self._internal(_new_id(), error)
        finally:
            self._running -= 1
        if decision.allowed and deadline.gone:
            return replace(decision, denial=_OVERLOADED)
        return decision

    def _encode(
        self, encoder: Encoder, decision: Decision, request: CheckRequest, seconds: float
    ) -> tuple[bytes, Decision]:
        try:
            return encoder.encode(decision, request, seconds), decision
        except Exception as error:  # noqa: BLE001 - a decision that cannot be written must not become an RPC error
            refused = self._internal(decision.decision_id, error)
            return encoder.encode(refused, request, seconds), refused

    def _tell(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        try:
            self._observer.checked(request, decision, seconds)
        except Exception as error:  # noqa: BLE001 - observing never changes an answer (OBSERVE-001)
            _log_failure("check_observer_failed", decision.decision_id, error)

    def _internal(self, decision_id: str, error: Exception) -> Decision:
        _log_failure("check_failed", decision_id, error)
        return Decision(decision_id=decision_id, denial=_INTERNAL, route=None)


def _traceparent(request: CheckRequest) -> str:
    """The trace to which what is asked for this request belongs; empty where there is none."""
    text = request.headers.get(trace.HEADER, "")
    return text if text and trace.is_traceparent(text) else ""


def _refusal(denial: Denial) -> Decision:
    return Decision(decision_id=_new_id(), denial=denial, route=None)


def _new_id() -> str:
    return str(uuid_utils.uuid7())


def _log_failure(event: str, decision_id: str, error: Exception) -> None:
    """The error's class and its places in the code. Its text stays out: it may quote a client or a secret."""
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error(event, decision_id=decision_id, error=type(error).__name__, places=places)
