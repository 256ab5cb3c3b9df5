"""The configuration in force, and how another one takes its place while checks go on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import uuid_utils

from extauthz.admin import LastReload
from extauthz.config import Config, InvalidConfig, differences, is_reloaded, taken_over
from extauthz.errors import ConfigError
from extauthz.model.billing import PlanBook
from extauthz.model.event import Event, EventSource, EventType, Severity
from extauthz.model.identity import SYSTEM_ACTOR, SYSTEM_TENANT
from extauthz.pipeline import Pipeline, RuleBook
from extauthz.ports import EventSink, WallClock
from extauthz.server.check import Checker
from extauthz.telemetry.metrics import Metrics
from extauthz.telemetry.text import mask
from extauthz.wiring.decider import rule_book

NAMED: Final = 20
"""Paths that one line of the log, or one event, names."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A configuration that only needs to be taken over.

    `changed` are the paths of what it brings, `restart` of what it says in vain until then, `gone` the plans that it lacks.
    """

    config: Config
    book: RuleBook
    changed: tuple[str, ...]
    restart: tuple[str, ...]
    gone: tuple[str, ...]


def prepared(running: Config, given: Config) -> Prepared:
    """What `given` changes of `running`. Takes a while where there is much of it, and touches nothing."""
    paths = differences(running, given)
    config = taken_over(running, given)
    return Prepared(
        config=config,
        book=rule_book(config),
        changed=tuple(path for path in paths if is_reloaded(path)),
        restart=tuple(path for path in paths if not is_reloaded(path)),
        gone=tuple(plan for plan in running.plans if plan not in config.plans),
    )


class Live:
    """Holds the configuration in force and tells what became of each reload: log, metric, event, `/health`.

    `forget_refused` drops what is remembered of refusals under limits that may be others now.
    """

    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        checker: Checker,
        *,
        forget_refused: Callable[[], None],
        metrics: Metrics,
        events: EventSink,
        wall: WallClock = time.time,
    ) -> None:
        self.config = config
        self.plans: PlanBook = config.plan_book()
        self.last: LastReload | None = None
        self._pipeline = pipeline
        self._checker = checker
        self._forget_refused = forget_refused
        self._metrics = metrics
        self._events = events
        self._wall = wall

    def take(self, new: Prepared) -> None:
        """Put it in force: at once for every check that comes from now on, and for none that is under way."""
        if new.changed:
            self._pipeline.change(new.book)
            self._checker.change(draft_headers=new.config.gates.protection.draft_headers)
            self._forget_refused()
            self.config, self.plans = new.config, new.book.plans
        self._metrics.reloaded(success=True)
        self.last = LastReload(at=self._wall(), result="success", error=None, needs_restart=new.restart)
        _tell(new)
        if new.changed:
            payload: dict[str, object] = {"result": "success", "changed": _some(new.changed)}
            payload |= {"needs_restart": _some(new.restart), "plans_gone": _some(new.gone)}
            self._emit(Severity.INFO, payload)

    def refuse(self, error: ConfigError) -> None:
        """Nothing of it holds: everything stays as it is. The log and the event say why; `/health`, which anybody may ask, where."""
        text = mask(str(error))
        summary = error.summary if isinstance(error, InvalidConfig) else "the configuration could not be read"
        self._metrics.reloaded(success=False)
        restart = () if self.last is None else self.last.needs_restart
        self.last = LastReload(
            at=self._wall(), result="failure", error=f"{summary}; see the log", needs_restart=restart
        )
        _log.error("config_not_reloaded", detail=text)
        self._emit(Severity.ERROR, {"result": "failure", "error": text})

    def _emit(self, severity: Severity, payload: dict[str, object]) -> None:
        self._events.emit(
            Event(
                event_id=str(uuid_utils.uuid7()),
                type=EventType.CONFIG_RELOADED,
                source=EventSource.SYSTEM,
                tenant_id=SYSTEM_TENANT,
                timestamp=self._wall(),
                severity=severity,
                actor=SYSTEM_ACTOR,
                payload=payload,
            )
        )


def _tell(new: Prepared) -> None:
    _log.info("config_reloaded", changed=_some(new.changed))
    if new.restart:
        _log.warning("attention", detail=f"needs a restart: {', '.join(_some(new.restart))}")
    if new.gone:
        text = "plans that are gone: {}; tenants on them are counted and not limited, `extauthz db check` names them"
        _log.warning("attention", detail=text.format(", ".join(_some(new.gone))))


def _some(paths: Sequence[str]) -> list[str]:
    """The first of them, and how many more there are."""
    more = len(paths) - NAMED
    return [*paths[:NAMED], *([f"and {more} more"] if more > 0 else [])]
