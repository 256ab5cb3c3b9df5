"""The open-loop load of the fault suite: on schedule whatever the answers do, timed from the schedule, told one by one."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress

from tests.open_loop import Answer, Answers, Request, load, offered
from tests.ports import free_port

Reply = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(reply: Reply) -> AsyncIterator[int]:
    """An HTTP server that answers each head of a request with what `reply` writes; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            while True:
                await reply(await reader.readuntil(b"\r\n\r\n"), writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def ok(writer: asyncio.StreamWriter, *headers: bytes, body: bytes = b"", status: bytes = b"200 OK") -> None:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)


async def by_path(head: bytes, writer: asyncio.StreamWriter) -> None:
    match head.split()[1]:
        case b"/degraded":
            ok(writer, b"x-degraded: lifecycle,billing", body=b"{}")
        case b"/denied":
            ok(writer, b"x-extauthz-reason: suspended", status=b"403 Forbidden")
        case b"/closed":
            writer.close()
        case b"/last":
            ok(writer, b"connection: close")
        case b"/silent":
            return
        case _:
            ok(writer)


async def test_requests_go_in_turn_and_each_answer_is_told_with_its_name_status_reason_and_degraded_gates() -> None:
    requests = [Request(name=path[1:], path=path) for path in ("/", "/degraded", "/denied", "/last")]
    async with answering(by_path) as port:
        answers = await offered(port, requests, rate=400, seconds=0.5)
    assert len(answers) == 200
    assert answers.outcomes() == {
        ("", 200, ""): 50,
        ("degraded", 200, ""): 50,
        ("denied", 403, "suspended"): 50,
        ("last", 200, ""): 50,
    }
    assert {each.degraded for each in answers.named("degraded")} == {"lifecycle,billing"}
    assert [each.name for each in answers[:5]] == ["", "degraded", "denied", "last", ""]


async def test_the_schedule_is_kept_while_nothing_answers_and_what_it_took_counts_from_the_schedule() -> None:
    stuck = asyncio.Event()
    stuck.set()

    async def reply(_: bytes, writer: asyncio.StreamWriter) -> None:
        await stuck.wait()
        ok(writer)

    async with answering(reply) as port, load(port, [Request()], rate=200) as running:
        await asyncio.sleep(0.3)
        stuck.clear()
        begin = time.monotonic()
        await asyncio.sleep(0.5)
        end = time.monotonic()
        stuck.set()
        await asyncio.sleep(0.3)
    during = running.answers.between(begin, end)
    assert abs(len(during) - 200 * (end - begin)) <= 2
    assert set(running.answers.statuses()) == {200}
    assert all(each.ended >= end for each in during)
    assert running.answers.slowest() > 0.4


async def test_more_connections_are_made_as_needed_and_above_the_most_requests_wait_and_are_sent_late() -> None:
    connections: set[asyncio.StreamWriter] = set()
    stuck = asyncio.Event()

    async def reply(_: bytes, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        await stuck.wait()
        ok(writer)

    async with (
        answering(reply) as port,
        load(port, [Request()], rate=100, connections=2, most_connections=5) as running,
    ):
        await asyncio.sleep(0.3)
        stuck.set()
        await asyncio.sleep(0.2)
    assert len(connections) == 5
    assert running.answers.statuses() == {200: len(running.answers)}
    assert running.answers.latest() > 0.15


async def test_no_answer_is_told_with_its_cause() -> None:
    requests = [Request(path=path) for path in ("/silent", "/closed")]
    async with answering(by_path) as port:
        answers = await offered(port, requests, rate=20, seconds=0.2, patience=0.3)
    assert {(each.status, each.reason) for each in answers} == {(0, "no_answer"), (0, "closed")}
    answers = await offered(free_port(), requests, rate=20, seconds=0.2, connections=0)
    assert answers.outcomes() == {("request", 0, "no_connection"): 4}


async def test_poisson_is_as_many_at_random_moments() -> None:
    async with answering(by_path) as port:
        answers = await offered(port, [Request()], rate=1000, seconds=1.0, poisson=True)
    assert 800 <= len(answers) <= 1200
    gaps = [after.at - before.at for before, after in itertools.pairwise(answers)]
    assert max(gaps) > 3 * sum(gaps) / len(gaps)


async def test_no_time_passes_in_which_it_offers_less_than_it_should() -> None:
    async with answering(by_path) as port:
        answers = await offered(port, [Request()], rate=1000, seconds=1.0)
    assert len(answers) == 1000
    begin = answers[0].at
    assert abs(answers[-1].at - begin - 0.999) < 1e-6
    assert answers.throughput(begin, begin + 1.0) > 900


def test_windows_percentiles_and_throughput() -> None:
    answers = Answers(
        [Answer(name="a", at=float(n), seconds=n / 100, late=0.0, status=200 if n % 4 else 0) for n in range(100)]
    )
    assert [each.at for each in answers.between(3.0, 5.0)] == [3.0, 4.0]
    assert answers.percentile(0.99) == 0.99
    assert answers.percentile(0.5) == 0.5
    assert answers.slowest() == 0.99
    assert answers.with_status(0).statuses() == {0: 25}
    assert answers.throughput(10.0, 50.0) == 0.75
    assert answers.throughput(10.0, 50.0, 503) == 0.0
    empty = answers.named("nobody")
    assert (len(empty), empty.slowest(), empty.percentile(0.99), empty.latest()) == (0, 0.0, 0.0, 0.0)
