"""Circuits set by hand, and everything that happens to them told to the event log."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from extauthz.changes.audit import OperationTrail
from extauthz.changes.desk import Desk
from extauthz.errors import NotFound
from extauthz.model.event import EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_ACTOR, SYSTEM_TENANT
from extauthz.model.lifecycle import AuditRecord, Change
from extauthz.ports import CircuitState, CircuitView, WallClock
from extauthz.resilience.breaker import Breaker

_CHANGED: Final = EventType.CIRCUIT_STATE_CHANGED

_log = structlog.get_logger("extauthz.breakers")


class BreakerChanges:
    """Opens and closes the circuits of this process's providers.

    A circuit that was set by hand goes on by its rule: closed, it opens with the failures that come; open, its provider is
    tried when the reset time is over. Each change of a circuit is an event, with the operator as its actor where one made it.

    Args:
        desk: where events go.
        trail: where records go.
        breakers: by the names of their providers.
        wall: Unix seconds.
    """

    def __init__(self, desk: Desk, trail: OperationTrail, *, breakers: Mapping[str, Breaker], wall: WallClock) -> None:
        self._desk = desk
        self._trail = trail
        self._breakers = breakers
        self._wall = wall
        self._by_hand: Change | None = None
        self._opened_by_hand: set[str] = set()
        for breaker in breakers.values():
            breaker.listen(self._changed)

    @property
    def opened_by_hand(self) -> frozenset[str]:
        """The providers whose circuits somebody opened, and which were not tried since."""
        return frozenset(self._opened_by_hand)

    def all(self) -> Sequence[CircuitView]:
        """Every circuit."""
        return tuple(breaker.view() for breaker in self._breakers.values())

    async def open(self, provider: str, change: Change) -> CircuitView:
        """Open a circuit; its reset time begins now. The circuit as it is then.

        Raises:
            NotFound: no such provider.
        """
        return await self._set(provider, CircuitState.OPEN, change)

    async def close(self, provider: str, change: Change) -> CircuitView:
        """Close a circuit, with no failure counted; the next call reaches the provider. The circuit as it is then.

        Raises:
            NotFound: no such provider.
        """
        return await self._set(provider, CircuitState.CLOSED, change)

    async def _set(self, provider: str, state: CircuitState, change: Change) -> CircuitView:
        breaker = self._breakers.get(provider)
        if breaker is None:
            raise NotFound(f"there is no such provider; it is one of {', '.join(self._breakers)}")
        before = breaker.state
        self._by_hand = change
        try:
            breaker.open() if state is CircuitState.OPEN else breaker.close()
        finally:
            self._by_hand = None
        view = breaker.view()
        (self._opened_by_hand.add if state is CircuitState.OPEN else self._opened_by_hand.discard)(provider)
        await self._trail.note(_record(view, before, change))
        return view

    def _changed(self, before: CircuitState, now: CircuitView) -> None:
        if self._by_hand is None:
            self._opened_by_hand.discard(now.provider)
        change = self._by_hand or Change(actor=SYSTEM_ACTOR, reason="", at=self._wall())
        payload = {
            "provider": now.provider,
            "from": before.value,
            "to": now.state.value,
            "last_error": now.last_error,
            "reason": change.reason,
        }
        severity = Severity.WARN if now.state is CircuitState.OPEN else Severity.INFO
        self._desk.emit(_CHANGED, EventSource.SYSTEM, SYSTEM_TENANT, change, payload, severity=severity)


def _record(view: CircuitView, before: CircuitState, change: Change) -> AuditRecord:
    """The record of what was done, which the log has too."""
    actor = f"{change.actor.type.value}:{change.actor.id}"
    _log.warning(
        "circuit_set_by_hand",
        provider=view.provider,
        before=before.value,
        after=view.state.value,
        actor=actor,
        reason=change.reason,
    )
    return AuditRecord(
        tenant_id=SYSTEM_TENANT,
        what=_CHANGED.value,
        before=f"{view.provider}: {before.value}",
        after=f"{view.provider}: {view.state.value}",
        change=change,
    )
