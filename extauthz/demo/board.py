"""What the outage demo shows: a live view on a terminal, a line a second elsewhere, and the sum at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from extauthz.demo.traffic import Summary

HISTORY: Final = 12
"""Seconds that the live view looks back."""

_STYLES: Final = {"closed": "green", "half_open": "yellow", "open": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """One second of the demo: which act it was in, what came back, which circuits were not closed, what was bypassed."""

    at: int
    act: str
    failing: bool
    summary: Summary
    circuits: tuple[str, ...]
    bypassed: tuple[str, ...]


def line(second: Second) -> str:
    """A second as a line of text."""
    return (
        f"{second.at:>3} s  {second.act:<8}  {'  '.join(_figures(second.summary))}"
        f"  {_notes(second.circuits, second.bypassed)}"
    ).rstrip()


def _figures(of: Summary) -> tuple[str, str, str, str]:
    return (
        f"{of.answers:>4} answers",
        f"{of.unexpected} wrong",
        f"p99 {of.p99 * 1000:5.0f} ms  slowest {of.slowest * 1000:5.0f} ms",
        f"{of.degraded:>4} without a provider",
    )


def _notes(circuits: Sequence[str], bypassed: Sequence[str]) -> str:
    notes = [f"open: {', '.join(circuits)}"] if circuits else []
    notes += [f"bypassed: {', '.join(bypassed)}"] if bypassed else []
    return "; ".join(notes)


def live(says: str, health: Mapping[str, Any], seconds: Sequence[Second]) -> Group:
    """The live view: what is going on, each provider, and the last seconds."""
    return Group(Text.from_markup(f"\n[bold]{says}[/]\n"), _providers(health), Text(""), _history(seconds))


def _providers(health: Mapping[str, Any]) -> Table:
    table = Table("provider", "circuit", "last error", "last call", title="Providers, as /health shows them")
    table.title_justify = "left"
    for name, component in health.get("components", {}).items():
        state = str(component.get("breaker"))
        latency = component.get("latency_ms")
        table.add_row(
            name,
            Text(state, style=_STYLES.get(state, "")),
            component.get("last_error") or "-",
            "-" if latency is None else f"{latency:.1f} ms",
        )
    return table


def _history(seconds: Sequence[Second]) -> Table:
    table = Table(title="Answers through Envoy, second by second", title_justify="left")
    for column in ("", "providers", "answers", "wrong", "p50", "p99", "slowest", "without a provider", ""):
        table.add_column(column, justify="left" if column in ("providers", "") else "right")
    for second in seconds[-HISTORY:]:
        of = second.summary
        table.add_row(
            f"{second.at} s",
            Text(second.act, style="red" if second.failing else "green"),
            str(of.answers),
            Text(str(of.unexpected), style="bold red" if of.unexpected else ""),
            *(f"{value * 1000:.0f} ms" for value in (of.p50, of.p99, of.slowest)),
            str(of.degraded),
            _notes(second.circuits, second.bypassed),
        )
    return table


def sums(console: Console, acts: Sequence[tuple[str, Summary]], wrong: Mapping[str, int]) -> None:
    """What each act came to, and how often which answer was wrong."""
    table = Table(title="What callers saw", title_justify="left")
    for column in ("providers", "answers", "wrong", "p50", "p99", "slowest", "without a provider"):
        table.add_column(column, justify="left" if column == "providers" else "right")
    for name, of in acts:
        times = (f"{value * 1000:.0f} ms" for value in (of.p50, of.p99, of.slowest))
        table.add_row(name, str(of.answers), str(of.unexpected), *times, str(of.degraded))
    console.print(table)
    for says, times_seen in wrong.items():
        console.print(f"[bold red]wrong[/] {times_seen} times: {says}", highlight=False)
