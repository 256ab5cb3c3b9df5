"""Calls to a provider: each is a task that we own, and is abandoned at the provider's own deadline.

See docs/decisions/0005-the-load-is-an-owned-task.md. The order is bulkhead, permit of the breaker, task, deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from extauthz.errors import InvalidRecord, ProviderBusy, ProviderError, ProviderTimeout
from extauthz.model import trace
from extauthz.model.deadline import Clock
from extauthz.model.decision import FallbackReason
from extauthz.ports import ProviderObserver
from extauthz.resilience.breaker import Breaker, CircuitOpen, Permit
from extauthz.resilience.bulkhead import Bulkhead

T = TypeVar("T")

ABANDONED_GRACE: Final = 10.0
"""An abandoned call keeps its slot until it really ends, but for no longer than this many times its deadline."""

PASSES: Final = 4
"""Turns of the loop between a deadline and its verdict: one to read what has arrived, and some for it to reach the call's end.

A loop that is idle makes them in microseconds. One that is overloaded is late by itself; without them its own lateness would look
like a provider that fails, and open the circuit.
"""

CLOSE_PATIENCE: Final = 1.0
"""Seconds that `close` waits for calls it has cancelled."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The provider answered."""

    value: T


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The provider did not. `asked`: it may have done all the same what it was asked."""

    reason: FallbackReason
    asked: bool = True


Outcome = Answer[T] | NoAnswer


class Call(Generic[T]):
    """One call under way. `landed` is told the outcome once; what comes after that has no effect any more."""

    __slots__ = ("_landed", "_leave", "permit", "started", "task", "timer")

    def __init__(
        self, permit: Permit, started: float, landed: Callable[[Outcome[T]], None], leave: Callable[[], None]
    ) -> None:
        self._landed: Callable[[Outcome[T]], None] | None = landed
        self._leave: Callable[[], None] | None = leave
        self.permit = permit
        self.started = started
        self.task: asyncio.Task[T]
        self.timer: asyncio.Handle

    @property
    def over(self) -> bool:
        """Whether its outcome was told."""
        return self._landed is None

    def land(self, outcome: Outcome[T]) -> None:
        """Tell the outcome, if none was told before."""
        landed, self._landed = self._landed, None
        if landed is not None:
            landed(outcome)

    def leave(self) -> None:
        """Leave the bulkhead, if it did not yet."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def call_off(self) -> None:
        """End it without a verdict; it leaves the bulkhead when its task has ended."""
        self.timer.cancel()
        self.permit.released()
        self.land(NoAnswer(FallbackReason.ERROR))
        self.task.cancel()

    def give_way(self) -> Callable[[], None] | None:
        """Call it off, and leave its slot to another call, which is to leave it so; None where it has left already."""
        leave, self._leave = self._leave, None
        self.call_off()
        return leave


