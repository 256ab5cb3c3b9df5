"""A guarded charge: never retried, never shared, never cached, because charging twice is not charging once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from extauthz.errors import InvalidRecord, ProviderBusy, ProviderError
from extauthz.model.deadline import Clock, Deadline
from extauthz.model.decision import FallbackReason
from extauthz.model.protection import Charge, ChargeResult
from extauthz.ports import ProtectionProvider, ProviderObserver, Unavailable
from extauthz.resilience.breaker import Breaker, CircuitOpen
from extauthz.resilience.bulkhead import Bulkhead
from extauthz.resilience.call import Answer, Call, Caller, NoAnswer, Outcome
from extauthz.resilience.policy import ChargePolicy
from extauthz.resilience.probe import Probe
from extauthz.resilience.refused import RefusedCharges
from extauthz.resilience.waiting import retry_after_ms, wait_for

OPERATION: Final = "charge"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeStats:
    """A charge guard as an operator sees it.

    `refused_tenants` is of how many tenants a refusal is kept (some may be over), `remembered` how many charges were answered
    from there since the start.
    """

    operation: str
    in_flight: int
    refused_tenants: int
    remembered: int


class ChargeGuard:
    """Charges the protection provider; implements `ports.Charger`.

    A provider in this process is simply awaited, where its circuit lets it: it may raise, and an operator may open its circuit.
    Any other is called as a task of our own, under its deadline, bulkhead and breaker; callers of a tenant that has its share of the bulkhead wait their turn. What such a provider refused is refused
    again without asking it, for as long as it said, at most 1 s, whatever the circuit; allows are never remembered.

    `learn` hears every answer of such a provider, also of those that come too late for the one who asked, but not what only
    was to be looked at, nor what limits were cleared meanwhile.
    """

    def __init__(
        self,
        *,
        provider: ProtectionProvider,
        policy: ChargePolicy,
        breaker: Breaker,
        observer: ProviderObserver,
        clock: Clock,
        learn: Callable[[Charge, ChargeResult], None] | None = None,
    ) -> None:
        self._provider = provider
        self._learn = learn
        self._timeout = policy.timeout
        self._breaker = breaker
        self._observer = observer
        self._clock = clock
        self._bulkhead = Bulkhead(policy.max_in_flight)
        self._caller = Caller(
            operation=OPERATION,
            timeout=policy.timeout,
            bulkhead=self._bulkhead,
            breaker=breaker,
            observer=observer,
            clock=clock,
        )
        self._refusals = RefusedCharges(clock)
        self._last: Charge | None = None
        self._let_go: Charge | None = None
        self._probe = Probe(breaker, self._try_again)

    async def charge(self, charge: Charge, deadline: Deadline) -> ChargeResult:
        """Charge in time.

        Raises:
            Unavailable: no answer by the deadline; where the provider was `asked`, it may have counted it or may still.
        """
        if self._provider.in_process:
            return await self._directly(charge)
        known = self._known_refusal(charge)
        if known is None:
            known = await self._enter(charge, deadline)
        if known is not None:
            return known
        result: asyncio.Future[Outcome[ChargeResult]] = asyncio.get_running_loop().create_future()
        started = self._start(charge, result.set_result)
        if isinstance(started, FallbackReason):
            raise self._refused(started)
        if not await wait_for(result, deadline):
            raise self._unavailable(FallbackReason.BUDGET, asked=True)
        return self._result(result.result())

    async def _enter(self, charge: Charge, deadline: Deadline) -> ChargeResult | None:
        """Take a slot of the bulkhead. Where the same charge was refused to those before in the queue, that, and no slot."""
        if self._breaker.refuses:
            self._note_refused(charge)
            raise self._refused(FallbackReason.CIRCUIT_OPEN)
        remaining = deadline.remaining()
        if remaining <= 0:
            raise self._unavailable(FallbackReason.BUDGET)
        if not await self._bulkhead.enter_in_turn(charge.tenant_id, min(remaining, self._timeout)):
            raise self._refused(FallbackReason.BULKHEAD)
        known = self._known_refusal(charge)
        if known is None and deadline.remaining() > 0:
            return None
        self._bulkhead.leave(charge.tenant_id)
        if known is None:  # nobody would hear the answer, and it would be counted elsewhere too
            raise self._unavailable(FallbackReason.BUDGET)
        return known

    def forget(self, tenant_id: str) -> None:
        """Drop what was refused to one tenant: its limits were cleared, or its plan changed."""
        self._refusals.forget(tenant_id)

    def clear(self) -> None:
        """Drop everything that was refused."""
        self._refusals.clear()

    def stats(self) -> ChargeStats:
        """Figures for an operator."""
        return ChargeStats(
            operation=OPERATION,
            in_flight=self._bulkhead.in_flight,
            refused_tenants=len(self._refusals),
            remembered=self._refusals.answers,
        )

    async def close(self) -> None:
        """Call off the charges under way and begin no more."""
        self._probe.close()
        await self._caller.close()

    async def _directly(self, charge: Charge) -> ChargeResult:
        try:
            permit = self._breaker.permit()
        except CircuitOpen:
            raise self._refused(FallbackReason.CIRCUIT_OPEN) from None
        started = self._clock()
        self._last = charge
        try:
            result = await self._charged(charge)
        except Exception as error:
            answered = isinstance(error, InvalidRecord)
            if isinstance(error, ProviderBusy):
                permit.released()
            elif answered:
                permit.succeeded()
            else:
                permit.failed(error)
            self._observer.called(OPERATION, self._clock() - started, answered=answered)
            raise self._unavailable(FallbackReason.ERROR) from error
        except BaseException:
            permit.released()
            raise
        permit.succeeded()
        self._observer.called(OPERATION, self._clock() - started, answered=True)
        return result

    def _start(
        self, charge: Charge, landed: Callable[[Outcome[ChargeResult]], None]
    ) -> Call[ChargeResult] | FallbackReason:
        """Begin a charge that has entered the bulkhead."""
        epoch = self._refusals.epoch

        def note(outcome: Outcome[ChargeResult]) -> None:
            self._last = charge
            try:
                if isinstance(outcome, Answer):
                    self._refusals.remember(charge, outcome.value, epoch)
                    if self._learn is not None and charge.commit and epoch == self._refusals.epoch:
                        self._learn(charge, outcome.value)
            finally:
                landed(outcome)

        return self._caller.start(charge.tenant_id, lambda: self._charged(charge), note, entered=True)

    async def _charged(self, charge: Charge) -> ChargeResult:
        """The provider's answer; somebody's plug-in may return anything.

        Raises:
            ProviderError: it is no result.
        """
        result: object = await self._provider.charge(charge)
        if not isinstance(result, ChargeResult):
            raise ProviderError(f"the provider answered a charge with {type(result).__name__}")
        return result

    def _known_refusal(self, charge: Charge) -> ChargeResult | None:
        return self._refusals.find(charge) if charge.commit else None

    def _result(self, outcome: Outcome[ChargeResult]) -> ChargeResult:
        if isinstance(outcome, NoAnswer):
            raise self._unavailable(outcome.reason, asked=outcome.asked)
        return outcome.value

    def _refused(self, reason: FallbackReason) -> Unavailable:
        self._observer.refused(OPERATION)
        return self._unavailable(reason)

    def _unavailable(self, reason: FallbackReason, *, asked: bool = False) -> Unavailable:
        return Unavailable(reason, retry_after_ms=retry_after_ms(self._breaker), asked=asked)

    def _note_refused(self, charge: Charge) -> None:
        if self._last is None or charge.tenant_id != self._last.tenant_id:
            self._let_go = charge

    def _try_again(self) -> None:
        """The circuit's time is up: ask what a charge would give, charging nothing. Where none was made yet, the first one tries.

        The best is one of another tenant than failed last, for what fails may be a single tenant. It was let through, or refused,
        without the provider, so it must not be made now: whether it is to count nobody can tell any more.
        """
        charge, self._let_go = self._let_go or self._last, None
        if charge is not None and self._bulkhead.enter(charge.tenant_id):
            self._start(replace(charge, commit=False), lambda _outcome: None)
