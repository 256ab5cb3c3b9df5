"""A guarded look-up: cache, single flight, bulkhead, breaker, owned call; whoever asks waits under their own deadline."""

from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, TypeVar

from extauthz.model.deadline import Clock, Deadline
from extauthz.model.decision import FallbackReason, Source
from extauthz.ports import CacheResult, Fetched, LongMemory, ProviderObserver, Unavailable
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.bulkhead import Bulkhead
from extauthz.resilience.cache import Cache, Entry, never
from extauthz.resilience.call import Answer, Caller, NoAnswer, Outcome
from extauthz.resilience.known import Known
from extauthz.resilience.policy import GuardPolicy
from extauthz.resilience.probe import Probe
from extauthz.resilience.singleflight import OVERTAKEN, Flight, Flights, Overtaken
from extauthz.resilience.stats import Cleared, GuardStats
from extauthz.resilience.waiting import retry_after_ms, wait_for

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Guard(Generic[K, V]):
    """Looks things up at one provider, one `operation` of it; implements `ports.Lookup` and `ports.CacheControl`.

    `load` asks the provider. `tenant_of` tells whose share of the bulkhead a key belongs to. `denies` tells which values deny,
    and so outlive an outage; `memory` keeps those over a restart too, None: nothing does. Everything happens on one event loop.

    An answer that is asked for shortly before its end is loaded again meanwhile, and nobody waits for that.
    """

    def __init__(
        self,
        *,
        operation: str,
        load: Callable[[K], Awaitable[V]],
        policy: GuardPolicy,
        breaker: Breaker,
        observer: ProviderObserver,
        clock: Clock,
        tenant_of: Callable[[K], Hashable] = lambda key: key,
        denies: Callable[[V], bool] = never,
        memory: LongMemory[K, V] | None = None,
    ) -> None:
        self._operation = operation
        self._load = load
        self._breaker = breaker
        self._observer = observer
        self._clock = clock
        self._tenant_of = tenant_of
        self._cache: Cache[K, V] = Cache(policy.cache, clock, denies=denies, failing=lambda: breaker.failing)
        self._known = Known(self._cache, memory, clock)
        self._flights: Flights[K, V] = Flights()
        self._bulkhead = Bulkhead(policy.max_in_flight)
        bulkhead, timeout = self._bulkhead, policy.timeout
        self._caller = Caller(
            operation=operation, timeout=timeout, bulkhead=bulkhead, breaker=breaker, observer=observer, clock=clock
        )
        self._last_key: tuple[K] | None = None
        self._wanted_key: tuple[K] | None = None
        self._probe = Probe(breaker, self._try_again)
        self._hits = self._misses = self._stale = 0

    def peek(self, key: K, max_age: float | None = None) -> Fetched[V] | None:
        """The value if it is fresh in the cache; never waits. `max_age` (seconds) replaces the cache's own ttl."""
        now = self._clock()
        entry = self._cache.fresh(key, now, max_age)
        if entry is None:
            return None
        if now >= entry.due:
            self._load_ahead(key, entry, now, max_age)
        self._hits += 1
        value = entry.value
        self._observer.cache(CacheResult.NEGATIVE if value is None else CacheResult.HIT)
        return Fetched(value=value, source=Source.CACHE, age=now - entry.at)

    async def get(self, key: K, deadline: Deadline, max_age: float | None = None) -> Fetched[V]:
        """The value, from the cache or from the provider. Where a change overtakes the load, what the change left.

        A clearing or a doubt overtakes it too. The load that follows needs no slot of the bulkhead beside the old one's.

        Raises:
            Unavailable: no fresh answer by the deadline. Its `last_known` may stand in.
        """
        while True:
            fetched = self.peek(key, max_age)
            if fetched is not None:
                return fetched
            if deadline.remaining() <= 0:
                raise self._unavailable(key, FallbackReason.BUDGET)
            flight = self._join(key)
            if isinstance(flight, FallbackReason):
                raise self._refused(key, flight)
            if not await wait_for(flight.outcome, deadline):
                raise self._unavailable(key, FallbackReason.BUDGET)
            outcome = flight.outcome.result()
            if not isinstance(outcome, Overtaken):
                return self._fetched(key, outcome)

    def put(self, key: K, value: V) -> None:
        """Make `value` the fresh and the last-known value; a load begun earlier never fills the cache."""
        self._known.learn(key, value)
        self._flights.overtake(key)

    def forget(self, key: K) -> None:
        """Drop the fresh value; the last-known one stays for an outage only where it denies."""
        self._cache.forget(key)
        self._flights.overtake(key)

    def clear_one(self, key: K, max_age: float | None = None) -> Cleared:
        """`forget`, and what that did; `max_age` is what fresh means, as in `peek`."""
        self._flights.overtake(key)
        return self._known.clear(key, max_age)

    async def clear_where(self, such: Callable[[V], bool]) -> int:
        """Forget every key whose value is such; how many were fresh. A load under way is judged by what it brings."""
        self._flights.clear_where(such)
        return await self._cache.forget_where(such)

    async def clear_all(self, max_age: float | None = None) -> Cleared:
        """`forget_all`, at once, and what that did; counting lets others have their turn."""
        self._flights.overtake_all()
        return await self._known.clear_all(max_age)

    def holds(self, key: K) -> bool:
        """Whether there is an answer, fresh or last known."""
        return self._known.holds(key)

    def forget_all(self) -> None:
        """Drop every fresh value; as last known those stay that deny."""
        self._known.forget_all()
        self._flights.overtake_all()

    def drop(self, key: K) -> None:
        """Know nothing of a key any more: it was learned elsewhere that what denies does not hold."""
        self._cache.drop(key)
        self._flights.overtake(key)

    def doubt(self, key: K) -> None:
        """Drop the fresh value, because a change may have been missed; as last known it stays."""
        self._cache.doubt(key)
        self._flights.overtake(key)

    def doubt_all(self) -> None:
        """Drop every fresh value, because changes may have been missed; what was known is still better than nothing in an outage."""
        self._known.doubt_all()
        self._flights.overtake_all()

    def clear(self) -> None:
        """Drop everything, but what `memory` knows: whom it knows to be out, nobody lets in by clearing a cache."""
        self._cache.clear()
        self._flights.overtake_all()

    def stats(self) -> GuardStats:
        """Figures for an operator."""
        return GuardStats(
            operation=self._operation,
            entries=len(self._cache),
            in_flight=self._bulkhead.in_flight,
            hits=self._hits,
            misses=self._misses,
            stale=self._stale,
        )

    async def close(self) -> None:
        """Call off the loads under way and begin no more; what is cached is still answered."""
        self._probe.close()
        await self._caller.close()

    def _join(self, key: K) -> Flight[V] | FallbackReason:
        """The load of a key that is under way, else a new one.

        Nobody joins while the circuit refuses: what is under way is the one try, or was begun before, and either may hang.
        Nor where the circuit was closed since, by hand: the provider may answer by now, which no old load tells.
        """
        flight = self._flights.get(key)
        if flight is None:
            return self._begin(key)
        if self._breaker.refuses:
            return FallbackReason.CIRCUIT_OPEN
        if flight.call is None or self._breaker.knows(flight.call.permit):
            return flight
        self._flights.overtake(key)
        return self._begin(key)

    def _begin(self, key: K) -> Flight[V] | FallbackReason:
        flight = self._flights.begin(key)
        landed, before = partial(self._landed, key, flight), self._flights.before(key)
        call = self._caller.start(self._tenant_of(key), lambda: self._load(key), landed, before=before)
        if isinstance(call, FallbackReason):
            self._flights.land(key, flight)
            return call
        flight.call = call
        return flight

    def _load_ahead(self, key: K, entry: Entry[V], now: float, max_age: float | None) -> None:
        """Load an answer again that ends soon. Nobody waits for it, so nothing is told where it can't be begun now."""
        if not self._cache.ends_soon(entry, now, max_age) or self._breaker.refuses or not self._bulkhead.half_empty:
            return
        if self._flights.get(key) is None:
            self._begin(key)

    def _landed(self, key: K, flight: Flight[V], outcome: Outcome[V]) -> None:
        self._last_key = (key,)
        if not self._flights.land(key, flight):
            return
        told: Outcome[V] | Overtaken = outcome
        try:
            if isinstance(outcome, Answer) and flight.cleared(outcome.value):
                told = OVERTAKEN
                self._begin(key)  # now, in the slot that this one has just left
            elif isinstance(outcome, Answer):
                self._known.learn(key, outcome.value)
        finally:
            flight.outcome.set_result(told)

    def _fetched(self, key: K, outcome: Outcome[V]) -> Fetched[V]:
        if isinstance(outcome, NoAnswer):
            raise self._unavailable(key, outcome.reason)
        self._misses += 1
        self._observer.cache(CacheResult.MISS)
        return Fetched(value=outcome.value, source=Source.PROVIDER)

    def _refused(self, key: K, reason: FallbackReason) -> Unavailable:
        if (key,) != self._last_key:
            self._wanted_key = (key,)
        self._observer.refused(self._operation)
        return self._unavailable(key, reason)

    def _unavailable(self, key: K, reason: FallbackReason) -> Unavailable:
        last_known = self._known.last_known(key)
        if last_known is None:
            self._misses += 1
            self._observer.cache(CacheResult.MISS)
        else:
            self._stale += 1
            self._observer.cache(CacheResult.STALE)
        return Unavailable(reason, last_known, retry_after_ms(self._breaker))

    def _try_again(self) -> None:
        """The circuit's time is up: load a key by ourselves, the one that was loaded last. Where none was, the first to ask tries.

        Another one that was asked for since comes first: what fails may be a single key, and would keep it open for all others.
        """
        key, self._wanted_key = self._wanted_key or self._last_key, None
        if key is not None and self._flights.get(key[0]) is None:
            self._begin(key[0])
