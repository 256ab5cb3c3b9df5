"""What a store must do that knows which replicas are alive (OFFBOARD-006): a part of `SharedStoreContract`."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from extauthz.ports import ReplicaLeases

ONE: Final = "one"
TWO: Final = "two"
PATIENCE: Final = 20.0
"""Seconds after which what should have happened long ago is a failure."""


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds.

    Raises:
        TimeoutError: it does not.
    """
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110 - the store is asked; nothing here could set an event
            await asyncio.sleep(0)


class ReplicaLeasesContract(ABC):
    """The contract of `ports.ReplicaLeases` (OFFBOARD-006)."""

    @abstractmethod
    def opened_twice(self) -> AbstractAsyncContextManager[tuple[ReplicaLeases, ReplicaLeases]]:
        """Two stores with the origins `one` and `two` over one empty database, closed at the end."""

    async def test_offboard_006_who_has_not_seen_a_change_is_behind(self) -> None:
        """Whoever asks; who has seen it, or a later one, is not."""
        async with self.opened_twice() as (one, two):
            assert not await one.replicas_behind(5)
            await one.renew_lease("a", 4, 60)
            await two.renew_lease("b", 5, 60)
            await two.renew_lease("c", 6, 60)
            await two.renew_lease("d", 0, 60)
            for store in (one, two):
                assert sorted(await store.replicas_behind(5)) == ["a", "d"]
                assert not await store.replicas_behind(0)
                assert len(await store.replicas_behind(7)) == 4  # noqa: PLR2004 - all of them

    async def test_offboard_006_a_renewed_lease_says_how_far_its_replica_is_now(self) -> None:
        """It replaces what was said before."""
        async with self.opened_twice() as (one, two):
            await one.renew_lease(ONE, 1, 60)
            assert list(await two.replicas_behind(2)) == [ONE]
            await one.renew_lease(ONE, 2, 60)
            assert not await two.replicas_behind(2)
            assert list(await two.replicas_behind(3)) == [ONE]

    async def test_offboard_006_who_has_ended_is_not_waited_for(self) -> None:
        """Ending again, or without having begun, is nothing; the others stay; one that comes back counts again."""
        async with self.opened_twice() as (one, two):
            await one.renew_lease(ONE, 1, 60)
            await two.renew_lease(TWO, 1, 60)
            for _ in range(2):
                await one.end_lease(ONE)
                await one.end_lease("never was")
                assert list(await two.replicas_behind(9)) == [TWO]
            await one.renew_lease(ONE, 1, 60)
            assert sorted(await two.replicas_behind(9)) == [ONE, TWO]

    async def test_offboard_006_a_lease_that_is_not_renewed_runs_out(self) -> None:
        """And lives again once it is renewed."""
        async with self.opened_twice() as (one, two):
            await two.renew_lease(TWO, 1, 60)
            await one.renew_lease(ONE, 1, 0.05)

            async def ran_out() -> bool:
                return list(await two.replicas_behind(9)) == [TWO]

            await until(ran_out)
            await one.renew_lease(ONE, 1, 60)
            assert sorted(await two.replicas_behind(9)) == [ONE, TWO]

    async def test_offboard_006_the_last_word_on_a_lease_holds(self) -> None:
        """A shorter one shortens it: nobody is waited for longer than it said itself."""
        async with self.opened_twice() as (one, two):
            await one.renew_lease(ONE, 1, 60)
            await one.renew_lease(ONE, 1, 0.05)

            async def ran_out() -> bool:
                return not await two.replicas_behind(9)

            await until(ran_out)
