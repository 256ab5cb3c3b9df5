"""Generated schedules of faults and requests against a plain model of spec sections 3 and 4, over a million requests.

No wrong allow, no denial without its reason: what is judged is in `tests/world_model.py`, and that it can tell right from wrong
in `tests/unit/test_schedules.py`. What fails is printed as its seed and the shortest list of steps that still fails.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from tests.faults.conftest import Figures
from tests.world_schedule import run_seed

MILLION: Final = 1_000_000
LENGTH: Final = 1_000
"""Requests of one schedule."""

A_PART: Final = 25
"""Schedules that one process runs before it is given others."""

SHORT: Final = 5


def run(first: int, schedules: int = A_PART) -> tuple[int, float]:
    """So many schedules from this seed on: how many requests, and the seconds of the processor.

    Raises:
        Wrong: an answer was not right.
    """
    started = time.process_time()
    answered = sum(run_seed(seed, LENGTH) for seed in range(first, first + schedules))
    return answered, time.process_time() - started


def test_no_wrong_allow_and_no_denial_without_its_reason(full: bool, figures: Figures) -> None:  # noqa: FBT001
    """Faults of every kind, changes with and without notice, operators, hurried and leaving callers, bursts: in virtual time."""
    if not full:
        answered, _ = run(0, SHORT)
        assert answered == SHORT * LENGTH
        return
    firsts = range(0, MILLION // LENGTH, A_PART)
    workers = min(2, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        parts = list(processes.map(run, firsts))
    answered, seconds = sum(part[0] for part in parts), sum(part[1] for part in parts)
    assert answered >= MILLION
    figures.note("… how fast that is, on one core", f"{answered / seconds:,.0f} requests/s")
    figures.note("wrong allows over generated requests and fault schedules", f"0 of {answered:,.0f}", "0", met=True)
