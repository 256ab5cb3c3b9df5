"""Functions of a connection in threads: transactions, callers that leave, locks that others hold, closing."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Event, get_ident

import pytest

from extauthz.errors import NotFound, ProviderError, ProviderTimeout
from extauthz.providers.sqlite import MIGRATIONS
from extauthz.providers.sqlite_db import SqliteDatabase
from extauthz.providers.sqlite_schema import STATE_APPLICATION_ID
from extauthz.providers.sqlite_worker import Job

HANG = 20.0
"""Seconds after which a test counts as hung. Nothing here takes that long; a query that is not interrupted never ends."""

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT began() UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n"


def make(path: Path, *, readers: int = 1, patience: float = HANG) -> SqliteDatabase:
    return SqliteDatabase(
        path, application_id=STATE_APPLICATION_ID, migrations=MIGRATIONS, readers=readers, patience=patience
    )


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    made = make(tmp_path / "state.db")
    await made.start()
    yield made
    await made.close()


def endless(began: Event) -> Callable[[sqlite3.Connection], None]:
    """A query that sets `began` and never ends by itself."""

    def work(db: sqlite3.Connection) -> None:
        db.create_function("began", 0, began.set)
        db.execute(ENDLESS).fetchone()

    return work


def one(db: sqlite3.Connection) -> object:
    return db.execute("SELECT 1").fetchone()[0]


def count(db: sqlite3.Connection) -> object:
    return db.execute("SELECT count(*) FROM billing").fetchone()[0]


def add(tenant_id: str) -> Callable[[sqlite3.Connection], None]:
    def work(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO billing VALUES (?, 'TRIAL', NULL)", (tenant_id,))

    return work


async def wait_for(event: Event) -> None:
    assert await asyncio.to_thread(event.wait, HANG)


async def test_work_is_done_off_the_event_loop(database: SqliteDatabase) -> None:
    threads = {await database.read(lambda _: get_ident()), await database.write(lambda _: get_ident())}
    assert len(threads) == 2
    assert get_ident() not in threads


async def test_a_write_is_committed_when_its_function_returns(database: SqliteDatabase) -> None:
    await database.write(add("a"))
    assert await database.read(count) == 1


async def test_a_write_is_rolled_back_when_its_function_raises(database: SqliteDatabase) -> None:
    def refuse(db: sqlite3.Connection) -> None:
        add("a")(db)
        raise NotFound("no")

    with pytest.raises(NotFound):
        await database.write(refuse)
    assert await database.read(count) == 0
    await database.write(add("a"))
    assert await database.read(count) == 1


async def test_a_reader_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises(ProviderError, match="cannot be written"):
        await database.read(add("a"))
    assert await database.read(count) == 0


async def test_what_a_function_raises_reaches_its_caller_and_the_thread_lives_on(database: SqliteDatabase) -> None:
    def broken(_: sqlite3.Connection) -> None:
        raise KeyError("a fault of ours")

    with pytest.raises(KeyError, match="a fault of ours"):
        await database.read(broken)
    with pytest.raises(ProviderError, match="SQLITE_ERROR") as caught:
        await database.read(lambda db: db.execute("SELECT * FROM nowhere"))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert "nowhere" not in str(caught.value), "no SQL in a text for users"
    assert await database.read(one) == 1


# Callers that leave


async def test_a_cancelled_call_interrupts_its_own_query(database: SqliteDatabase) -> None:
    began = Event()
    call = asyncio.create_task(database.read(endless(began)))
    await wait_for(began)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(HANG):  # the only reader is free again
        assert await database.read(one) == 1


async def test_a_call_that_timed_out_leaves_nobody_waiting_behind_a_dead_query(database: SqliteDatabase) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await database.read(endless(Event()))
    async with asyncio.timeout(HANG):
        assert await database.read(one) == 1


async def test_a_cancelled_write_is_rolled_back(database: SqliteDatabase) -> None:
    began = Event()

    def work(db: sqlite3.Connection) -> None:
        add("a")(db)
        endless(began)(db)

    call = asyncio.create_task(database.write(work))
    await wait_for(began)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(HANG):
        assert await database.write(count) == 0


async def test_a_call_cancelled_between_two_statements_does_not_run_the_second_to_its_end(
    database: SqliteDatabase,
) -> None:
    between, go_on = Event(), Event()

    def work(db: sqlite3.Connection) -> None:
        one(db)
        between.set()
        go_on.wait(HANG)
        endless(Event())(db)

    call = asyncio.create_task(database.read(work))
    await wait_for(between)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()
    async with asyncio.timeout(HANG):
        assert await database.read(one) == 1


async def test_a_cancelled_call_leaves_the_queries_of_others_alone(tmp_path: Path) -> None:
    database = make(tmp_path / "state.db", readers=2)
    began, other_began, go_on = Event(), Event(), Event()

    def pause() -> bool:
        other_began.set()
        return go_on.wait(HANG)

    def other(db: sqlite3.Connection) -> object:
        db.create_function("pause", 0, pause)
        return db.execute("SELECT pause(), count(*) FROM sqlite_master, sqlite_master").fetchone()[0]

    cancelled = asyncio.create_task(database.read(endless(began)))
    kept = asyncio.create_task(database.read(other))
    await wait_for(began)
    await wait_for(other_began)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    go_on.set()
    async with asyncio.timeout(HANG):
        assert await kept == 1
    assert cancelled.cancelled()
    await database.close()


async def test_a_call_cancelled_in_the_queue_never_begins(database: SqliteDatabase) -> None:
    began, go_on = Event(), Event()
    ran: list[str] = []

    def first(_: sqlite3.Connection) -> None:
        began.set()
        go_on.wait(HANG)

    running = asyncio.create_task(database.read(first))
    await wait_for(began)
    queued = asyncio.create_task(database.read(lambda _: ran.append("queued")))
    last = asyncio.create_task(database.read(lambda _: ran.append("last")))
    await asyncio.sleep(0)
    queued.cancel()
    await asyncio.wait([queued])
    go_on.set()
    await asyncio.gather(running, last)
    assert ran == ["last"]


class Recording(sqlite3.Connection):
    interrupts = 0

    def interrupt(self) -> None:
        self.interrupts += 1


async def test_a_job_interrupts_while_it_runs_and_at_no_other_time() -> None:
    connection = sqlite3.connect(":memory:", factory=Recording)
    seen: list[int] = []

    def work(_: sqlite3.Connection) -> None:
        job.abandon()
        seen.append(connection.interrupts)

    job = Job(work)
    job.attempt(connection)
    assert seen == [1]
    job.abandon()
    with pytest.raises(ProviderTimeout):
        job.attempt(connection)
    assert (seen, connection.interrupts) == ([1], 1)
    connection.close()


async def test_a_result_that_nobody_waits_for_is_dropped() -> None:
    connection = sqlite3.connect(":memory:")
    job = Job(one)
    job.result.cancel()
    job.attempt(connection)
    job.fail(ProviderError("late"))
    await asyncio.sleep(0)
    assert job.result.cancelled()
    connection.close()


def test_a_thread_outlives_the_event_loop_that_asked() -> None:
    async def ask() -> Job[object]:
        return Job(one)

    job = asyncio.run(ask())
    connection = sqlite3.connect(":memory:")
    job.attempt(connection)
    assert not job.result.done()
    connection.close()


# Locks that others hold


async def test_a_call_waits_for_a_lock_and_goes_on_when_it_is_free(database: SqliteDatabase) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO billing VALUES ('other', 'TRIAL', NULL)")
    call = asyncio.create_task(database.write(count))
    assert await database.read(count) == 0, "readers do not wait for a writer"
    other.execute("COMMIT")
    assert await call == 1, "it saw what the other left"
    other.close()


async def test_a_lock_that_is_never_given_back_is_an_error(tmp_path: Path) -> None:
    database = make(tmp_path / "state.db", patience=0.05)
    await database.start()
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ProviderError, match="locked by somebody else"):
        await database.write(add("a"))
    other.execute("ROLLBACK")
    await database.write(add("a"))
    other.close()
    await database.close()


async def test_a_caller_that_leaves_ends_the_waiting_for_a_lock(tmp_path: Path) -> None:
    database = make(tmp_path / "state.db", patience=100_000)
    await database.start()
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    call = asyncio.create_task(database.write(one))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    async with asyncio.timeout(HANG):  # the thread would wait for days
        await database.close()
    other.close()


async def test_a_caller_that_leaves_ends_the_waiting_for_a_file_that_cannot_be_opened_yet(tmp_path: Path) -> None:
    database = make(tmp_path / "state.db", patience=100_000)
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    call = asyncio.create_task(database.read(one))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    async with asyncio.timeout(HANG):
        await database.close()
    other.close()


# Closing


async def test_closing_finishes_what_is_queued_and_refuses_what_comes_later(database: SqliteDatabase) -> None:
    calls = [asyncio.create_task(database.write(add(f"t{number}"))) for number in range(5)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*calls)
    with pytest.raises(ProviderError, match="closed"):
        await database.read(one)
    with sqlite3.connect(database.path) as check:
        assert count(check) == 5
    check.close()


async def test_closing_what_was_never_opened_leaves_no_file(tmp_path: Path) -> None:
    database = make(tmp_path / "state.db")
    await database.close()
    await database.close()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - an async test may not iterate over a Path


async def test_closing_does_not_wait_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = make(tmp_path / "state.db", patience=0.05)
    await database.start()
    began, go_on = Event(), Event()

    def stuck(_: sqlite3.Connection) -> None:
        began.set()
        go_on.wait(HANG)

    call = asyncio.create_task(database.write(stuck))
    await wait_for(began)
    with caplog.at_level(logging.WARNING):
        await database.close()
    assert "did not end" in caplog.text
    go_on.set()
    await call


async def test_an_unreachable_file_is_a_warning_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = make(tmp_path / "missing" / "state.db")
    with caplog.at_level(logging.WARNING):
        await database.start()
    assert "not reachable" in caplog.text
    (tmp_path / "missing").mkdir()
    assert await database.read(count) == 0
    await database.close()
