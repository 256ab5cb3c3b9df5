"""`extauthz demo --outage`: providers are frozen under traffic through a real Envoy and brought back, and it shows that."""

import asyncio
import os
import signal
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from extauthz.demo import run_outage
from extauthz.demo.board import Second, line, live
from extauthz.demo.frozen import provider_process
from extauthz.demo.outage import ACTS, Act
from extauthz.demo.traffic import NO_ANSWER, Answer, Caller, Summary, summary
from extauthz.errors import ExtauthzError

SHORT = (
    Act(name="healthy", says="All is well.", seconds=1.5),
    Act(name="frozen", says="It is frozen.", seconds=2.0, failing=True),
    Act(name="back", says="It goes on.", seconds=1.0),
)
READ = Caller(says="a read", key="k", method="GET", path="/", status=200)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


async def test_elsewhere_than_on_a_terminal_it_tells_each_second_and_the_sum_of_each_act() -> None:
    console = Console(file=StringIO(), width=200)
    await run_outage(
        once=True, console=console, acts=SHORT
    )  # whether every answer is right, tests/faults/test_demo.py says
    told = written(console)
    seconds = [text for text in told.splitlines() if " s  " in text]
    assert [text.split()[2] for text in seconds] == ["healthy"] * 2 + ["frozen"] * 2 + ["back"]
    assert "What callers saw" in told
    assert "breaker list" not in told  # nobody can try it: it ends by itself


async def test_on_a_terminal_it_is_a_live_view_until_it_is_interrupted() -> None:
    console = Console(file=StringIO(), width=160, height=60, force_terminal=True)
    showing = asyncio.create_task(run_outage(once=False, console=console, acts=SHORT[:1]))
    while "Providers, as /health shows them" not in written(console):
        await asyncio.sleep(0.05)
        assert not showing.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await showing in (0, 1)  # on a busy machine an answer may come too late
    told = written(console)
    assert "breaker list" in told
    assert "Answers through Envoy, second by second" in told


def test_the_acts_are_a_whole_outage() -> None:
    assert [act.failing for act in ACTS] == [False, True, False]


def test_answers_are_summed_up() -> None:
    answers = [Answer(0.0, millis / 1000, 200, READ, "lifecycle" if millis > 90 else "") for millis in range(1, 101)]
    of = summary([*answers, Answer(0.0, 5.0, NO_ANSWER, READ, "")])
    assert (of.answers, of.unexpected, of.degraded) == (101, 1, 10)
    assert (of.p50, of.p99, of.slowest) == (0.051, 0.1, 5.0)
    assert answers[0].wrong == ""
    assert Answer(0.0, 5.0, 503, READ, "").wrong == "a read: 503, not 200"
    assert summary([]) == Summary(answers=0, unexpected=0, degraded=0, p50=0.0, p99=0.0, slowest=0.0)


@pytest.mark.parametrize(
    ("circuits", "bypassed", "notes"),
    [
        ((), (), ""),
        (("billing",), (), "open: billing"),
        (("billing",), ("billing",), "open: billing; bypassed: billing"),
    ],
)
def test_what_is_not_as_usual_is_noted(circuits: tuple[str, ...], bypassed: tuple[str, ...], notes: str) -> None:
    of = Summary(answers=99, unexpected=2, degraded=3, p50=0.001, p99=0.5, slowest=0.52)
    second = Second(at=7, act="frozen", failing=True, summary=of, circuits=circuits, bypassed=bypassed)
    assert (
        line(second)
        == (
            f"  7 s  frozen      99 answers  2 wrong  p99   500 ms  slowest   520 ms     3 without a provider  {notes}"
        ).rstrip()
    )
    console = Console(file=StringIO(), width=160)
    health = {"components": {"billing": {"breaker": "open", "last_error": None, "latency_ms": 1.25}}}
    console.print(live("It is frozen.", health, [second]))
    told = written(console)
    assert "1.2 ms" in told
    assert notes in told


async def test_providers_that_do_not_start_say_why(tmp_path: Path) -> None:
    too_long_for_a_socket = tmp_path / ("x" * 100)
    too_long_for_a_socket.mkdir()
    with pytest.raises(ExtauthzError, match=r"did not start:\s\S"):
        async with provider_process(too_long_for_a_socket):
            pass
