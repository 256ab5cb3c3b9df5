"""What the three fail-open gates share: their settings, and what holds when a provider gives no answer.

The failure mode is applied in `settle` and the mode in `report`, here and nowhere else.
"""

from dataclasses import dataclass, replace
from typing import Final, TypeVar, cast

from extauthz.model.deadline import Clock, Deadline
from extauthz.model.decision import Denial, FallbackReason, Gate, GateReport, Mode, OnFailure, Reason, Source
from extauthz.ports import Fetched, K, Lookup, Unavailable

T = TypeVar("T")

Found = Fetched[T] | Unavailable
"""What a look-up brought: a value, or the reason why there is none."""

DEFAULT_RETRY_MS: Final = 1000
"""When to try again where the provider did not say when it is tried again."""

_ALLOW, _DENY, _WARN, _SKIP = "allow", "deny", "warn", "skip"
# A member of an enum is found through its metaclass on each access; these are read on every check.
_NOTHING: Final = Source.NONE
_DEFAULT: Final = Source.DEFAULT
_ENFORCE: Final = Mode.ENFORCE.value
_BYPASS: Final = "bypass"
_AGELESS: Final = frozenset({Source.NONE, Source.DEFAULT, Source.LOCAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How much a gate may do, and what it answers without its provider and without a last-known state."""

    mode: Mode = Mode.ENFORCE
    on_failure: OnFailure = OnFailure.OPEN


class GateControl:
    """How one gate is set at this moment; may change between any two checks.

    Whether the provider is asked at all (`asked`) is settled first, then how much the answer counts (`enforces`), then what
    holds without an answer (`on_failure`). A bypass comes before the mode. The two are set apart from each other: new
    settings end no bypass, and the end of a bypass brings back the settings of then, not those of its beginning.

    Args:
        gate: whose settings these are.
        settings: how it starts.
    """

    __slots__ = ("asked", "bypassed", "enforces", "gate", "mode", "on_failure", "settings", "skipped")

    def __init__(self, gate: Gate, settings: GateSettings | None = None) -> None:
        self.gate = gate
        self.settings = settings or GateSettings()
        self.bypassed = False
        self._apply()

    def change(self, settings: GateSettings) -> None:
        """Hold `settings` from the next look at this gate on, or from the end of its bypass."""
        self.settings = settings
        self._apply()

    def bypass(self, *, active: bool) -> None:
        """Take the gate out of service, whatever its settings, or put it back, from the next look at it on."""
        self.bypassed = active
        self._apply()

    def _apply(self) -> None:
        settings = self.settings
        self.asked = not self.bypassed and settings.mode is not Mode.OFF
        self.enforces = not self.bypassed and settings.mode is Mode.ENFORCE
        self.on_failure = settings.on_failure
        self.mode = _BYPASS if self.bypassed else settings.mode.value
        self.skipped = GateReport(gate=self.gate, verdict=_SKIP, mode=self.mode)


class Stopwatch:
    """Cuts the time of one check into laps, one per gate."""

    __slots__ = ("_mark", "clock", "started")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.started = self._mark = clock()

    def lap(self) -> float:
        """Seconds since the lap before."""
        now = self.clock()
        seconds = now - self._mark
        self._mark = now
        return seconds


async def ask(lookup: Lookup[K, T], key: K, deadline: Deadline, max_age: float | None = None) -> Found[T]:
    """Look up; a provider that gives no answer is a result here, not an error."""
    try:
        return await lookup.get(key, deadline, max_age)
    except Unavailable as outage:
        return outage


def unavailable(gate: Gate, outage: Unavailable) -> Denial:
    """The 503 of a gate that does not do without its provider."""
    retry = outage.retry_after_ms
    return Denial(
        gate=gate,
        reason=Reason.PROVIDER_UNAVAILABLE,
        retry_after_ms=DEFAULT_RETRY_MS if retry is None else retry,
        note=outage.reason.value,
    )


def settle(
    control: GateControl, found: Found[T], default: T
) -> tuple[Fetched[T], FallbackReason | None, Denial | None]:
    """The failure mode: what stands for the look-up's result, why it had to, and with `closed` the denial it comes to.

    Fresh first, then last known, then what `on_failure` says: `open` is the default value, `closed` a denial. With `closed`
    too the default value stands, for requests that the gate has no right to deny.
    """
    if not isinstance(found, Unavailable):
        return found, None, None
    if found.last_known is not None:
        # An exception class cannot be generic: the look-up that raised it is the one that knows the type of its values.
        known = cast("Fetched[T]", found.last_known)
        return Fetched(value=known.value, source=Source.STALE, age=known.age), found.reason, None
    closed = unavailable(control.gate, found) if control.on_failure is OnFailure.CLOSED else None
    return Fetched(value=default, source=_DEFAULT), found.reason, closed


def report(
    control: GateControl,
    denial: Denial | None,
    source: Source,
    age: float,
    fallback: FallbackReason | None,
    seconds: float,
    *,
    warned: bool = False,
) -> tuple[Denial | None, GateReport]:
    """The mode: the denial if the gate enforces it, and the report; in shadow mode the denial is in the report alone.

    `age` is that of the value, in seconds. Bypassed while the provider was waited for, the gate says nothing of what it found,
    as if it had not been asked.
    """
    if control.bypassed:
        return None, replace(control.skipped, seconds=seconds)
    stands = denial if control.enforces else None
    if stands is not None and stands.reason is Reason.PROVIDER_UNAVAILABLE:
        source = _NOTHING
    made = GateReport(
        gate=control.gate,
        verdict=_DENY if stands is not None else _WARN if warned else _ALLOW,
        mode=control.mode,
        source=source,
        age_ms=None if source in _AGELESS else int(age * 1000),
        seconds=seconds,
        shadow=denial if stands is None else None,
        fallback=fallback,
    )
    return stands, made


def is_degraded(made: GateReport) -> bool:
    """Whether the gate, enforcing, let its answer rest on something else than its provider.

    A gate in shadow is not degraded, for nothing rests on its answer; nor is one that closed, for it gave none.
    """
    return made.fallback is not None and made.mode == _ENFORCE and made.source is not _NOTHING
