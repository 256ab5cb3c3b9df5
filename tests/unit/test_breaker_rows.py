"""Rows of the failure table that are about circuits, through the whole pipeline, in virtual time (spec section 4)."""

import asyncio
from collections.abc import Sequence

import pytest

from extauthz.model.decision import Decision, Gate
from extauthz.model.request import CheckRequest
from extauthz.testing import in_virtual_time
from tests.breaker_model import Wall, with_a_wall_clock_that_jumps
from tests.world_parts import Parts, World
from tests.world_play import Play
from tests.world_providers import Behaviour
from tests.world_schedule import FULL
from tests.world_words import PATHS

HANGS, FAILS, ANSWERS = Behaviour(("hang",)), Behaviour(("error",)), Behaviour()
OPEN_GATES = ("lifecycle", "billing", "protection")


class Service:
    """The service with the defaults, three tenants, everything warm."""

    def __init__(self) -> None:
        self.play = Play(World(FULL, tenants=3, jitter=0.0), Parts())
        self.stage = self.play.stage
        self.slowest = 0.0
        for number in range(3):
            self.play.billing(f"t{number}", "ACTIVE", "open", "put")

    async def check(self, tenant: str = "t0", budget: float = 1.0) -> Decision:
        stage = self.stage
        key, text = self.play.keys[f"{tenant}a"]
        request = CheckRequest(method="POST", path=PATHS["standard"], headers={"x-api-key": text})
        asked = stage.clock()
        decision = await self.play.ask(request, key, "key", "standard", budget)
        self.slowest = max(self.slowest, stage.clock() - asked)
        return decision

    def leave_the_try_to_callers(self, provider: str) -> None:
        """The service tries nothing by itself."""
        guard = self.stage.charger if provider == "protection" else self.stage.guards[provider]
        guard._probe._stop()

    def forget(self, provider: str) -> None:
        """The next look-up of the first tenant asks the provider."""
        if provider != "protection":
            self.play.told_to_ask(provider, self.play.keys["t0a"][0].key_id if provider == "credentials" else "t0")

    def behave(self, provider: str, behaviour: Behaviour) -> None:
        self.stage.backends[provider].behaviour = behaviour

    def state(self, provider: str) -> str:
        return self.stage.breakers[provider].state.value

    def loads(self, provider: str) -> int:
        return self.stage.backends[provider].calls

    async def until_it_is_tried(self, provider: str) -> None:
        """The very moment in which the reset time is up; nothing of the provider is fresh in the cache."""
        self.forget(provider)
        await asyncio.sleep(self.stage.breakers[provider].retry_in or 0.0)

    async def trip(self, provider: str) -> None:
        """An outage, until the circuit opens. Each look-up of the tenant asks anew."""
        self.behave(provider, FAILS)
        for _ in range(FULL[provider].failures):
            self.forget(provider)
            await self.check()
        assert self.state(provider) == "open"

    async def close(self) -> None:
        await self.play.run([])


def degraded(decisions: Sequence[Decision]) -> set[tuple[Gate, ...]]:
    return {decision.degraded for decision in decisions}


@pytest.mark.parametrize("provider", OPEN_GATES)
@in_virtual_time
async def test_half_open_under_a_thousand_concurrent_requests_is_exactly_one_try(provider: str) -> None:
    service = Service()
    await service.check()
    await service.trip(provider)
    service.behave(provider, Behaviour(latency=0.05))
    before = service.loads(provider)
    await service.until_it_is_tried(provider)
    decisions = await asyncio.gather(*(service.check(f"t{n % 3}") for n in range(1_000)))
    assert service.loads(provider) == before + 1
    assert all(decision.allowed for decision in decisions)
    assert (Gate(provider),) in degraded(decisions)
    await asyncio.sleep(0.05)
    assert service.state(provider) == "closed"
    assert service.slowest <= 0.1
    await service.close()


@pytest.mark.parametrize("provider", [*OPEN_GATES, "credentials"])
@in_virtual_time
async def test_the_permit_of_a_try_that_hangs_is_free_again_within_the_deadline(provider: str) -> None:
    service = Service()
    await service.trip(provider)
    service.behave(provider, HANGS)
    await asyncio.sleep(FULL[provider].reset)  # the service tries by itself
    assert service.state(provider) == "half_open"
    await asyncio.sleep(FULL[provider].timeout + 0.001)
    assert service.state(provider) == "open"
    service.behave(provider, ANSWERS)
    await asyncio.sleep(FULL[provider].reset + FULL[provider].timeout)
    assert service.state(provider) == "closed"
    await service.close()


