"""One observer of decisions in front of several."""

import structlog

from extauthz.model.decision import Decision
from extauthz.model.request import CheckRequest
from extauthz.ports import CheckObserver

_log = structlog.get_logger(__name__)


class Fanout:
    """A `CheckObserver` that tells all of `observers`, in order. One that raises is logged and unplugged; the others go on."""

    def __init__(self, *observers: CheckObserver) -> None:
        self._observers = observers

    def checked(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        """Tell everyone of one decision. Never raises."""
        for observer in self._observers:
            try:
                observer.checked(request, decision, seconds)
            except Exception as error:  # noqa: BLE001 - observing must never harm the answer
                self._unplug(observer, error)

    def _unplug(self, broken: CheckObserver, error: Exception) -> None:
        self._observers = tuple(observer for observer in self._observers if observer is not broken)
        _log.error(
            "an observer of decisions raised and was unplugged",
            observer=type(broken).__name__,
            error=type(error).__name__,
        )
