"""Stand-ins for the seams between our own layers. Each keeps what it was asked and answers what it was told to."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from extauthz.errors import InvalidCredential
from extauthz.model.billing import Limits
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Decision, FallbackReason, Source
from extauthz.model.event import Event
from extauthz.model.identity import AuthMethod, Principal
from extauthz.model.protection import Charge, ChargeResult, Dimension, Exceeded, RateStatus
from extauthz.model.request import CheckRequest
from extauthz.ports import Fetched, K, Presented, Unavailable

R = TypeVar("R")


async def _wait(delay: float, deadline: Deadline) -> None:
    """Wait as a guard lets its callers wait: to their deadline and no longer."""
    left = deadline.remaining()
    if delay > left:
        await asyncio.sleep(max(0.0, left))
        raise Unavailable(FallbackReason.BUDGET)
    if delay:
        await asyncio.sleep(delay)


class FakeLookup(Generic[K, R]):
    """A look-up in a dict; what is not in it is None, an answer.

    Attributes:
        values: what the provider knows.
        cached: whether `peek` answers; if not, only `get` does.
        age: seconds, of every value.
        outage: raised by `get` where set; `peek` then knows nothing.
        delay: seconds on the event loop's clock until `get` answers.
        peeked: the (key, max_age) of every `peek`.
        got: the (key, max_age) of every `get` that was begun.
        ended: how many `get` came to their end, by an answer or an error; a cancelled one does not.
    """

    def __init__(self, values: Mapping[K, R] | None = None, *, cached: bool = True, age: float = 0.0) -> None:
        self.values: dict[K, R] = dict(values or {})
        self.cached = cached
        self.age = age
        self.outage: Unavailable | None = None
        self.delay = 0.0
        self.peeked: list[tuple[K, float | None]] = []
        self.got: list[tuple[K, float | None]] = []
        self.ended = 0

    def peek(self, key: K, max_age: float | None = None) -> Fetched[R | None] | None:
        """The value if this look-up is `cached` and not out."""
        self.peeked.append((key, max_age))
        if self.cached and self.outage is None:
            return Fetched(value=self.values.get(key), source=Source.CACHE, age=self.age)
        return None

    async def get(self, key: K, deadline: Deadline, max_age: float | None = None) -> Fetched[R | None]:
        """The value, after `delay`.

        Raises:
            Unavailable: the `outage`, or the deadline came before the `delay` was over.
        """
        self.got.append((key, max_age))
        try:
            await _wait(self.delay, deadline)
        except Unavailable:
            self.ended += 1
            raise
        self.ended += 1
        if self.outage is not None:
            raise self.outage
        return Fetched(value=self.values.get(key), source=Source.PROVIDER, age=self.age)


class FakeCharger:
    """Answers charges. A dimension is exceeded only where the charge has a limit for it.

    Attributes:
        exceeded: what is over, in the locked order.
        near: the dimensions reported as nearly used up.
        rate: the status of the rate bucket, given where the charge has a rate.
        outage: raised where set.
        delay: seconds on the event loop's clock until the answer.
        charges: every charge that was begun.
        consumed: those that were charged.
        deadlines: the deadline of every charge.
        asked: of every charge that was only counted, whether the provider had been asked.
    """

    def __init__(self, *exceeded: Exceeded) -> None:
        self.exceeded: tuple[Exceeded, ...] = exceeded
        self.near: tuple[Dimension, ...] = ()
        self.rate: RateStatus | None = None
        self.outage: Unavailable | None = None
        self.delay = 0.0
        self.charges: list[Charge] = []
        self.consumed: list[Charge] = []
        self.deadlines: list[Deadline] = []
        self.asked: list[bool] = []

    async def charge(self, charge: Charge, deadline: Deadline) -> ChargeResult:
        """The answer, after `delay`.

        Raises:
            Unavailable: the `outage`, or the deadline came before the `delay` was over.
        """
        self.charges.append(charge)
        self.deadlines.append(deadline)
        await _wait(self.delay, deadline)
        if self.outage is not None:
            raise self.outage
        return self._answer(charge, self.exceeded)

    def count(self, charge: Charge, *, asked: bool) -> ChargeResult:
        """The same as a `ports.LocalCounter`, which has no day quota. `outage` and `delay` do not matter here."""
        self.charges.append(charge)
        self.asked.append(asked)
        return self._answer(charge, tuple(over for over in self.exceeded if over.dimension is not Dimension.QUOTA))

    def _answer(self, charge: Charge, over_limits: tuple[Exceeded, ...]) -> ChargeResult:
        exceeded = tuple(over for over in over_limits if limit_of(charge.limits, over.dimension) is not None)
        charged = not any(over.dimension in charge.blocking for over in exceeded)
        if charged and charge.commit:
            self.consumed.append(charge)
        rate = None if charge.limits.rate is None else self.rate
        return ChargeResult(charged=charged, exceeded=exceeded, near=self.near, rate=rate)


def limit_of(limits: Limits, dimension: Dimension) -> int | None:
    """The limit that stands for a dimension; None for unlimited, and for anomaly, which has none."""
    return {
        Dimension.QUOTA: limits.max_requests_per_day,
        Dimension.RATE: limits.rate,
        Dimension.BURST: limits.burst,
        Dimension.COST: limits.max_cost_per_day,
    }.get(dimension)


class FakeMethod:
    """A way to authenticate whose credentials stand in one header.

    Attributes:
        known: what each credential comes to; what is not in it does not verify. One that is an error is raised.
        malformed: credentials that have the form, but not exactly; refused by `verify_now` whatever else is set.
        cached: whether `verify_now` can tell; if not, only `verify` does.
        verified: the credentials of every `verify` that was begun.
    """

    def __init__(
        self,
        known: Mapping[str, Principal | InvalidCredential | Unavailable] | None = None,
        *,
        name: AuthMethod = AuthMethod.API_KEY,
        header: str = "x-api-key",
        cached: bool = True,
    ) -> None:
        self.name = name
        self.known = dict(known or {})
        self.malformed: set[str] = set()
        self.cached = cached
        self.verified: list[str] = []
        self._header = header

    def present(self, request: CheckRequest) -> Sequence[Presented]:
        """What the method's header holds."""
        credential = request.headers.get(self._header)
        if credential is None:
            return ()
        malformed = credential in self.malformed
        return (Presented(header=self._header, credential=credential, malformed=malformed),)

    def verify_now(self, presented: Presented) -> Principal | None:
        """The principal if this method is `cached` and its provider is not out.

        Raises:
            InvalidCredential: it is `malformed` or not `known`.
        """
        if presented.malformed:
            raise InvalidCredential("malformed")
        outcome = self._outcome(presented)
        if not self.cached or isinstance(outcome, Unavailable):
            return None
        if isinstance(outcome, InvalidCredential):
            raise outcome
        return outcome

    async def verify(self, presented: Presented, deadline: Deadline) -> Principal:
        """The principal.

        Raises:
            InvalidCredential: it is not `known`, or known as that.
            Unavailable: it is known as that, or the deadline has passed.
        """
        self.verified.append(presented.credential)
        await _wait(0.0, deadline)
        outcome = self._outcome(presented)
        if isinstance(outcome, Principal):
            return outcome
        raise outcome

    def _outcome(self, presented: Presented) -> Principal | InvalidCredential | Unavailable:
        return self.known.get(presented.credential, InvalidCredential("unknown"))


class RecordingObserver:
    """A `CheckObserver` that keeps what it was told.

    Attributes:
        seen: every (request, decision, seconds).
    """

    def __init__(self) -> None:
        self.seen: list[tuple[CheckRequest | None, Decision, float]] = []

    def checked(self, request: CheckRequest | None, decision: Decision, seconds: float) -> None:
        """Keep it."""
        self.seen.append((request, decision, seconds))


class RecordingSink:
    """An `EventSink` that keeps what it was sent.

    Attributes:
        events: every event, in order.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)
