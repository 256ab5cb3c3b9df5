"""Which call a circuit's try is (spec section 4), for look-ups and charges: one key that fails must not keep it open for all."""

import asyncio
from typing import cast

from extauthz.errors import ProviderBusy, ProviderError
from extauthz.model.decision import FallbackReason
from extauthz.model.protection import Charge, ChargeResult
from extauthz.ports import CircuitState
from extauthz.testing import in_virtual_time
from tests import guarded
from tests.unit import test_charge_guard as charged

POISON = "poison"
RESET = guarded.RESET


async def but_for_one(key: str) -> str | None:
    if key == POISON:
        await asyncio.Event().wait()
    return await guarded.answers(key)


@in_virtual_time
async def test_one_key_that_hangs_for_ever_does_not_keep_the_circuit_open_for_the_others() -> None:
    world = guarded.World(but_for_one)
    for _ in range(3):
        await world.refused(POISON)
    assert world.state() is CircuitState.OPEN
    await world.refused("a")
    await world.refused(POISON)  # also where it is the last that was asked for
    await asyncio.sleep(RESET + 1)
    assert world.loads == [POISON] * 3 + ["a"]
    assert world.state() is CircuitState.CLOSED
    assert (await world.get("b")).value == "value of b"


@in_virtual_time
async def test_where_nobody_else_was_asked_for_the_key_that_failed_is_tried_again() -> None:
    world = guarded.World(but_for_one)
    for _ in range(3):
        await world.refused(POISON)
    await asyncio.sleep(2 * RESET + 2)
    assert world.loads == [POISON] * 5


@in_virtual_time
async def test_a_try_that_is_called_off_is_made_again_without_any_traffic() -> None:
    world = guarded.World()

    async def busy(_key: str) -> str | None:
        raise ProviderBusy("no connection")

    await world.trip()
    world.behaviour = busy
    await asyncio.sleep(RESET + 0.5)
    assert world.state() is CircuitState.HALF_OPEN
    world.behaviour = guarded.answers
    await asyncio.sleep(1)
    assert world.breaker.state is CircuitState.CLOSED


@in_virtual_time
async def test_a_guard_may_be_closed_twice() -> None:
    world = guarded.World()
    await world.guard.close()
    await world.guard.close()


async def charges_but_for_one(charge: Charge) -> ChargeResult:
    if charge.tenant_id == POISON:
        raise ProviderError("its shard is down")
    return await charged.charges(charge)


@in_virtual_time
async def test_one_tenant_whose_charges_fail_does_not_switch_the_limits_off_for_all() -> None:
    world = charged.World(charges_but_for_one)
    for _ in range(3):
        await world.refused(POISON)
    await world.refused("t")
    await world.refused(POISON)
    await asyncio.sleep(RESET + 1)
    assert (world.provider.seen[-1].tenant_id, world.provider.seen[-1].commit) == ("t", False)
    assert world.state() is CircuitState.CLOSED
    assert await world.charge("t") == charged.CHARGED


@in_virtual_time
async def test_an_answer_that_is_none_is_no_answer_and_counts_as_a_failure() -> None:
    async def nothing(_charge: Charge) -> ChargeResult:
        return cast("ChargeResult", None)

    for in_process in (False, True):
        world = charged.World(nothing, in_process=in_process)
        for _ in range(3):
            assert (await world.refused("t")).reason is FallbackReason.ERROR
        assert world.state() is CircuitState.OPEN
