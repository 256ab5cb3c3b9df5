"""What every lifecycle, billing or credential provider must do that is asked and not changed through this service.

Subclass the contract of your kind in a test module, and say how to open a provider that knows these records and no others:

    class TestMine(BillingLookupContract):
        @asynccontextmanager
        async def opened(self, records: Mapping[str, BillingRecord]) -> AsyncIterator[BillingProvider]:
            ...

The suites need no fixtures; their coroutines run under pytest-asyncio (`asyncio_mode = auto`) or any runner of the kind.
Providers that can be changed have longer ones: `contracts_stores`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import product
from typing import Final, Generic, TypeVar

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.ports import BillingProvider, CredentialProvider, LifecycleProvider
from extauthz.testing.contracts_values import ACME, HOSTILE_IDS, NOW, a_key

P = TypeVar("P")
R = TypeVar("R")

Find = Callable[[str], Awaitable[R | None]]

AT_ONCE: Final = 64


class _LookupContract(ABC, Generic[P, R]):
    """What the three kinds have in common."""

    @abstractmethod
    def opened(self, records: Mapping[str, R]) -> AbstractAsyncContextManager[P]:
        """A provider, ready for use, that knows these records and no others; closed at the end."""

    @abstractmethod
    def examples(self) -> dict[str, R]:
        """Records with every value there is."""

    @abstractmethod
    def find(self, provider: P) -> Find[R]:
        """The look-up."""

    async def test_every_record_is_found_as_it_is(self) -> None:
        """With every field."""
        records = self.examples()
        async with self.opened(records) as provider:
            for record_id, record in records.items():
                assert await self.find(provider)(record_id) == record, record_id

    async def test_who_is_not_known_is_an_answer(self) -> None:
        """None, not an error: also for an id that is almost one, or made to break a query."""
        async with self.opened({ACME: next(iter(self.examples().values()))}) as provider:
            for other in HOSTILE_IDS:
                assert await self.find(provider)(other) is None, other

    async def test_many_at_once_get_each_their_own(self) -> None:
        """No answer goes to another one's question."""
        records = self.examples()
        ids = [*records, "nobody"]
        async with self.opened(records) as provider:
            asked = [ids[number % len(ids)] for number in range(AT_ONCE)]
            found = await asyncio.gather(*(self.find(provider)(record_id) for record_id in asked))
            assert found == [records.get(record_id) for record_id in asked]

    async def test_a_caller_that_leaves_does_no_harm(self) -> None:
        """Whenever it leaves, those after it get their answers."""
        records = self.examples()
        record_id, record = next(iter(records.items()))
        async with self.opened(records) as provider:
            for steps in range(5):
                leaving = asyncio.ensure_future(self.find(provider)(record_id))
                for _ in range(steps):
                    await asyncio.sleep(0)
                leaving.cancel()
                await asyncio.wait({leaving})
                assert await self.find(provider)(record_id) == record


class LifecycleLookupContract(_LookupContract[LifecycleProvider, LifecycleRecord]):
    """The contract of `ports.LifecycleProvider`."""

    def examples(self) -> dict[str, LifecycleRecord]:
        """Every state, before and after onboarding."""
        return {
            f"{state.value}-{onboarding.value}": LifecycleRecord(state=state, onboarding=onboarding)
            for state, onboarding in product(LifecycleState, Onboarding)
        }

    def find(self, provider: LifecycleProvider) -> Find[LifecycleRecord]:
        """`find_lifecycle`."""
        return provider.find_lifecycle


class BillingLookupContract(_LookupContract[BillingProvider, BillingRecord]):
    """The contract of `ports.BillingProvider`."""

    def examples(self) -> dict[str, BillingRecord]:
        """Every state, with a plan and on the default one."""
        return {
            f"{state.value}-{plan_id}": BillingRecord(state=state, plan_id=plan_id)
            for state, plan_id in product(BillingState, ("pro", None))
        }

    def find(self, provider: BillingProvider) -> Find[BillingRecord]:
        """`find_billing`."""
        return provider.find_billing


class CredentialLookupContract(_LookupContract[CredentialProvider, ApiKey]):
    """The contract of `ports.CredentialProvider`."""

    def examples(self) -> dict[str, ApiKey]:
        """A key with nothing that may be missing, one with everything, an expired and a revoked one."""
        keys = (
            a_key("plain"),
            replace(a_key("full", scopes=frozenset({"read", "write"})), expires_at=NOW + 1, last_used_at=NOW + 0.5),
            replace(a_key("expired"), expires_at=NOW - 1),
            replace(a_key("revoked"), revoked_at=NOW - 1),
        )
        return {key.key_id: key for key in keys}

    def find(self, provider: CredentialProvider) -> Find[ApiKey]:
        """`find_key`."""
        return provider.find_key
