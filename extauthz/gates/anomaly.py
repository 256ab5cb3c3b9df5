"""Anomaly detection: a tenant's requests in a window of five minutes against what is usual for that tenant.

It only ever signals (ABUSE-003): nothing here can be turned into a denial, and forgetting a tenant costs nothing but its
baseline. In process and without I/O.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf
from typing import Final

WINDOW: Final = 300.0
"""Length of a window in seconds."""

WEIGHT: Final = 0.25
"""Share of the newest complete window in the baseline: a new level is taken for usual after about an hour."""


class AnomalySeverity(StrEnum):
    """How far above the baseline (metric label of `protection_anomaly_signals_total`)."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A tenant sends far more than it used to. `count` requests in this window, `baseline` requests in a usual one."""

    tenant_id: str
    severity: AnomalySeverity
    count: int
    baseline: float


class _Track:
    """One tenant's window. `signal_at` is the count that is worth a signal next."""

    __slots__ = ("baseline", "count", "critical_at", "signal_at", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.count = 0
        self.baseline = 0.0
        self.critical_at = self.signal_at = inf  # without a baseline nothing is unusual


class AnomalyDetector:
    """Counts requests and signals when a tenant leaves its baseline.

    The baseline is the moving average (EWMA) of the tenant's earlier windows; a tenant's first window has none and is silent.
    Only windows with requests count, so that a tenant which rests at night is not conspicuous every morning. A signal is
    given the moment the count reaches `warning` or `critical` times the baseline, and at least `min_count`; in one window
    only a higher severity than the one given is signalled again.

    Args:
        max_tenants: how many tenants are followed; beyond it the one not seen for longest is forgotten.
        min_count: requests in a window below which nothing is conspicuous, whatever the baseline.
        warning: multiple of the baseline for `warning`.
        critical: multiple of the baseline for `critical`.
    """

    def __init__(
        self, *, max_tenants: int = 100_000, min_count: int = 100, warning: float = 3.0, critical: float = 10.0
    ) -> None:
        self._max_tenants = max_tenants
        self._min_count = min_count
        self._warning = warning
        self._critical = critical
        self._tracks: OrderedDict[str, _Track] = OrderedDict()

    @property
    def tenants(self) -> int:
        """How many tenants are followed."""
        return len(self._tracks)

    def observe(self, tenant_id: str, now: float) -> Signal | None:
        """Count one request at `now` (seconds on the monotonic clock); a signal where it is the one that stands out."""
        track = self._tracks.get(tenant_id)
        if track is None:
            track = self._follow(tenant_id, now)
        else:
            self._tracks.move_to_end(tenant_id)
            if now - track.started >= WINDOW:
                self._roll(track, now)
        track.count += 1
        return None if track.count < track.signal_at else self._signal(tenant_id, track)

    def _follow(self, tenant_id: str, now: float) -> _Track:
        if len(self._tracks) >= self._max_tenants:
            self._tracks.popitem(last=False)
        track = self._tracks[tenant_id] = _Track(now)
        return track

    def _roll(self, track: _Track, now: float) -> None:
        """Close the window, learn from it, open the next one: right behind it, or at `now` after a pause."""
        learned = track.count if track.baseline == 0 else track.baseline + WEIGHT * (track.count - track.baseline)
        track.baseline = float(learned)
        track.started = track.started + WINDOW if now - track.started < 2 * WINDOW else now
        track.count = 0
        track.critical_at = max(self._min_count, ceil(self._critical * learned))
        track.signal_at = max(self._min_count, ceil(self._warning * learned))

    def _signal(self, tenant_id: str, track: _Track) -> Signal:
        critical = track.count >= track.critical_at
        track.signal_at = inf if critical else track.critical_at
        severity = AnomalySeverity.CRITICAL if critical else AnomalySeverity.WARNING
        return Signal(tenant_id=tenant_id, severity=severity, count=track.count, baseline=track.baseline)
