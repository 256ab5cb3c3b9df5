"""Leave to make one call to a provider."""

from collections.abc import Callable

from extauthz.errors import ExtauthzError


class CircuitOpen(ExtauthzError):
    """The call must not be made now. `retry_in` is seconds until the provider is tried again; 0 while it is being tried."""

    def __init__(self, retry_in: float) -> None:
        super().__init__("circuit open")
        self.retry_in = retry_in


class CalledOff(Exception):
    """The verdict of a call that was called off: none."""


Verdict = BaseException | None
"""How a call ended: None well, `CalledOff` without a verdict, otherwise with that error."""


class Permit:
    """Leave to make one call, under the `epoch` of the circuit in which it was given.

    Its first report counts, every later one is ignored.
    """

    __slots__ = ("_end", "epoch")

    def __init__(self, end: Callable[["Permit", Verdict], None], epoch: int) -> None:
        self._end: Callable[[Permit, Verdict], None] | None = end
        self.epoch = epoch

    def succeeded(self) -> None:
        """The provider answered, whatever the answer was."""
        self._report(None)

    def failed(self, error: BaseException) -> None:
        """The provider gave no answer."""
        self._report(error)

    def released(self) -> None:
        """The call was called off: no verdict."""
        self._report(CalledOff())

    def _report(self, verdict: Verdict) -> None:
        end, self._end = self._end, None
        if end is not None:
            end(self, verdict)
