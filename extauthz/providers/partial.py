"""Providers that can be asked but not changed: what they lack is made up for by refusing it."""

from collections.abc import Sequence
from typing import Any, NoReturn, cast

from extauthz.errors import NotSupported
from extauthz.model.lifecycle import AuditRecord
from extauthz.ports import StateStore

LOOK_UPS = {"lifecycle": "find_lifecycle", "billing": "find_billing", "credentials": "find_key"}
"""The one method that each kind of provider has in any case."""


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
        return own if callable(own) else _SILENT.get(name) or self._refuse

    async def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise NotSupported(f"a {self._scheme}: provider can be asked, but not changed, from here")


async def _no_history(_tenant_id: str) -> Sequence[AuditRecord]:
    return ()


async def _forget(_values: object) -> None:
    """Nothing to keep."""


async def _none_planned() -> Sequence[object]:
    return ()


_SILENT: dict[str, Any] = {
    "history": _no_history,
    "record_uses": _forget,
    "planned_terminations": _none_planned,
}


def completed(provider: object, scheme: str) -> StateStore:
    """`provider` as a store of whatever kind; see `Completed`."""
    return cast("StateStore", Completed(provider, scheme))
