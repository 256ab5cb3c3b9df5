"""At most one log line for a denial, and in a flood of them only so many a second."""

import logging
from typing import Final

import structlog

from extauthz.model.decision import Decision, Denial, Reason
from extauthz.model.request import CheckRequest
from extauthz.ports import Clock
from extauthz.telemetry.text import client_path, client_text

PER_SECOND: Final = 10.0
BURST: Final = 50

_LEVELS: Final = {
    Reason.INTERNAL: logging.ERROR,
    Reason.OVERLOADED: logging.WARNING,
    Reason.PROVIDER_UNAVAILABLE: logging.WARNING,
}
"""The client's fault is INFO, ours is not."""

_log = structlog.get_logger(__name__)


class DenialLog:
    """A `CheckObserver` that writes a line for a denial: at first `burst` at once, then `per_second`, in this process.

    Lines that were left out are counted in the next one's `suppressed`. A line holds nothing from headers, query, body or
    claims; what a client can choose (method, path, request id) is cut short, escaped, and freed of credentials.
    """

    def __init__(self, *, clock: Clock, per_second: float = PER_SECOND, burst: int = BURST) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = clock()
        self._suppressed = 0

    def checked(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        """Write a line, or count it as suppressed."""
        if decision.denial is None:
            return
        if not self._take():
            self._suppressed += 1
            return
        fields = _fields(request, decision, decision.denial)
        if self._suppressed:
            fields["suppressed"] = self._suppressed
            self._suppressed = 0
        level = _LEVELS.get(decision.denial.reason, logging.INFO)
        _log.log(level, "denied", latency_ms=round(seconds * 1000, 3), **fields)

    def _take(self) -> bool:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _fields(request: CheckRequest | None, decision: Decision, denial: Denial) -> dict[str, object]:
    fields: dict[str, object] = {
        "gate": denial.gate.value,
        "reason": denial.reason.value,
        "decision_id": decision.decision_id,
    }
    if denial.note:
        fields["note"] = denial.note
    if decision.facts.principal is not None:
        fields["tenant_id"] = decision.facts.principal.tenant_id
        fields["subject"] = client_text(decision.facts.principal.subject)
    if request is not None:
        fields["method"] = client_text(request.method)
        fields["path"] = client_path(request.path)
        fields["request_id"] = client_text(request.request_id)
    return fields
