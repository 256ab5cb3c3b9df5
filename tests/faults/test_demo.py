"""What `extauthz demo --outage` shows is true: every answer through Envoy stays right while providers are frozen and brought back."""

from io import StringIO

import pytest
from rich.console import Console

from extauthz.demo import run_outage
from extauthz.demo.outage import Act
from tests.pace import ATTEMPTS

ACTS = (
    Act(name="healthy", says="All is well.", seconds=1.0),
    Act(name="frozen", says="It is frozen.", seconds=3.0, failing=True),
    Act(name="back", says="It goes on.", seconds=5.0),
)


async def shown() -> tuple[int, list[str], str]:
    console = Console(file=StringIO(), width=200)
    code = await run_outage(once=True, console=console, acts=ACTS)
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    return code, [text for text in told.splitlines() if " s  " in text], told


@pytest.mark.long_form
async def test_the_outage_demo_shows_right_answers_only_and_circuits_that_open_and_close() -> None:
    code, attempts = 1, 0
    told, seconds = "", list[str]()
    while code and attempts < ATTEMPTS:
        attempts += 1
        code, seconds, told = await shown()
        assert ", not 402" not in told.replace("503, not 402", "")  # a wrong answer is never for want of time
        assert ", not 403" not in told.replace("503, not 403", "")
        assert [text.split()[2] for text in seconds] == ["healthy"] + ["frozen"] * 3 + ["back"] * 5
    assert code == 0, told
    assert all(" 0 wrong " in text for text in seconds)
    assert "open: lifecycle, billing, protection" in seconds[3]
    assert "open:" not in seconds[0] + seconds[-1]  # before, and after reset time and a try
