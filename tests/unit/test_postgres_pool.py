"""The pool of connections, without a database: who waits for what, who is refused, and what an outage does not do."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import asyncpg
import pytest

from extauthz.errors import NotFound, ProviderBusy, ProviderError, ProviderTimeout
from extauthz.providers.postgres_dial import DIAL_LIMIT
from extauthz.providers.postgres_pool import IDLE_LIMIT, REPEATS, Pool
from extauthz.resilience.bounded import within
from extauthz.testing.clock import in_virtual_time

CONNECT_TIME = 0.05
ANSWER_TIME = 0.1
SHORT_PATIENCE = 0.005


@dataclass(eq=False)
class FakeConnection:
    number: int
    closed: bool = False
    in_transaction: bool = False
    said_goodbye: bool = False

    def is_closed(self) -> bool:
        return self.closed

    def is_in_transaction(self) -> bool:
        return self.in_transaction

    def terminate(self) -> None:
        self.closed = True

    async def close(self) -> None:
        self.said_goodbye = True
        self.closed = True


@dataclass
class FakeServer:
    """Connections are made in CONNECT_TIME; while `error` is set they are refused after it, while `hangs` not even that."""

    made: list[FakeConnection] = field(default_factory=list)
    tries: list[float] = field(default_factory=list)
    error: Exception | None = None
    hangs: bool = False

    async def dial(self) -> asyncpg.Connection:
        self.tries.append(now())
        if self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(CONNECT_TIME)
        if self.error is not None:
            raise self.error
        self.made.append(FakeConnection(len(self.made)))
        return cast("asyncpg.Connection", self.made[-1])


def now() -> float:
    return asyncio.get_running_loop().time()


def pool_of(server: FakeServer, size: int = 2, patience: float = SHORT_PATIENCE) -> Pool:
    return Pool("the database", server.dial, size=size, patience=patience, clock=asyncio.get_running_loop().time)


def fake(connection: asyncpg.Connection) -> FakeConnection:
    return cast("FakeConnection", connection)


async def number(connection: asyncpg.Connection) -> int:
    await asyncio.sleep(ANSWER_TIME)
    return fake(connection).number


def failing(error: Exception, times: int = 1) -> Callable[[asyncpg.Connection], Awaitable[int]]:
    left = [error] * times

    async def call(connection: asyncpg.Connection) -> int:
        if left:
            raise left.pop()
        return fake(connection).number

    return call


@in_virtual_time
async def test_connections_are_made_when_they_are_needed_and_used_again() -> None:
    server = FakeServer()
    pool = pool_of(server)
    assert not server.tries
    for _ in range(5):
        assert await pool.run(number) == 0
    assert sorted(await asyncio.gather(pool.run(number), pool.run(number))) == [0, 1]
    await pool.close()
    assert len(server.tries) == 2


@in_virtual_time
async def test_a_call_that_finds_no_free_connection_is_refused_after_a_moment() -> None:
    server = FakeServer()
    pool = pool_of(server)
    await asyncio.gather(pool.run(number), pool.run(number))
    busy = [asyncio.ensure_future(pool.run(number)) for _ in range(2)]
    await asyncio.sleep(0)
    begin = now()
    with pytest.raises(ProviderBusy, match="all 2 connections"):
        await pool.run(number)
    assert now() - begin == pytest.approx(SHORT_PATIENCE)
    with pytest.raises(ProviderBusy, match="all 2 connections"):
        await pool.run(number)  # used up: whoever comes now does not wait at all
    assert now() - begin == pytest.approx(SHORT_PATIENCE)
    assert sorted(await asyncio.gather(*busy)) == [0, 1]
    assert len(server.made) == 2
    await pool.close()


@in_virtual_time
async def test_who_waits_gets_the_connection_that_comes_back_in_time() -> None:
    server = FakeServer()
    pool = pool_of(server, size=1, patience=ANSWER_TIME * 1.1)
    first = asyncio.ensure_future(pool.run(number))
    await asyncio.sleep(CONNECT_TIME + ANSWER_TIME / 2)
    assert await pool.run(number) == 0
    assert await first == 0
    await pool.close()


@in_virtual_time
async def test_as_long_as_connections_come_back_every_callers_turn_comes_in_the_order_they_came() -> None:
    server = FakeServer()
    pool = pool_of(server)
    await asyncio.gather(pool.run(number), pool.run(number))
    begin = now()
    served: list[int] = []

    async def quick(_: asyncpg.Connection) -> None:
        await asyncio.sleep(SHORT_PATIENCE / 2)

    async def caller(which: int) -> None:
        await pool.run(quick)
        served.append(which)

    await asyncio.gather(*(caller(which) for which in range(100)))
    assert now() - begin > SHORT_PATIENCE * 20
    assert [which // 2 for which in served] == [which // 2 for which in range(100)]  # two are served at a time
    await pool.close()


@in_virtual_time
async def test_a_cold_pool_serves_many_callers_at_once_as_soon_as_its_connections_are_made() -> None:
    async def quick(connection: asyncpg.Connection) -> int:
        await asyncio.sleep(SHORT_PATIENCE * 0.9)
        return fake(connection).number

    server = FakeServer()
    pool = pool_of(server, size=4)
    numbers = await asyncio.gather(*(pool.run(quick) for _ in range(64)))
    assert sorted(set(numbers)) == [0, 1, 2, 3]
    await pool.close()


@in_virtual_time
async def test_while_a_connection_is_being_made_the_callers_own_deadline_rules() -> None:
    server = FakeServer()
    pool = pool_of(server, size=1)
    calls = [asyncio.ensure_future(pool.run(failing(NotFound("x"), times=0))) for _ in range(5)]
    assert await asyncio.gather(*calls) == [0] * 5
    assert len(server.tries) == 1
    await pool.close()


@in_virtual_time
async def test_a_caller_that_leaves_does_not_take_the_try_along() -> None:
    server = FakeServer()
    pool = pool_of(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(CONNECT_TIME / 2):
            await pool.run(number)
    assert await pool.run(number) == 0
    assert len(server.tries) == 1
    await pool.close()


@in_virtual_time
async def test_a_cancelled_call_takes_its_connection_with_it_and_frees_its_place() -> None:
    server = FakeServer()
    pool = pool_of(server, size=1)
    for expected in range(3):
        call = asyncio.ensure_future(pool.run(number))
        await asyncio.sleep(CONNECT_TIME + ANSWER_TIME / 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert server.made[expected].closed
    assert await pool.run(number) == 3
    await pool.close()


@in_virtual_time
async def test_a_caller_cancelled_while_it_waits_loses_nobody_elses_turn() -> None:
    server = FakeServer()
    pool = pool_of(server, size=1, patience=1.0)
    held = asyncio.Event()

    async def hold(_: asyncpg.Connection) -> None:
        await held.wait()

    holding = asyncio.ensure_future(pool.run(hold))
    await asyncio.sleep(CONNECT_TIME * 2)
    first, second = (asyncio.ensure_future(pool.run(failing(NotFound("x"), times=0))) for _ in range(2))
    await asyncio.sleep(0)
    held.set()
    await asyncio.sleep(0)
    first.cancel()  # it may have been woken in this very moment
    assert await second == 0
    results = await asyncio.gather(holding, first, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert len(server.made) == 1
    await pool.close()


@in_virtual_time
async def test_callers_that_were_woken_and_leave_pass_the_turn_on() -> None:
    server = FakeServer()
    pool = pool_of(server, size=1, patience=10.0)

    async def hang(_: asyncpg.Connection) -> None:
        await asyncio.Event().wait()

    using = asyncio.ensure_future(pool.run(hang))
    await asyncio.sleep(CONNECT_TIME * 2)
    leaving = [asyncio.ensure_future(pool.run(hang)) for _ in range(3)]
    staying = asyncio.ensure_future(pool.run(number))
    await asyncio.sleep(0)
    begin = now()
    for each in (using, *leaving):
        each.cancel()
    assert await staying == 1
    assert now() - begin == pytest.approx(CONNECT_TIME + ANSWER_TIME)
    await asyncio.wait({using, *leaving})
    await pool.close()


# Errors


@in_virtual_time
async def test_our_own_refusals_and_the_servers_answers_keep_the_connection() -> None:
    server = FakeServer()
    pool = pool_of(server)
    for error, ours in (
        (NotFound("no such"), NotFound),
        (asyncpg.UniqueViolationError("secret"), ProviderError),
        (asyncpg.QueryCanceledError("secret"), ProviderTimeout),
    ):
        with pytest.raises(ours) as caught:
            await pool.run(failing(error))
        assert "secret" not in str(caught.value)
    assert await pool.run(number) == 0
    await pool.close()


@in_virtual_time
async def test_a_connection_left_in_a_transaction_or_in_doubt_is_dropped() -> None:
    server = FakeServer()
    pool = pool_of(server)

    async def leave_open(connection: asyncpg.Connection) -> None:
        fake(connection).in_transaction = True

    await pool.run(leave_open)
    with pytest.raises(ZeroDivisionError):
        await pool.run(failing(ZeroDivisionError()))
    assert [made.closed for made in server.made] == [True, True]
    assert await pool.run(number) == 2
    await pool.close()


@in_virtual_time
async def test_a_dead_connection_is_hidden_from_a_look_up() -> None:
    server = FakeServer()
    pool = pool_of(server)
    await asyncio.gather(pool.run(number), pool.run(number))
    lost = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    assert await pool.run(failing(lost), repeatable=True) == 2
    assert [made.closed for made in server.made] == [True, True, False]
    await pool.close()


@in_virtual_time
async def test_a_look_up_is_repeated_a_few_times_and_a_change_never() -> None:
    server = FakeServer()
    pool = pool_of(server)
    for repeatable, failures in ((True, REPEATS + 1), (False, 1)):
        call = failing(ConnectionResetError(), times=failures)
        with pytest.raises(ProviderError):
            await pool.run(call, repeatable=repeatable)
        assert await pool.run(call) >= 0
    await pool.close()


@in_virtual_time
async def test_what_was_closed_while_idle_or_was_idle_for_long_is_not_used() -> None:
    server = FakeServer()
    pool = pool_of(server)
    assert await pool.run(number) == 0
    server.made[0].closed = True
    assert await pool.run(number) == 1
    await asyncio.sleep(IDLE_LIMIT + 1)
    assert await pool.run(number) == 2
    assert server.made[1].closed
    await pool.close()


# Outages


@in_virtual_time
async def test_an_outage_never_becomes_a_connection_storm() -> None:
    server = FakeServer(error=ConnectionRefusedError())
    pool = pool_of(server, size=8)
    errors: list[Exception] = []
    begin = now()
    while now() < begin + 10:
        results = await asyncio.gather(*(pool.run(number) for _ in range(50)), return_exceptions=True)
        errors += [result for result in results if isinstance(result, Exception)]
        await asyncio.sleep(0.01)
    assert {type(error) for error in errors} == {ProviderError}
    assert len(errors) > 1000
    assert len(server.tries) <= 8 + 60  # the first round, then one at a time with a growing pause
    await pool.close()


@in_virtual_time
async def test_after_an_outage_all_connections_come_back() -> None:
    server = FakeServer(error=ConnectionRefusedError())
    pool = pool_of(server)
    for _ in range(20):
        with pytest.raises(ProviderError, match="the database: cannot be reached"):
            await pool.run(number)
        await asyncio.sleep(0.1)
    server.error = None
    await asyncio.sleep(0.5)
    assert await pool.run(number) == 0
    assert sorted(await asyncio.gather(pool.run(number), pool.run(number))) == [0, 1]
    await pool.close()


@in_virtual_time
async def test_while_there_is_trouble_callers_share_one_try() -> None:
    server = FakeServer(error=ConnectionRefusedError())
    pool = pool_of(server, size=8)
    with pytest.raises(ProviderError):
        await pool.run(number)
    await asyncio.sleep(1)
    results = await asyncio.gather(*(pool.run(number) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(result, ProviderError) for result in results)
    assert len(server.tries) == 2
    await pool.close()


@in_virtual_time
async def test_a_try_that_hangs_is_given_up_as_failed_and_is_not_the_last() -> None:
    server = FakeServer(hangs=True)
    pool = pool_of(server, size=1)
    begin = now()
    with pytest.raises(ProviderTimeout):
        await within(0.5, pool.run(number))
    server.hangs = False  # the one under way still does
    with pytest.raises(ProviderError, match="no answer within"):
        await pool.run(number)
    assert now() - begin == pytest.approx(DIAL_LIMIT)
    with pytest.raises(ProviderError, match="no answer within"):
        await pool.run(number)  # there is a pause, as after any other failure
    assert now() - begin == pytest.approx(DIAL_LIMIT)
    await asyncio.sleep(0.1)
    assert await pool.run(number) == 0
    await pool.close()


@in_virtual_time
async def test_a_server_that_takes_no_more_connections_leaves_those_there_are_in_use() -> None:
    server = FakeServer()
    pool = pool_of(server)
    assert await pool.run(number) == 0
    server.error = asyncpg.TooManyConnectionsError("sorry, too many clients already")
    first, second = asyncio.ensure_future(pool.run(number)), asyncio.ensure_future(pool.run(number))
    assert await first == 0
    with pytest.raises(ProviderBusy):
        await second
    assert await pool.run(number) == 0
    await pool.close()


# The end


@in_virtual_time
async def test_closing_says_goodbye_and_ends_what_is_under_way() -> None:
    server = FakeServer()
    pool = pool_of(server, size=3)
    await asyncio.gather(pool.run(number), pool.run(number))
    under_way = asyncio.ensure_future(pool.run(failing(NotFound("x"), times=0)))
    await under_way
    server.hangs = True
    calls = [asyncio.ensure_future(pool.run(number)) for _ in range(3)]
    await asyncio.sleep(0)
    await pool.close()
    assert all(made.closed for made in server.made)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[2], ProviderError)
    with pytest.raises(ProviderError, match="closed"):
        await pool.run(number)


@in_virtual_time
async def test_a_connection_that_is_made_when_the_pool_is_closed_or_later_is_ended() -> None:
    async def closes_the_pool() -> asyncpg.Connection:
        closing.append(asyncio.ensure_future(pool.close()))
        return cast("asyncpg.Connection", made[0])

    async def will_not_be_stopped() -> asyncpg.Connection:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(CONNECT_TIME)
        return cast("asyncpg.Connection", made[1])

    made, closing = (FakeConnection(0), FakeConnection(1)), list[asyncio.Task[None]]()
    for dial in (closes_the_pool, will_not_be_stopped):
        pool = Pool("the database", dial, size=1, patience=1.0, clock=asyncio.get_running_loop().time)
        with pytest.raises(ProviderError):
            await within(0.5, pool.run(number))
        await pool.close()
    await asyncio.sleep(CONNECT_TIME * 2)
    assert [each.closed for each in made] == [True, True]
    await asyncio.gather(*closing)


@in_virtual_time
async def test_a_server_that_hangs_does_not_hold_up_the_end() -> None:
    class Stubborn(FakeConnection):
        async def close(self) -> None:
            await asyncio.Event().wait()

    async def dial() -> asyncpg.Connection:
        return cast("asyncpg.Connection", stubborn)

    stubborn = Stubborn(0)
    pool = Pool("the database", dial, size=1, patience=1.0, clock=asyncio.get_running_loop().time)
    assert await pool.run(number) == 0
    await pool.close()
    assert stubborn.closed
