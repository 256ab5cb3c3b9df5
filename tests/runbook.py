"""A runbook as its reader runs it: the `sh` blocks of a page, in order, in a shell, and what the page says of their output.

Of a `text` block after a command each line must come, in order; other lines may come between. White space counts once, and `…`
stands for anything.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.served import TOKEN, Served

PAGES: Final = Path(__file__).parents[1] / "docs/runbooks"
BACK: Final = "Bring it back"
"""Under this heading the reader repairs the provider, before the first command."""

_PARTS: Final = re.compile(
    r"^## (?P<heading>[^\n]+)$|^```(?P<kind>sh|text)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_PATIENCE: Final = 120.0
"""Seconds for a block of commands: longer than a circuit that opened once more stays open."""
_PAUSE: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One block of commands: the section it stands in, and the lines that the page says will come."""

    section: str
    script: str
    says: tuple[str, ...] = ()


def steps_of(page: str) -> list[Step]:
    """The commands of a page, in order."""
    section, steps = "", list[Step]()
    for part in _PARTS.finditer((PAGES / page).read_text()):
        if part["heading"]:
            section = part["heading"]
        elif part["kind"] == "sh":
            steps.append(Step(section=section, script=part["text"]))
        else:
            last = steps.pop()
            steps.append(Step(section=last.section, script=last.script, says=tuple(part["text"].splitlines())))
    return steps


async def followed(
    page: str,
    replica: Served,
    tenant: str,
    folder: Path,
    back: Callable[[], Awaitable[None]],
    done: Callable[[Step], None] = lambda _step: None,
) -> None:
    """Run every command of a page; `back` brings the provider back, as the page asks its reader to. `done`: told of each step."""
    steps = steps_of(page)
    repaired = False
    for step in steps:
        if step.section == BACK and not repaired:
            await back()
            repaired = True
        require(step, await output_of(step, folder, _environment(replica, tenant)))
        done(step)
    assert repaired


async def output_of(step: Step, folder: Path, env: Mapping[str, str]) -> str:
    """What a block of commands prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-e", "-c", step.script),
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            out, err = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, f"{step.script}\n{out.decode()}{err.decode()}"
    return out.decode()


def require(step: Step, output: str) -> None:
    """That each line which the page promises comes, in order.

    Raises:
        AssertionError: one does not.
    """
    lines = iter([" ".join(line.split()) for line in output.splitlines()])
    for promised in step.says:
        pattern = re.escape(" ".join(promised.split())).replace("…", ".*")
        assert any(re.fullmatch(pattern, line) for line in lines), f"{step.script}\n{promised!r} is not in\n{output}"


def _environment(replica: Served, tenant: str) -> dict[str, str]:
    """What docs/runbooks/index.md says that the commands need, and nothing else of the service's."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    needed = {"EXTAUTHZ_ADMIN_URL": replica.admin_url, "EXTAUTHZ_ADMIN_TOKEN": TOKEN, "TENANT": tenant}
    return ours | needed | {"PATH": path}


@asynccontextmanager
async def traffic(replica: Served, key: str) -> AsyncIterator[list[bool]]:
    """Requests go on, whatever they are answered; in the list stands whether each was let through."""
    passed: list[bool] = []

    async def requests() -> None:
        while True:
            passed.append((await replica.check(key)).answer.allowed)
            await asyncio.sleep(_PAUSE)

    going = asyncio.create_task(requests())
    try:
        yield passed
        assert not going.done(), "a check was not answered"
    finally:
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going