@pytest.mark.parametrize("provider", OPEN_GATES)
@in_virtual_time
async def test_when_the_caller_of_a_try_is_cancelled_its_permit_is_free_within_the_deadline(provider: str) -> None:
    service = Service()
    await service.check()
    await service.trip(provider)
    service.behave(provider, HANGS)
    service.leave_the_try_to_callers(provider)
    await service.until_it_is_tried(provider)
    caller = asyncio.create_task(service.check())
    await asyncio.sleep(0.02)
    assert service.state(provider) == "half_open"
    caller.cancel()
    await asyncio.sleep(FULL[provider].timeout)
    assert caller.cancelled()
    assert service.state(provider) == "open"
    service.behave(provider, ANSWERS)
    await service.until_it_is_tried(provider)
    await asyncio.sleep(0.01)
    assert service.state(provider) == "closed"
    await service.close()


@pytest.mark.parametrize("late", [Behaviour(latency=0.19), Behaviour(("error",), latency=0.19)])
@in_virtual_time
async def test_results_that_arrive_after_the_trip_neither_close_nor_lengthen_it(late: Behaviour) -> None:
    service = Service()
    stage = service.stage
    await asyncio.gather(*(service.check(f"t{n}") for n in range(3)))
    service.play.told_to_ask("lifecycle", "t2")
    service.behave("lifecycle", late)
    slow = asyncio.create_task(service.check("t2"))
    await asyncio.sleep(0.001)
    await service.trip("lifecycle")
    waits, at = stage.breakers["lifecycle"].retry_in, stage.clock()
    await slow
    assert stage.clock() > at
    assert service.state("lifecycle") == "open"
    assert waits is not None
    assert stage.breakers["lifecycle"].retry_in == pytest.approx(waits - (stage.clock() - at))
    await service.close()


@pytest.mark.parametrize("hours", [-1.0, 1.0])
def test_the_wall_clock_jumps_an_hour_and_breakers_caches_and_limits_do_not_notice(
    hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_wall_clock_that_jumps(monkeypatch)

    @in_virtual_time
    async def jump() -> None:
        service = Service()
        stage = service.stage
        await service.trip("lifecycle")
        service.play.billing("t1", "ACTIVE", "pro", "put")
        before = await service.check("t1")
        loads = service.loads("billing")
        Wall.jump(hours)
        stage.wall.advance(hours * 3600)
        waits = stage.breakers["lifecycle"].retry_in
        assert waits == pytest.approx(30.0, abs=0.01)
        after = await service.check("t1")
        assert service.loads("billing") == loads
        assert before.facts.rate is not None
        assert after.facts.rate is not None
        assert after.facts.rate.remaining == before.facts.rate.remaining - 1  # had it noticed, it would be as at first
        service.behave("lifecycle", ANSWERS)
        await asyncio.sleep(29.9)
        assert service.state("lifecycle") == "open"
        await asyncio.sleep(0.2)
        assert service.state("lifecycle") == "closed"
        await service.close()

    jump()


@pytest.mark.parametrize("provider", [*OPEN_GATES, "credentials"])
@in_virtual_time
async def test_a_circuit_whose_time_is_up_and_which_sees_no_traffic_is_tried_by_the_service_itself(
    provider: str,
) -> None:
    service = Service()
    await service.trip(provider)
    service.behave(provider, ANSWERS)
    await asyncio.sleep(FULL[provider].reset + 0.01)
    assert service.state(provider) == "closed"
    charged = service.stage.places["provider"].credit.get("t0", 0)
    if provider == "protection":
        assert not charged  # the try charges nobody
    await service.close()


@pytest.mark.parametrize("provider", [*OPEN_GATES, "credentials"])
@in_virtual_time
async def test_an_operator_closes_a_circuit_during_an_outage_it_is_tried_at_once_and_opens_again_by_the_rule(
    provider: str,
) -> None:
    service = Service()
    stage = service.stage
    await service.trip(provider)
    asked = stage.clock()
    service.play.operator(provider, "closed")
    assert stage.clock() == asked
    assert service.state(provider) == "closed"
    failures = FULL[provider].failures
    before = service.loads(provider)
    for number in range(failures):
        assert service.state(provider) == "closed", number
        await service.check()
    assert service.loads(provider) == before + failures
    assert service.state(provider) == "open"
    assert stage.clock() - asked <= 1.0
    await service.check()
    assert service.loads(provider) == before + failures
    await service.close()