class Caller:
    """Makes calls of one `operation` to one provider. `timeout` is the provider's own deadline in seconds."""

    def __init__(
        self,
        *,
        operation: str,
        timeout: float,
        bulkhead: Bulkhead,
        breaker: Breaker,
        observer: ProviderObserver,
        clock: Clock,
    ) -> None:
        self._operation = operation
        self._timeout = timeout
        self._bulkhead = bulkhead
        self._breaker = breaker
        self._observer = observer
        self._clock = clock
        self._calls: set[Call[Any]] = set()  # of whatever each call answers
        self._closed = False

    def start(
        self,
        tenant: Hashable,
        call: Callable[[], Awaitable[T]],
        landed: Callable[[Outcome[T]], None],
        *,
        entered: bool = False,
        before: Call[T] | None = None,
    ) -> Call[T] | FallbackReason:
        """Begin a call for `tenant`; the call, or why it was not made.

        When it was made, `landed` gets its outcome once, at the deadline at the latest and never before this returns. With
        `entered` the caller is in the bulkhead already, and is taken out of it here. `before` is a call for the same tenant
        whose outcome nobody needs any more: where the bulkhead is full, this one goes on in its slot.
        """
        leave = partial(self._bulkhead.leave, tenant) if entered else self._enter(tenant, before)
        if leave is None:
            return FallbackReason.BULKHEAD
        if self._closed:
            leave()
            return FallbackReason.ERROR
        try:
            permit = self._breaker.permit()
        except CircuitOpen:
            leave()
            return FallbackReason.CIRCUIT_OPEN
        made = Call(permit, self._clock(), landed, leave)
        _fresh_context().run(self._launch, made, call)
        return made

    def _enter(self, tenant: Hashable, before: Call[Any] | None) -> Callable[[], None] | None:
        """Take a slot; how to leave it, None where there is none. What would be refused anyway takes none from who has one."""
        if self._bulkhead.enter(tenant):
            return partial(self._bulkhead.leave, tenant)
        if before is None or self._closed or self._breaker.refuses:
            return None
        return before.give_way()

    def _launch(self, flying: Call[T], call: Callable[[], Awaitable[T]]) -> None:
        loop = asyncio.get_running_loop()
        flying.task = loop.create_task(_drive(call))
        flying.timer = loop.call_later(self._timeout, self._due, flying, PASSES)
        self._calls.add(flying)
        flying.task.add_done_callback(partial(self._ended, flying))

    def _due(self, flying: Call[T], passes: int) -> None:
        """The deadline has come. What arrived before it, while the loop was busy with something else, is still taken."""
        if passes:
            flying.timer = asyncio.get_running_loop().call_soon(self._due, flying, passes - 1)
        else:
            self._expire(flying)

    def _expire(self, flying: Call[T]) -> None:
        """Abandon a call: it is cancelled but not waited for, because a driver may take seconds to notice."""
        flying.permit.failed(ProviderTimeout())
        flying.land(NoAnswer(FallbackReason.TIMEOUT))
        flying.task.cancel()
        flying.timer = asyncio.get_running_loop().call_later(self._timeout * ABANDONED_GRACE, flying.leave)
        self._observer.called(self._operation, self._clock() - flying.started, answered=False)

    def _ended(self, flying: Call[T], task: asyncio.Task[T]) -> None:
        flying.timer.cancel()
        flying.leave()
        self._calls.discard(flying)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if flying.over:
            return
        if error is None:
            flying.permit.succeeded()
            flying.land(Answer(task.result()))
        elif isinstance(error, ProviderBusy):
            self._refused(flying)
            return
        elif isinstance(error, InvalidRecord):
            flying.permit.succeeded()
            flying.land(NoAnswer(FallbackReason.ERROR))
        else:
            # A driver that bounds itself at the same deadline may be the first to say so.
            timed_out = isinstance(error, ProviderTimeout)
            flying.permit.failed(error)
            reason = FallbackReason.TIMEOUT if timed_out else FallbackReason.ERROR
            flying.land(NoAnswer(reason, asked=not isinstance(error, ProviderError) or error.asked))
        answered = error is None or isinstance(error, InvalidRecord)
        self._observer.called(self._operation, self._clock() - flying.started, answered=answered)

    def _refused(self, flying: Call[T]) -> None:
        """The call was not made for want of a connection: as if the bulkhead had been full."""
        flying.permit.released()
        flying.land(NoAnswer(FallbackReason.BULKHEAD, asked=False))
        self._observer.refused(self._operation)

    async def close(self) -> None:
        """Call off what is under way, without a verdict, and make no further calls."""
        self._closed = True
        calls = tuple(self._calls)
        for flying in calls:
            flying.call_off()
        if calls:
            await asyncio.wait({flying.task for flying in calls}, timeout=CLOSE_PATIENCE)


def _fresh_context() -> Context:
    """A context for a call that outlives the one who asked: it must not log as part of that request.

    Of the request it keeps one thing, the trace that a remote provider is told: what caused the call belongs to it.
    """
    context = Context()
    traceparent = trace.current.get()
    if traceparent:
        context.run(trace.current.set, traceparent)
    return context


async def _drive(call: Callable[[], Awaitable[T]]) -> T:
    return await call()
