"""`extauthz demo --outage`: traffic through Envoy while three of the four providers are frozen and brought back."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.live import Live

from extauthz.demo import board
from extauthz.demo.cast import CAST, OUTAGE_CONFIGURATION, enter
from extauthz.demo.frozen import KINDS, ProviderProcess, provider_process
from extauthz.demo.interrupt import unless_interrupted
from extauthz.demo.stack import Ports, Stack, free_ports, running_stack
from extauthz.demo.traffic import Caller, Summary, Traffic, summary
from extauthz.telemetry.log import configured

RATE: Final = 100.0
"""Requests a second."""

SETTLE: Final = 1.0
"""Seconds of traffic before the first act: connections are made, caches filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A part of the demo: how the providers are for `seconds`."""

    name: str
    says: str
    seconds: float
    failing: bool = False


ACTS: Final = (
    Act(name="healthy", says="All providers answer.", seconds=5.0),
    Act(
        name="frozen",
        says="The process that serves lifecycle, billing and protection is [red]frozen[/] (SIGSTOP): nobody is told, nothing answers.",
        seconds=10.0,
        failing=True,
    ),
    Act(name="back", says="It goes on (SIGCONT). Circuits are tried again within their reset time.", seconds=7.0),
)


async def run_outage(*, once: bool, console: Console, acts: Sequence[Act] = ACTS) -> int:
    """Show the acts, over and over until interrupted, or with `once` a single time; 0 when every answer was the right one."""
    return await unless_interrupted(_outage(once=once, console=console, acts=acts)) or 0


async def _outage(*, once: bool, console: Console, acts: Sequence[Act]) -> int:
    with configured("CRITICAL"), tempfile.TemporaryDirectory(prefix="extauthz-") as folder:
        async with _stage(Path(folder)) as (stack, providers, traffic):
            show = _Show(stack, providers, traffic, console)
            show.introduce(once=once)
            with suppress(asyncio.CancelledError), show.screen():  # told to end: what was seen until then counts
                await asyncio.sleep(SETTLE)
                for act in acts if once else cycle(acts):
                    await show.play(act)
            return show.end()


@asynccontextmanager
async def _stage(directory: Path) -> AsyncIterator[tuple[Stack, ProviderProcess, Traffic]]:
    """Everything that runs, with traffic that flows."""
    async with provider_process(directory) as providers:
        configuration = OUTAGE_CONFIGURATION.format(directory=directory, providers=providers.url)
        async with running_stack(configuration, directory, free_ports(Ports())) as stack:
            traffic = Traffic(stack.http, stack.edge_url, await _callers(stack), RATE)
            flow = asyncio.create_task(traffic.flow())
            try:
                yield stack, providers, traffic
            finally:
                flow.cancel()
                with suppress(asyncio.CancelledError):
                    await flow
                providers.thaw()
                await traffic.ended()


async def _callers(stack: Stack) -> list[Caller]:
    """Who asks, and what the right answer is, providers or not."""
    keys = {each.tenant_id: await enter(stack, each) for each in CAST if each.tenant_id in ("acme", "paused", "unpaid")}
    return [
        Caller(says="in good standing, read", key=keys["acme"], method="GET", path="/api/v1/things", status=200),
        Caller(says="in good standing, run", key=keys["acme"], method="POST", path="/api/v1/runs", status=200),
        Caller(says="lifecycle suspended", key=keys["paused"], method="POST", path="/api/v1/runs", status=403),
        Caller(says="billing suspended", key=keys["unpaid"], method="POST", path="/api/v1/runs", status=402),
        Caller(says="a made-up key", key="exak_nonsense", method="GET", path="/api/v1/things", status=401),
    ]


@dataclass(slots=True)
class _Show:
    """The demo under way."""

    stack: Stack
    providers: ProviderProcess
    traffic: Traffic
    console: Console
    seconds: list[board.Second] = field(default_factory=list)
    _marks: list[tuple[str, float]] = field(default_factory=list)
    _live: Live | None = None

    def introduce(self, *, once: bool) -> None:
        """Say what is going to be seen."""
        admin = f"EXTAUTHZ_ADMIN_TOKEN={self.stack.token} extauthz --admin {self.stack.admin_url}"
        tell: Callable[[str], None] = lambda text: self.console.print(text, soft_wrap=True, highlight=False)  # noqa: E731 - one way to print
        tell(
            f"Traffic of {RATE:.0f} requests/s through Envoy at {self.stack.edge_url}: a tenant in good standing (200), one"
        )
        tell("whose lifecycle is suspended (403), one that has not paid (402), and a made-up key (401).")
        tell(
            f"Another process (pid {self.providers.pid}) serves {', '.join(KINDS)}. It will be frozen and brought back;"
        )
        tell("every answer must stay what it is.\n")
        if not once:
            tell("From another terminal:\n")
            for command in ("breaker list", "cache list", "bypass set billing --ttl 1m --reason 'trying it out'"):
                tell(f"  {admin} {command}")
            tell("\nCtrl-C ends everything and leaves nothing behind.\n")

    @asynccontextmanager
    async def _act(self, act: Act) -> AsyncIterator[None]:
        if not act.failing:
            yield
            return
        self.providers.freeze()
        try:
            yield
        finally:
            self.providers.thaw()

    def screen(self) -> "Live | nullcontext[None]":
        """Where the live view is drawn; nothing where nobody looks at a terminal."""
        if not self.console.is_terminal:
            return nullcontext()
        self._live = Live(console=self.console, auto_refresh=False)
        return self._live

    async def play(self, act: Act) -> None:
        """One act, seen second by second."""
        loop = asyncio.get_running_loop()
        began = due = loop.time()
        self._marks.append((act.name, began))
        async with self._act(act):
            while due < began + act.seconds:
                due += min(1.0, began + act.seconds - due)
                await asyncio.sleep(due - loop.time())
                await self._look(act, due - 1.0)

    async def _look(self, act: Act, since: float) -> None:
        async with self.stack.http.get(f"{self.stack.admin_url}/health") as answer:
            health: dict[str, Any] = orjson.loads(await answer.read())
        second = board.Second(
            at=len(self.seconds) + 1,
            act=act.name,
            failing=act.failing,
            summary=summary(self.traffic.since(since)),
            circuits=tuple(
                name for name, found in health["components"].items() if found.get("breaker") in ("open", "half_open")
            ),
            bypassed=_bypassed(health),
        )
        self.seconds.append(second)
        if self._live is None:
            self.console.print(board.line(second), soft_wrap=True, highlight=False, markup=False)
        else:
            self._live.update(board.live(act.says, health, self.seconds), refresh=True)

    def end(self) -> int:
        """Say what each act came to; 1 where any answer was wrong."""
        wrong = Counter(answer.wrong for answer in self.traffic.answers if answer.wrong)
        board.sums(self.console, self._sums(), wrong)
        return 1 if wrong else 0

    def _sums(self) -> list[tuple[str, Summary]]:
        """What each act came to, in the order in which they were first played."""
        ends = [moment for _, moment in self._marks[1:]] + [float("inf")]
        answers: dict[str, list[Any]] = {}
        for (name, begin), end in zip(self._marks, ends, strict=True):
            answers.setdefault(name, []).extend(each for each in self.traffic.answers if begin <= each.at < end)
        return [(name, summary(found)) for name, found in answers.items()]


def _bypassed(health: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(health.get("bypassed", ())))
