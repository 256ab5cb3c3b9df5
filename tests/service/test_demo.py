"""`make demo`: the tour through a real Envoy comes back as promised, and the demo leaves nothing behind."""

import asyncio
import os
import signal
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from extauthz.demo import run_demo
from extauthz.demo.cast import CAST
from extauthz.demo.envoy import envoy
from extauthz.demo.stack import HOST, Ports, free_ports
from extauthz.demo.tour import TOUR, Outcome, Step
from extauthz.errors import ExtauthzError


async def test_the_tour_gets_every_answer_that_it_expects() -> None:
    console = Console(file=StringIO(), width=200)
    assert await run_demo(once=True, console=console) == 0
    told = written(console)
    assert told.count(" ok ") == len(TOUR)
    assert {200, 400, 401, 402, 403, 429, 503} == {step.status for step in TOUR}


async def test_by_hand_it_shows_keys_and_commands_and_ends_at_sigterm() -> None:
    console = Console(file=StringIO(), width=200)
    told = asyncio.create_task(run_demo(once=False, console=console))
    while "Ctrl-C" not in written(console):
        await asyncio.sleep(0.05)
        assert not told.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await told == 0
    text = written(console)
    assert all(character.tenant_id in text for character in CAST)
    assert "curl -si" in text


def test_an_answer_that_differs_is_told() -> None:
    step = Step(says="x", who=None, status=200)
    assert Outcome(step=step, status=200, gate="", reason="", body="").as_expected
    assert not Outcome(step=step, status=200, gate="auth", reason="", body="").as_expected
    assert not Outcome(step=step, status=403, gate="", reason="", body="").as_expected


def test_ports_that_are_taken_are_replaced() -> None:
    taken = free_ports()
    again = free_ports(Ports(checks=taken.checks, admin=taken.admin))
    assert (again.checks, again.admin) == (taken.checks, taken.admin)
    assert len({again.checks, again.admin, again.edge, again.envoy_admin, again.upstream}) == 5


async def test_an_envoy_that_refuses_its_bootstrap_says_why(tmp_path: Path) -> None:

    with pytest.raises(ExtauthzError, match="Envoy did not start"):
        async with envoy("static_resources: {nonsense: 1}", f"http://{HOST}:1", tmp_path):
            pass


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
