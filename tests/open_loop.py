"""Open-loop load over HTTP/1.1: requests go out on schedule whatever the answers do, from a process of its own.

    async with load(port, [Request(name="known", headers={"x-api-key": key})], rate=500) as running:
        ...
    answers = running.answers
    assert answers.named("known").between(begin, end).statuses() == {200: 1000}

Times are those of `time.monotonic()`, which is one clock for all processes of a machine. What a request took counts from the
moment for which it was scheduled, so a request that could not even be sent because everything was stuck is as slow as it was.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, overload

import orjson

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One kind of request. `name` tells its answers from those of others."""

    name: str = "request"
    method: str = "POST"
    path: str = "/api/v1/things"
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """As it goes over the wire."""
        lines = [
            f"{name}: {value}\r\n" for name, value in {"host": "edge", "content-length": "0", **self.headers}.items()
        ]
        return f"{self.method} {self.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request.

    `at` is when it was scheduled, `seconds` how long after that the whole answer was there, `late` how much of it went by before
    it was sent. `status` 0: there was no answer, and `reason` says why (`no_connection`, `closed`, `no_answer`); else `reason` is
    the `x-extauthz-reason` of a denial. `degraded` are the gates that answered without their provider, as `tests.edge` shows them.
    """

    name: str
    at: float
    seconds: float
    late: float
    status: int
    reason: str = ""
    degraded: str = ""

    @property
    def ended(self) -> float:
        """The moment at which the answer was there."""
        return self.at + self.seconds


@dataclass(frozen=True)
class Answers(Sequence[Answer]):
    """Answers in the order in which their requests were scheduled."""

    answers: Sequence[Answer]

    def __len__(self) -> int:
        return len(self.answers)

    @overload
    def __getitem__(self, index: int) -> Answer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Answer]: ...
    def __getitem__(self, index: int | slice) -> Answer | Sequence[Answer]:
        return self.answers[index]

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def between(self, begin: float, end: float) -> "Answers":
        """Of requests that were scheduled in `begin` <= moment < `end`."""
        return Answers([each for each in self if begin <= each.at < end])

    def named(self, *names: str) -> "Answers":
        return Answers([each for each in self if each.name in names])

    def with_status(self, *statuses: int) -> "Answers":
        return Answers([each for each in self if each.status in statuses])

    def statuses(self) -> Counter[int]:
        """How many of each status."""
        return Counter(each.status for each in self)

    def outcomes(self) -> Counter[tuple[str, int, str]]:
        """How many of each name, status and reason."""
        return Counter((each.name, each.status, each.reason) for each in self)

    def slowest(self) -> float:
        """Seconds; 0.0 of none."""
        return max((each.seconds for each in self), default=0.0)

    def percentile(self, share: float) -> float:
        """The seconds in which that share of them (0.99) was there; 0.0 of none."""
        seconds = sorted(each.seconds for each in self)
        return seconds[min(len(seconds) - 1, int(share * len(seconds)))] if seconds else 0.0

    def throughput(self, begin: float, end: float, *statuses: int) -> float:
        """Answers a second that were there in `begin` <= moment < `end`; of those `statuses` only where some are given."""
        there = (each for each in self if begin <= each.ended < end and (each.status in statuses or not statuses))
        return sum(1 for each in there if each.status) / (end - begin)

    def latest(self) -> float:
        """How late the latest was sent, in seconds: much more than 0 without a full set of connections is the generator's fault."""
        return max((each.late for each in self), default=0.0)


@dataclass
class Load:
    """Load that goes on. `began` is its first moment; `answers` are complete when the context has ended."""

    began: float
    answers: Answers = field(default_factory=lambda: Answers(()))


@asynccontextmanager
async def load(
    port: int,
    requests: Sequence[Request],
    *,
    rate: float,
    seconds: float | None = None,
    poisson: bool = False,
    connections: int = 32,
    most_connections: int = 2000,
    patience: float = 5.0,
) -> AsyncIterator[Load]:
    """Send `requests` in turn, `rate` a second, to `port` on this machine until the context ends; with `seconds` so long.

    Evenly spaced, or with `poisson` at random. Of the kept-alive connections `connections` are made before the first request, more
    as they are needed, and requests wait above `most_connections`. Who has no answer after `patience` seconds gets none.
    """
    plan = {
        "port": port,
        "requests": [each.encoded().decode() for each in requests],
        "rate": rate,
        "seconds": seconds,
        "seed": random.randrange(2**32) if poisson else None,
        "connections": connections,
        "most_connections": most_connections,
        "patience": patience,
    }
    process = await _worker()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(orjson.dumps(plan) + b"\n")
        running = Load(began=float(await process.stdout.readline()))
        yield running
        running.answers = await _collect(process, requests, wait=seconds is not None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def offered(port: int, requests: Sequence[Request], *, rate: float, seconds: float, **more: Any) -> Answers:
    """The answers to load that lasts `seconds`."""
    async with load(port, requests, rate=rate, seconds=seconds, **more) as running:
        pass
    return running.answers


async def _worker() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.open_loop_worker",
        cwd=ROOT,
        env=os.environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**28,
    )


async def _collect(process: asyncio.subprocess.Process, requests: Sequence[Request], *, wait: bool) -> Answers:
    """`wait`: until the load ends by itself."""
    assert process.stdin is not None
    assert process.stdout is not None
    if not wait:
        process.stdin.write(b"stop\n")
    rows = orjson.loads(await process.stdout.read())
    await process.wait()
    names = [each.name for each in requests]
    answers = [
        Answer(name=names[which], at=at, seconds=took, late=late, status=status, reason=reason, degraded=degraded)
        for which, at, took, late, status, reason, degraded in rows
    ]
    return Answers(sorted(answers, key=lambda each: each.at))
