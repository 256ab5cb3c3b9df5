"""Who is not ACTIVE: the set, what makes it complete, and what it does for a guard in an outage (spec section 4)."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Self

import pytest
import structlog

from extauthz.changes.blocked import BlockedTenants
from extauthz.changes.blocked_sweep import EVERY, PAGE, BlockedSweep
from extauthz.errors import NotSupported, ProviderError
from extauthz.model.decision import Source
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import Fetched
from extauthz.testing import FakeClock, in_virtual_time
from extauthz.testing.clock import run_virtual


def record(state: str = "TERMINATED") -> LifecycleRecord:
    return LifecycleRecord(state=LifecycleState(state), onboarding=Onboarding.COMPLETE)


def states(known: BlockedTenants) -> dict[str, str]:
    return {tenant_id: blocked.record.state.value for tenant_id, blocked in known.kept()}


class Told:
    """How often a set told that it changed."""

    def __init__(self, known: BlockedTenants) -> None:
        self.times = 0
        known.listen(self.listen)

    def listen(self) -> None:
        self.times += 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def known(clock: FakeClock) -> BlockedTenants:
    return BlockedTenants(clock=clock, most=100)


def test_who_is_not_active_enters_and_who_is_again_leaves(known: BlockedTenants) -> None:
    for state in LifecycleState:
        known.learned(state.value, record(state))
    assert sorted(states(known)) == ["ARCHIVED", "SUSPENDED", "TERMINATED"]
    known.learned("SUSPENDED", record("ACTIVE"))
    assert "SUSPENDED" not in known
    assert known.recall("SUSPENDED") is None
    assert len(known) == 2


def test_who_is_said_not_to_exist_does_not_come_in_by_that(known: BlockedTenants) -> None:
    known.learned("a", record())
    known.learned("a", None)
    known.learned("b", None)
    assert states(known) == {"a": "TERMINATED"}


def test_what_is_recalled_is_stale_and_has_its_true_age(known: BlockedTenants, clock: FakeClock) -> None:
    known.learned("a", record())
    clock.advance(1_000_000)
    assert known.recall("a") == Fetched(value=record(), source=Source.STALE, age=1_000_000)
    known.learned("a", record())
    clock.advance(1)
    assert known.recall("a") == Fetched(value=record(), source=Source.STALE, age=1)


def test_it_changes_with_the_set_or_a_state_and_not_when_a_state_is_heard_again(known: BlockedTenants) -> None:
    told = Told(known)
    for times, (tenant_id, state) in enumerate([("a", "SUSPENDED"), ("a", "TERMINATED"), ("b", "SUSPENDED")], 1):
        known.learned(tenant_id, record(state))
        known.learned(tenant_id, record(state))
        known.learned("never", record("ACTIVE"))
        assert (known.changes, told.times) == (times, times)
    known.learned("b", record("ACTIVE"))
    assert told.times == 4


def test_what_was_kept_is_taken_over_with_its_age_but_not_over_what_was_learned(known: BlockedTenants) -> None:
    known.learned("a", record("SUSPENDED"))
    known.restore([("a", record(), 5.0), ("b", record(), 3600.0)])
    assert states(known) == {"a": "SUSPENDED", "b": "TERMINATED"}
    recalled = known.recall("b")
    assert recalled is not None
    assert recalled.age == 3600


def test_it_is_bounded_and_says_so_once(clock: FakeClock) -> None:
    known = BlockedTenants(clock=clock, most=3)
    with structlog.testing.capture_logs() as logs:
        for number in range(10):
            known.learned(f"t{number}", record())
            known.learned("t0", record())  # heard of all the time
    assert sorted(states(known)) == ["t0", "t8", "t9"]
    assert [line["event"] for line in logs] == ["blocked_tenants_too_many"]


# Sweeps


class Store:
    """Lists what it has; `down` is what it raises, `hold` what it waits for after it has read."""

    def __init__(self, blocked: dict[str, LifecycleRecord]) -> None:
        self.blocked = blocked
        self.asked: list[str] = []
        self.down: Exception | None = None
        self.hold: Callable[[], object] = lambda: None

    async def blocked_tenants(self, after: str = "", limit: int = 1000) -> Sequence[tuple[str, LifecycleRecord | None]]:
        self.asked.append(after)
        if self.down is not None:
            raise self.down
        page = sorted((key, value) for key, value in self.blocked.items() if key > after)[:limit]
        self.hold()
        await asyncio.sleep(0.01)
        return page


class Sweeping:
    """A set and its sweep, in virtual time."""

    def __init__(self, blocked: dict[str, LifecycleRecord], most: int = 100_000) -> None:
        self.known = BlockedTenants(clock=asyncio.get_running_loop().time, most=most)
        self.store = Store(blocked)
        self.sweep = BlockedSweep(store=self.store, known=self.known, most=most, spread=lambda: 0.5)

    async def __aenter__(self) -> Self:
        self.sweep.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.sweep.close()


@in_virtual_time
async def test_the_set_is_complete_soon_after_the_start_without_anybody_being_asked_for() -> None:
    async with Sweeping({"a": record(), "b": record("SUSPENDED")}) as at:
        await asyncio.sleep(1)
        assert states(at.known) == {"a": "TERMINATED", "b": "SUSPENDED"}
        assert at.store.asked == [""]


@in_virtual_time
async def test_who_was_kept_and_is_active_in_the_store_leaves() -> None:
    async with Sweeping({"b": record()}) as at:
        at.known.restore([("a", record("SUSPENDED"), 10.0), ("b", record("SUSPENDED"), 10.0)])
        await asyncio.sleep(1)
        assert states(at.known) == {"b": "TERMINATED"}


@in_virtual_time
async def test_what_is_learned_during_a_sweep_is_newer() -> None:
    async with Sweeping({"a": record("SUSPENDED"), "b": record("SUSPENDED")}) as at:

        def change() -> None:
            at.known.learned("a", record("ACTIVE"))
            at.known.learned("b", record("TERMINATED"))
            at.known.learned("new", record("SUSPENDED"))

        at.store.hold = change
        await asyncio.sleep(1)
        assert states(at.known) == {"b": "TERMINATED", "new": "SUSPENDED"}


@in_virtual_time
async def test_a_sweep_goes_page_by_page() -> None:
    many = {f"t{number:05}": record() for number in range(2 * PAGE + 1)}
    async with Sweeping(many) as at:
        at.known.restore([("gone", record(), 1.0), ("zone", record(), 1.0)])
        await asyncio.sleep(2)
        assert states(at.known).keys() == many.keys()
        assert at.store.asked == ["", "t00999", "t01999"]


@in_virtual_time
async def test_a_sweep_is_bounded_and_says_nothing_of_those_it_did_not_come_to() -> None:
    many = {f"t{number:05}": record() for number in range(3 * PAGE)}
    async with Sweeping(many, most=2 * PAGE) as at:
        at.known.restore([("a", record(), 1.0), ("zone", record(), 1.0)])
        await asyncio.sleep(2)
        assert len(at.store.asked) == 2
        assert "a" not in at.known
        assert len(at.known) <= 2 * PAGE


@in_virtual_time
async def test_it_is_swept_again_now_and_then_and_when_changes_may_have_been_missed() -> None:
    async with Sweeping({}) as at:
        await asyncio.sleep(10)
        at.store.blocked["a"] = record()
        at.known.doubt()
        await asyncio.sleep(1)
        assert (len(at.store.asked), states(at.known)) == (2, {"a": "TERMINATED"})
        at.store.blocked["b"] = record()
        await asyncio.sleep(EVERY + 1)
        assert (len(at.store.asked), sorted(states(at.known))) == (3, ["a", "b"])


@in_virtual_time
async def test_a_store_that_fails_is_tried_again_at_growing_distances_and_nobody_leaves() -> None:
    async with Sweeping({}) as at:
        at.known.restore([("a", record(), 1.0)])
        at.store.down = ProviderError("down")
        with structlog.testing.capture_logs() as logs:
            await asyncio.sleep(300)
        assert [line["event"] for line in logs] == ["blocked_tenants_not_listed"]
        assert 10 <= len(at.store.asked) <= 25
        assert "a" in at.known
        at.store.down = None
        await asyncio.sleep(31)
        assert "a" not in at.known


@in_virtual_time
async def test_a_store_that_hangs_is_not_waited_for_for_ever() -> None:
    async with Sweeping({"a": record()}) as at:
        held = asyncio.Event()

        async def hangs(after: str = "", limit: int = 1000) -> Sequence[tuple[str, LifecycleRecord | None]]:  # noqa: ARG001 - the port's
            await held.wait()
            return ()

        answers, at.store.blocked_tenants = at.store.blocked_tenants, hangs  # type: ignore[method-assign]
        await asyncio.sleep(11)
        at.store.blocked_tenants = answers  # type: ignore[method-assign]
        await asyncio.sleep(31)
        assert "a" in at.known


@in_virtual_time
async def test_a_store_that_cannot_tell_is_left_alone() -> None:
    async with Sweeping({}) as at:
        at.store.down = NotSupported("it can be asked for one at a time")
        await asyncio.sleep(10_000)
        assert at.store.asked == [""]


def test_a_sweep_that_never_began_can_be_closed() -> None:
    async def closed() -> None:
        await Sweeping({}).sweep.close()

    run_virtual(closed())
