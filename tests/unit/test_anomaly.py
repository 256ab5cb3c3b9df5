import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.gates.anomaly import WINDOW, AnomalyDetector, AnomalySeverity, Signal

START = 5_000.0
CRITICAL, WARNING = AnomalySeverity.CRITICAL, AnomalySeverity.WARNING


def fill(detector: AnomalyDetector, count: int, now: float, tenant: str = "acme") -> list[Signal]:
    """`count` requests at `now`; the signals they gave."""
    return [signal for _ in range(count) if (signal := detector.observe(tenant, now)) is not None]


def with_baseline(
    count: int, *, windows: int = 1, detector: AnomalyDetector | None = None
) -> tuple[AnomalyDetector, float]:
    """A detector that saw `count` requests in each of so many windows, and the start of the next."""
    detector = AnomalyDetector() if detector is None else detector
    for window in range(windows):
        assert fill(detector, count, START + window * WINDOW) == []
    return detector, START + windows * WINDOW


def test_a_tenants_first_window_is_silent() -> None:
    assert fill(AnomalyDetector(), 50_000, START) == []


@pytest.mark.parametrize("windows", [1, 7])
def test_a_steady_tenant_is_silent_and_three_times_its_baseline_is_a_warning(windows: int) -> None:
    detector, now = with_baseline(200, windows=windows)
    assert fill(detector, 599, now) == []
    assert fill(detector, 1, now) == [Signal(tenant_id="acme", severity=WARNING, count=600, baseline=200.0)]


def test_ten_times_the_baseline_is_critical() -> None:
    detector, now = with_baseline(200)
    assert [each.severity for each in fill(detector, 1_999, now)] == [WARNING]
    assert fill(detector, 1, now) == [Signal(tenant_id="acme", severity=CRITICAL, count=2_000, baseline=200.0)]


def test_each_severity_is_signalled_once_in_a_window() -> None:
    detector, now = with_baseline(200)
    assert [each.severity for each in fill(detector, 40_000, now)] == [WARNING, CRITICAL]
    assert fill(detector, 40_000, now + WINDOW - 1) == []


def test_small_tenants_do_not_fire() -> None:
    detector, now = with_baseline(1)
    assert fill(detector, 99, now) == []
    assert [each.severity for each in fill(detector, 500, now)] == [CRITICAL]


def test_the_baseline_moves_to_a_new_level() -> None:
    detector, now = with_baseline(200)
    signals = [[each.severity for each in fill(detector, 1_000, now + window * WINDOW)] for window in range(12)]
    assert signals[:2] == [[WARNING], []]
    assert signals[2:] == [[]] * 10
    (signal,) = fill(detector, 3_000, now + 12 * WINDOW)
    assert 970 < signal.baseline <= 1_000


def test_windows_follow_one_another_without_a_gap() -> None:
    detector = AnomalyDetector()
    fill(detector, 200, START)
    fill(detector, 200, START + 1.5 * WINDOW)
    assert [each.count for each in fill(detector, 400, START + 1.9 * WINDOW)] == [600]
    assert fill(detector, 700, START + 2 * WINDOW) == []  # baseline 200 + (600 - 200) / 4 = 300


def test_a_rest_does_not_lower_the_baseline() -> None:
    detector, now = with_baseline(200)
    assert fill(detector, 599, now + 12 * 3600) == []
    assert fill(detector, 599, now + 24 * 3600) == []


def test_tenants_are_followed_apart() -> None:
    detector, now = with_baseline(200)
    assert fill(detector, 599, now) == []
    assert fill(detector, 599, now, "other") == []
    assert [each.tenant_id for each in fill(detector, 1, now)] == ["acme"]


def test_the_tenant_not_seen_for_longest_is_forgotten() -> None:
    detector, now = with_baseline(200, detector=AnomalyDetector(max_tenants=2))
    fill(detector, 1, now, "second")
    fill(detector, 1, now)
    fill(detector, 1, now, "third")  # takes the place of "second"
    assert detector.tenants == 2
    assert [each.severity for each in fill(detector, 599, now)] == [WARNING]


@given(st.lists(st.text(max_size=2), max_size=200))
def test_memory_is_bounded_whoever_comes(tenants: list[str]) -> None:
    detector = AnomalyDetector(max_tenants=3)
    for at, tenant in enumerate(tenants):
        detector.observe(tenant, START + at)
    assert detector.tenants == min(3, len(set(tenants)))


@given(st.lists(st.tuples(st.integers(1, 2_000), st.floats(0, 3 * WINDOW)), max_size=12))
def test_abuse_003_all_it_can_do_is_signal(load: list[tuple[int, float]]) -> None:
    """Whatever is observed, the answer is nothing or a signal, each severity once a window, and no word that could deny."""
    detector, now = AnomalyDetector(), START
    for count, pause in load:
        now += pause
        signals = fill(detector, count, now)
        assert len({each.severity for each in signals}) == len(signals)
        assert all(each.count >= 100 for each in signals)
    assert {each.value for each in AnomalySeverity} == {"warning", "critical"}
    assert not inspect.iscoroutinefunction(detector.observe)
