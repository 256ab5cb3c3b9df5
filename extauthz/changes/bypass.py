"""The emergency bypass of a gate: set, lifted, over (spec sections 3.7 and 4). Nothing of it waits for a provider."""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from extauthz.changes.audit import OperationTrail
from extauthz.changes.desk import Desk
from extauthz.errors import BypassRefused, NotFound
from extauthz.gates.base import GateControl
from extauthz.gates.bypass import Bypass, Bypasses
from extauthz.model.decision import Gate
from extauthz.model.event import EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_ACTOR, SYSTEM_TENANT
from extauthz.model.lifecycle import AuditRecord, Change
from extauthz.ports import WallClock

TIME_OVER: Final = "its time is over"
PROCESS_OVER: Final = "the process ended"
INACTIVE: Final = "inactive"
_NO_AUTH: Final = "there is no bypass for auth: without it nobody would know who is calling"

_log = structlog.get_logger("extauthz.bypass")


class BypassChanges:
    """Sets and lifts bypasses; each beginning and each end leaves an audit record, an event, a line in the log and a metric.

    Args:
        desk: where events go.
        trail: where records go.
        controls: of the gates that may be bypassed.
        by_environment: gates that the environment bypasses, each with the name of the variable.
        told: told of a gate and whether it is bypassed now, for the metric.
        wall: Unix seconds.
    """

    def __init__(
        self,
        desk: Desk,
        trail: OperationTrail,
        *,
        controls: Mapping[Gate, GateControl],
        by_environment: Mapping[Gate, str],
        told: Callable[[Gate, bool], None],
        wall: WallClock,
    ) -> None:
        self._desk = desk
        self._trail = trail
        self._bypasses = Bypasses(controls, self._over)
        self._by_environment = by_environment
        self._told = told
        self._wall = wall

    def start(self) -> None:
        """Bypass what the environment says, without an end."""
        for gate, variable in self._by_environment.items():
            change = Change(actor=SYSTEM_ACTOR, reason=f"{variable} is set in the environment", at=self._wall())
            self._bypasses.begin(gate, None, change)
            self._trail.note_later(self._done(gate, INACTIVE, change))

    def close(self) -> None:
        """Watch the time no more, and say of each bypass that it ends with the process, for it does."""
        self._bypasses.close()
        for bypass in self._bypasses.all():
            if bypass.active:
                self._ended(bypass.gate, PROCESS_OVER)

    def all(self) -> tuple[Bypass, ...]:
        """How each gate stands."""
        return self._bypasses.all()

    async def begin(self, name: str, seconds: float, change: Change) -> Bypass:
        """Bypass a gate for `seconds` from now, whatever was left of a bypass before.

        Raises:
            NotFound: no such gate.
            BypassRefused: auth, or a gate that the environment bypasses.
        """
        gate = self._changeable(name)
        before = self._words(gate)
        self._bypasses.begin(gate, seconds, change)
        made = self._bypasses.of(gate)
        await self._trail.note(self._done(gate, before, change))
        return made

    async def end(self, name: str, change: Change) -> Bypass:
        """Put a gate back in service. Where it is, there is a record all the same, and no event.

        Raises:
            NotFound: no such gate.
            BypassRefused: auth, or a gate that the environment bypasses.
        """
        gate = self._changeable(name)
        before = self._words(gate)
        self._bypasses.end(gate)
        made = self._bypasses.of(gate)
        await self._trail.note(self._done(gate, before, change))
        return made

    def _over(self, gate: Gate) -> None:
        self._ended(gate, TIME_OVER)

    def _ended(self, gate: Gate, reason: str) -> None:
        self._bypasses.end(gate)
        change = Change(actor=SYSTEM_ACTOR, reason=reason, at=self._wall())
        self._trail.note_later(self._done(gate, "active", change))

    def _changeable(self, name: str) -> Gate:
        if name == Gate.AUTH:
            raise BypassRefused(_NO_AUTH)
        gates = {bypass.gate.value: bypass.gate for bypass in self._bypasses.all()}
        if name not in gates:
            raise NotFound(f"there is no such gate; it is one of {', '.join(gates)}")
        variable = self._by_environment.get(gates[name])
        if variable is not None:
            detail = f"{name} is bypassed by {variable} in the environment, without an end; take it out and restart"
            raise BypassRefused(detail)
        return gates[name]

    def _words(self, gate: Gate) -> str:
        """How a gate stands, as an audit record says it."""
        bypass = self._bypasses.of(gate)
        if not bypass.active:
            return INACTIVE
        return "active" if bypass.remaining is None else f"active for {bypass.remaining:.0f} s"

    def _done(self, gate: Gate, before: str, change: Change) -> AuditRecord:
        """Tell log, metric and event of what was done; the record of it."""
        after = self._words(gate)
        active = after != INACTIVE
        self._told(gate, active)
        tell = _log.warning if active else _log.info
        actor = f"{change.actor.type.value}:{change.actor.id}"
        tell("gate_bypass_changed", gate=gate.value, before=before, after=after, actor=actor, reason=change.reason)
        if active or before != INACTIVE:
            self._emit(gate, change, active=active)
        return AuditRecord(
            tenant_id=SYSTEM_TENANT,
            what=EventType.GATE_BYPASS_CHANGED.value,
            before=f"{gate.value}: {before}",
            after=f"{gate.value}: {after}",
            change=change,
        )

    def _emit(self, gate: Gate, change: Change, *, active: bool) -> None:
        left = self._bypasses.of(gate).remaining
        payload = {
            "gate": gate.value,
            "active": active,
            "ttl_ms": None if left is None else round(left * 1000),
            "reason": change.reason,
        }
        severity = Severity.WARN if active else Severity.INFO
        self._desk.emit(
            EventType.GATE_BYPASS_CHANGED, EventSource.SYSTEM, SYSTEM_TENANT, change, payload, severity=severity
        )
