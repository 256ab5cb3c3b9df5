"""The circuit around writing to the event store."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from extauthz.resilience.bounded import within
from extauthz.resilience.breaker import Breaker, CircuitOpen, Permit
from extauthz.resilience.probe import Probe


class EventCircuit:
    """Gives leave to write a batch. Where no event comes, it asks the store by itself whether it is back.

    `ask` asks the store for anything at all; `timeout` is how long that may take, in seconds.
    """

    def __init__(self, breaker: Breaker, ask: Callable[[], Coroutine[Any, Any, object]], timeout: float) -> None:
        self._breaker = breaker
        self._ask = ask
        self._timeout = timeout
        self._asking: asyncio.Task[None] | None = None
        self._probe = Probe(breaker, self._try_again)

    def permit(self) -> Permit | None:
        """Leave to write; None while the circuit is open."""
        try:
            return self._breaker.permit()
        except CircuitOpen:
            return None

    def close(self) -> None:
        """Ask no more by itself."""
        self._probe.close()
        if self._asking is not None:
            self._asking.cancel()

    def _try_again(self) -> None:
        permit = self.permit()
        if permit is not None:
            self._asking = asyncio.get_running_loop().create_task(self._asked(permit))

    async def _asked(self, permit: Permit) -> None:
        try:
            await within(self._timeout, self._ask())
        except Exception as error:  # noqa: BLE001 - whatever the store of a third party raises, it gave no answer
            permit.failed(error)
        else:
            permit.succeeded()
        finally:
            permit.released()
