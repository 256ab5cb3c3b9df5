"""Small schedules of faults and requests against the model of spec sections 3 and 4, and that the model can tell right from wrong.

`tests/faults/test_schedules.py` runs them by the million.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extauthz.model.deadline import Deadline
from extauthz.model.decision import Source
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.model.protection import Charge, ChargeResult
from extauthz.ports import CircuitState, Fetched, Unavailable
from extauthz.resilience.breaker import Breaker
from extauthz.resilience.call import Answer
from extauthz.resilience.charge import ChargeGuard
from extauthz.resilience.guard import Guard
from extauthz.resilience.permit import Permit
from tests.world_facts import Wrong
from tests.world_parts import Parts
from tests.world_schedule import fails, run_seed, schedule

LENGTH = 300


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1_000_000_000), requests=st.integers(1, 60))
def test_answers_are_right_whatever_the_providers_do(seed: int, requests: int) -> None:
    assert run_seed(seed, requests) == requests


# The model can fail: services with one rule broken.


class ServesStaleKeys(Guard[str, Any]):
    """Auth that answers from what it knew, when its store is down."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._ever: dict[str, Fetched[Any]] = {}

    async def get(self, key: str, deadline: Deadline, max_age: float | None = None) -> Fetched[Any]:
        try:
            self._ever[key] = await super().get(key, deadline, max_age)
        except Unavailable:
            if key not in self._ever:
                raise
        return self._ever[key]


class PassesForFresh(Guard[str, Any]):
    """A fallback that is told as the provider's answer."""

    async def get(self, key: str, deadline: Deadline, max_age: float | None = None) -> Fetched[Any]:
        try:
            return await super().get(key, deadline, max_age)
        except Unavailable:
            active = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)
            return Fetched(value=active, source=Source.PROVIDER)


class TakesLateAnswers(Guard[str, Any]):
    """A load that was overtaken by a change fills the cache all the same."""

    def _landed(self, key: str, flight: Any, outcome: Any) -> None:
        if isinstance(outcome, Answer):
            self._cache.put(key, outcome.value)
        super()._landed(key, flight, outcome)


class ForgetsDenials(Guard[str, Any]):
    """Clearing what may have been missed takes last-known denials with it."""

    def forget_all(self) -> None:
        self.clear()


class Eager(Breaker):
    """A second try in half-open."""

    def permit(self) -> Permit:
        self._try = None
        return super().permit()


class Deaf(Breaker):
    """A circuit that never opens by itself."""

    def _change(self, action: Any) -> None:
        if self.state is not CircuitState.CLOSED:
            super()._change(action)


class LetsThroughUncounted(ChargeGuard):
    """Without its provider it answers as if it had charged."""

    async def charge(self, charge: Charge, deadline: Deadline) -> ChargeResult:
        try:
            return await super().charge(charge, deadline)
        except Unavailable:
            return ChargeResult(charged=True)


class ChargesAgain(ChargeGuard):
    """A charge that is tried again."""

    async def charge(self, charge: Charge, deadline: Deadline) -> ChargeResult:
        try:
            return await super().charge(charge, deadline)
        except Unavailable:
            return await super().charge(charge, deadline)


BROKEN = {
    "stale auth is served": Parts(credentials=ServesStaleKeys),
    "who is not ACTIVE ages out in an outage": Parts(lifecycle_denies=lambda _record: False),
    "who is not ACTIVE is forgotten in an outage": Parts(lifecycle=ForgetsDenials),
    "a fallback counts as fresh": Parts(lifecycle=PassesForFresh),
    "a second try in half-open": Parts(breaker=Eager),
    "a circuit does not open": Parts(breaker=Deaf),
    "a late load fills the cache after a termination": Parts(lifecycle=TakesLateAnswers),
    "uncounted, and not told": Parts(charge=LetsThroughUncounted),
    "charged twice": Parts(charge=ChargesAgain),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_the_model_finds_a_service_with_one_rule_broken(rule: str) -> None:
    found = next(filter(None, (fails(*schedule(seed, LENGTH), BROKEN[rule]) for seed in range(100))), None)
    assert isinstance(found, Wrong)
