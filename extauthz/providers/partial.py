"""Providers that can be asked but not changed: what they lack is made up for by refusing it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, cast

from extauthz.errors import NotSupported
from extauthz.model.billing import BillingRecord
from extauthz.model.lifecycle import AuditRecord
from extauthz.ports import BillingProvider, StateStore

AT_ONCE: Final = 32
"""Look-ups under way at once where many are wanted of a provider that answers one at a time."""


class Completed:
    """A provider with every method of the stores: its own where it has them, the others refuse with `NotSupported`.

    A trail that is not kept is an empty one, and uses of keys that nobody wants to know of are forgotten.
    """

    def __init__(self, provider: object, scheme: str) -> None:
        self._provider = provider
        self._scheme = scheme

    def __getattr__(self, name: str) -> Any:
        """The provider's own, else a coroutine function that refuses."""
        if name.startswith("_"):
            raise AttributeError(name)
        own = getattr(self._provider, name, None)
        return own if callable(own) else _SILENT.get(name, self._refuse)

    async def find_standings(self, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
        """The records of many tenants."""
        own = getattr(self._provider, "find_standings", None)
        provider = cast("BillingProvider", self._provider)
        return await (own(tenant_ids) if callable(own) else standings_one_by_one(provider, tenant_ids))

    async def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise NotSupported(f"a {self._scheme}: provider can be asked, but not changed, from here")


async def standings_one_by_one(provider: BillingProvider, tenant_ids: Sequence[str]) -> Mapping[str, BillingRecord]:
    """The records of many tenants, from a provider that knows no call for many; those that have none are not in it."""
    found: dict[str, BillingRecord] = {}
    for start in range(0, len(tenant_ids), AT_ONCE):
        some = tenant_ids[start : start + AT_ONCE]
        records = await asyncio.gather(*(provider.find_billing(tenant_id) for tenant_id in some))
        found |= {tenant_id: record for tenant_id, record in zip(some, records, strict=True) if record is not None}
    return found


async def _no_history(_tenant_id: str) -> Sequence[AuditRecord]:
    return ()


async def _forget(_values: object) -> None:
    """Nothing to keep."""


async def _none_planned() -> Sequence[object]:
    return ()


_SILENT: Final[Mapping[str, Any]] = {
    "history": _no_history,
    "record_uses": _forget,
    "planned_terminations": _none_planned,
}


def completed(provider: object, scheme: str) -> StateStore:
    """`provider` as a store of whatever kind; see `Completed`."""
    return cast("StateStore", Completed(provider, scheme))
