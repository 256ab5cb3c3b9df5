"""Changes of circuits become events."""

import time
from collections.abc import Mapping

import uuid_utils

from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_ACTOR, SYSTEM_TENANT
from extauthz.ports import CircuitState, CircuitView, EventSink
from extauthz.resilience.breaker import Breaker


def tell_circuits(breakers: Mapping[str, Breaker], events: EventSink) -> None:
    """Emit `circuit_state_changed` for each change of each breaker."""

    def changed(before: CircuitState, now: CircuitView) -> None:
        events.emit(
            Event(
                event_id=str(uuid_utils.uuid7()),
                type=EventType.CIRCUIT_STATE_CHANGED,
                source=EventSource.SYSTEM,
                tenant_id=SYSTEM_TENANT,
                timestamp=time.time(),
                severity=Severity.WARN if now.state is CircuitState.OPEN else Severity.INFO,
                actor=SYSTEM_ACTOR,
                payload={
                    "provider": now.provider,
                    "from": before.value,
                    "to": now.state.value,
                    "last_error": now.last_error,
                },
            )
        )

    for breaker in breakers.values():
        breaker.listen(changed)
