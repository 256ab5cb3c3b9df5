"""What spec section 9 promises of an outage, what one came to, and the worst of many."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.column import DEADLINES, RESET, Course
from tests.mix import RIGHT, assert_right
from tests.open_loop import Answers
from tests.pace import ATTEMPTS, SLACK

GRACE: Final = 0.025
"""Seconds beyond a provider's deadline in which the answer is there."""
CLOSE: Final = 0.001
"""Two times that differ by less are the same to anybody who measures here, in seconds."""


GATES: Final = ("lifecycle", "billing", "protection")
GATE_OF: Final = {
    (403, "suspended"): "lifecycle",
    (403, "terminated"): "lifecycle",
    (402, "suspended"): "billing",
    (401, "invalid_credentials"): "auth",
    (401, "missing_credentials"): "auth",
}


class Notes(Protocol):
    """Where figures go."""

    def note(self, what: str, measured: str, promised: str = "", *, met: bool | None = None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Reached:
    """One figure of one outage. `share` is how much of what is allowed it takes: above 1 it is not met."""

    what: str
    measured: str
    promised: str
    share: float


def reached(course: Course, providers: Sequence[str]) -> list[Reached]:
    """The figures of an outage of these providers. Events have nobody waiting for them, so theirs are two."""
    gates = [each for each in providers if each != "events"]
    figures = [_p99(course), _throughput(course)]
    if gates:
        figures += [_slowest(course, gates), *(_recovery(course, gate) for gate in gates)]
    return figures


def due(gates: Sequence[str]) -> float:
    """Seconds in which the slowest answer is there: lifecycle and billing are asked at the same time, then the charge is made."""
    look_ups = max((DEADLINES[each] + GRACE for each in gates if each != "protection"), default=0.0)
    return look_ups + (DEADLINES["protection"] + GRACE if "protection" in gates else 0.0)


def _slowest(course: Course, gates: Sequence[str]) -> Reached:
    longest = due(gates)
    return Reached(
        what="slowest answer beyond the deadline",
        measured=f"{(course.slowest - longest + GRACE) * 1000:+.0f} ms",
        promised=f"{GRACE * 1000:+.0f} ms",
        share=course.slowest / longest,
    )


def _p99(course: Course) -> Reached:
    healthy = max(course.p99_healthy, CLOSE)
    return Reached(
        what="p99 once open / healthy",
        measured=f"{course.p99_open / healthy:.2f} ({course.p99_open * 1000:.1f} / {course.p99_healthy * 1000:.1f} ms)",
        promised="<= 1.5",
        share=course.p99_open / healthy / 1.5,
    )


def _throughput(course: Course) -> Reached:
    return Reached(
        what="throughput once open / healthy",
        measured=f"{course.throughput_ratio:.3f}",
        promised=">= 0.95",
        share=0.95 / max(course.throughput_ratio, 1e-9),
    )


def _recovery(course: Course, gate: str) -> Reached:
    took, longest = course.recovery(gate), RESET * 1.1 + DEADLINES[gate]
    return Reached(
        what="first fresh answer after the end / (reset + 10 % + one try)",
        measured=f"{took / longest:.2f} ({took:.2f} s)",
        promised="<= 1",
        share=took / longest,
    )


async def best(cycle: Callable[[], Awaitable[Course]], providers: Sequence[str]) -> list[Reached]:
    """The figures of the best of a few outages; what is right must be right in each of them."""
    found: list[list[Reached]] = []
    while len(found) < ATTEMPTS and not any(in_time(each) for each in found):
        course = await cycle()
        assert_right(course.answers)
        assert_sums(course, providers)
        found.append(reached(course, providers))
    return min(found, key=lambda figures: max(each.share for each in figures))


def in_time(figures: Sequence[Reached]) -> bool:
    """Whether a test may pass with these figures."""
    return all(each.share <= SLACK for each in figures)


def assert_sums(course: Course, providers: Sequence[str]) -> None:
    """That `/metrics` tells of exactly the answers that were seen."""
    answers = course.answers
    seen = {
        "checks": len(answers),
        "allowed": answers.statuses()[200],
        **{f"{status} {reason}": _count(answers, status, reason) for status, reason in RIGHT.values() if reason},
        "degraded": course.degraded(),
        **{f"fallbacks of {gate}": course.degraded(gate) for gate in GATES},
    }
    told = {
        "checks": course.sum("checks_total"),
        "allowed": course.sum("checks_total", decision="allow"),
        **{
            f"{status} {reason}": course.sum("checks_total", gate=GATE_OF[status, reason], reason=reason)
            for status, reason in RIGHT.values()
            if reason
        },
        "degraded": course.sum("checks_degraded_total"),
        **{f"fallbacks of {gate}": course.sum("gate_fallbacks_total", gate=gate) for gate in GATES},
    }
    assert seen == told, (seen, told)
    for gate in GATES:
        _assert_circuit(course, gate, failing=gate in providers)


def _count(answers: Answers, status: int, reason: str) -> int:
    return sum(1 for each in answers if (each.status, each.reason) == (status, reason))


def _assert_circuit(course: Course, gate: str, *, failing: bool) -> None:
    """The errors of a provider: at least one for each fallback that an open circuit brought about; without a failure none."""
    errors = course.sum("provider_errors_total", provider=gate)
    opened = course.sum("provider_circuit_open_total", provider=gate)
    refused = course.sum("gate_fallbacks_total", gate=gate, reason="circuit_open")
    assert (opened >= 1, refused >= 1) == (failing, failing), (gate, opened, refused)
    assert refused <= errors, (gate, refused, errors)
    assert failing or not errors, (gate, errors)


@dataclass
class Worst:
    """The worst of many outages, figure by figure."""

    figures: dict[str, tuple[Reached, str]] = field(default_factory=dict)
    outages: int = 0

    def add(self, figures: Sequence[Reached], where: str) -> None:
        self.outages += 1
        for each in figures:
            if each.what not in self.figures or each.share > self.figures[each.what][0].share:
                self.figures[each.what] = (each, where)

    def tell(self, notes: Notes, of: str) -> None:
        """`of` says what they were outages of."""
        if not self.outages:
            return
        notes.note(f"{of}: {self.outages} outages at 500/s: answers other than the right one", "0", "0", met=True)
        for each, where in self.figures.values():
            notes.note(f"{of}: {each.what}", f"{each.measured}, {where}", each.promised, met=each.share <= 1)
