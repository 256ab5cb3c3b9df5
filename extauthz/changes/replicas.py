"""Whether every replica blocks a terminated tenant (OFFBOARD-006)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from extauthz.errors import NotSupported
from extauthz.ports import ChangeLog, ReplicaLeases
from extauthz.resilience.bounded import within

T = TypeVar("T")

CONFIRM_SECONDS: Final = 5.0
"""How long replicas have to confirm before a termination is reported with those that have not."""

POLL_EVERY: Final = 0.05
ASK_SECONDS: Final = 1.0
"""For one question to the store."""

UNKNOWN: Final = ("unknown",)
"""In place of names where the store could not be asked: the termination holds, who has seen it is not known."""

_log = structlog.stdlib.get_logger(__name__)


class Replicas:
    """The replicas that share the lifecycle store, as this one (`replica`) sees them."""

    def __init__(self, *, log: ChangeLog, leases: ReplicaLeases, replica: str) -> None:
        self._log = log
        self._leases = leases
        self._replica = replica

    async def unconfirmed(self) -> tuple[str, ...]:
        """Wait until all with a live lease have seen what was changed so far; who has not after `CONFIRM_SECONDS`.

        Empty where they all have, or the store knows of no replicas. Never raises: what was changed is changed.
        """
        behind = list(UNKNOWN)
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                seq = await _answer(self._log.last_change)
                while behind:
                    names = await _answer(lambda: self._leases.replicas_behind(seq))
                    behind[:] = [name for name in names if name != self._replica]
                    await asyncio.sleep(POLL_EVERY if behind else 0)
        except NotSupported:
            return ()
        except TimeoutError:
            _log.warning("replicas_not_confirmed", replicas=behind, waited_s=CONFIRM_SECONDS)
        return tuple(behind)


async def _answer(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What the store answers, asked again until it does."""
    while True:
        try:
            return await within(ASK_SECONDS, ask())
        except NotSupported:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the store of a third party raises, the termination is done
            _log.debug("replicas_not_known", error=str(error))
            await asyncio.sleep(POLL_EVERY)
