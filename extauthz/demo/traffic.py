"""Steady traffic through Envoy for the outage demo, and what came back."""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import cycle
from math import ceil
from typing import Final

import aiohttp
import orjson

NO_ANSWER: Final = 0
"""The status of a request that got no answer."""

PATIENCE: Final = 5.0
"""Seconds after which a request counts as not answered."""

KEPT: Final = 100_000
"""How many answers are kept; an hour of the demo's traffic is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One kind of request, and the status that it gets whatever the providers do."""

    says: str
    key: str
    method: str
    path: str
    status: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a caller. `at` is the loop's time when it came, `seconds` how long it took from when its request was due.

    `degraded` are the gates that answered without their provider, as the upstream was told.
    """

    at: float
    seconds: float
    status: int
    caller: Caller
    degraded: str

    @property
    def wrong(self) -> str:
        """What is wrong with it; empty where it is the right one."""
        return (
            "" if self.status == self.caller.status else f"{self.caller.says}: {self.status}, not {self.caller.status}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Many answers in a line. Times are in seconds, 0 where there was no answer at all."""

    answers: int
    unexpected: int
    degraded: int
    p50: float
    p99: float
    slowest: float


def summary(answers: Iterable[Answer]) -> Summary:
    """What these answers come to."""
    all_of_them = list(answers)
    times = sorted(answer.seconds for answer in all_of_them)
    return Summary(
        answers=len(times),
        unexpected=sum(bool(answer.wrong) for answer in all_of_them),
        degraded=sum(bool(answer.degraded) for answer in all_of_them),
        p50=_percentile(times, 0.5),
        p99=_percentile(times, 0.99),
        slowest=_percentile(times, 1.0),
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, ceil(len(ordered) * share) - 1)] if ordered else 0.0


class Traffic:
    """Sends `rate` requests a second to `edge_url`, the callers taking turns, whether or not earlier ones were answered."""

    def __init__(self, http: aiohttp.ClientSession, edge_url: str, callers: Sequence[Caller], rate: float) -> None:
        self._http = http
        self._edge_url = edge_url
        self._callers = cycle(callers)
        self._interval = 1.0 / rate
        self._requests: set[asyncio.Task[None]] = set()
        self.answers: deque[Answer] = deque(maxlen=KEPT)

    async def flow(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            request = loop.create_task(self._send(next(self._callers), due))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)
            due += self._interval
            await asyncio.sleep(due - loop.time())

    def since(self, moment: float) -> list[Answer]:
        """The answers that came at `moment`, in the loop's time, or after it."""
        found: list[Answer] = []
        for answer in reversed(self.answers):
            if answer.at < moment:
                break
            found.append(answer)
        return found

    async def ended(self) -> None:
        """Wait for the answers that are still out."""
        if self._requests:
            await asyncio.wait(self._requests, timeout=PATIENCE)

    async def _send(self, caller: Caller, due: float) -> None:
        status, degraded = NO_ANSWER, ""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                status, degraded = await self._ask(caller)
        now = asyncio.get_running_loop().time()
        self.answers.append(Answer(now, now - due, status, caller, degraded))

    async def _ask(self, caller: Caller) -> tuple[int, str]:
        headers = {"x-api-key": caller.key}
        async with self._http.request(caller.method, self._edge_url + caller.path, headers=headers) as answer:
            content = await answer.read()
            return answer.status, _degraded(content) if answer.status == HTTPStatus.OK else ""


def _degraded(content: bytes) -> str:
    """What the echo upstream was told."""
    arrived: Mapping[str, Sequence[tuple[str, str]]] = orjson.loads(content)["arrived"]
    return dict(arrived["headers"]).get("x-extauthz-degraded", "")
