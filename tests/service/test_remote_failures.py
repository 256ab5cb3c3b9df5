"""Remote providers against servers that are gone, hang, hang up or talk nonsense, over real connections."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc
import pytest

from extauthz._gen.provider.v1 import lifecycle_pb2
from extauthz.errors import ConfigError, InvalidRecord, NotSupported, ProviderError, ProviderTimeout
from extauthz.model import trace
from extauthz.model.changed import StoredChange
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.providers.memory import MemoryStore
from extauthz.providers.remote import RemoteChannel, RemoteProtection, RemoteStore, RemoteTimeouts
from extauthz.providers.serve import Backends, ProviderServer
from extauthz.providers.sqlite import SqliteStore
from extauthz.testing.contracts_values import ACME, a_change, a_tenant
from tests import remote_bench as bench
from tests.http2_server import answering, listening
from tests.remote_bench import Context, another_process

PATIENCE = 30.0
SOON = RemoteTimeouts(lifecycle=0.05, billing=0.05, credentials=0.05, changes=0.05)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RECORD = LifecycleRecord(state=LifecycleState.ACTIVE, onboarding=Onboarding.COMPLETE)
FOUND = lifecycle_pb2.FindLifecycleResponse(
    record=lifecycle_pb2.LifecycleRecord(
        state=lifecycle_pb2.LIFECYCLE_STATE_ACTIVE, onboarding=lifecycle_pb2.ONBOARDING_COMPLETE
    )
).SerializeToString()


async def found(_message: bytes, _context: Context) -> bytes:
    return FOUND


async def hang(_message: bytes, _context: Context) -> bytes:
    await asyncio.Event().wait()
    return b""


async def until_it_works(store: RemoteStore) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(ProviderError):
                assert await store.find_lifecycle(ACME) == RECORD
                return
            await asyncio.sleep(0.01)


# What a server is told


async def test_the_deadline_of_the_provider_arrives_at_the_server() -> None:
    long = RemoteTimeouts(lifecycle=500.0)
    async with bench.raw_server(found) as (server, url), bench.asking(url, long) as store:
        await store.find_lifecycle(ACME)
    [left] = server.time_left
    assert left is not None
    assert 400 < left < 600  # gRPC rounds what is long


async def test_the_trace_of_the_request_arrives_at_the_server_and_nothing_else_does() -> None:
    async with bench.raw_server(found) as (server, url), bench.asking(url) as store:
        with trace.tracing(TRACEPARENT):
            await store.find_lifecycle(ACME)
        await store.find_lifecycle(ACME)
    first, second = ({name: value for name, value in each.items() if name != "user-agent"} for each in server.metadata)
    assert first == {"traceparent": TRACEPARENT}
    assert second == {}


async def test_a_trace_goes_on_through_a_provider_server() -> None:
    async with AsyncExitStack() as stack:
        last, url = await stack.enter_async_context(bench.raw_server(found))
        behind = await stack.enter_async_context(bench.asking(url))
        store = await stack.enter_async_context(bench.remote_store(Backends(lifecycle=behind)))
        stack.enter_context(trace.tracing(TRACEPARENT))
        assert await store.find_lifecycle(ACME) == RECORD
    assert last.metadata[0]["traceparent"] == TRACEPARENT


# Servers that hang


async def test_a_server_that_hangs_is_no_answer_at_the_deadline_and_is_told_so() -> None:
    async with bench.raw_server(hang) as (server, url), bench.asking(url, SOON) as store:
        with pytest.raises(ProviderTimeout):
            await store.find_lifecycle(ACME)
        async with asyncio.timeout(PATIENCE):
            await server.ended.wait()


async def read_on(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def speak_of_other_things(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
    await reader.read(1)


async def test_a_server_that_accepts_and_never_speaks_is_no_answer_at_the_deadline() -> None:
    async with listening(read_on) as url, bench.asking(url, SOON) as store:
        for _ in range(3):
            with pytest.raises(ProviderError):
                await store.find_lifecycle(ACME)


async def test_a_server_that_hangs_up_is_no_answer() -> None:
    async with listening(hang_up) as url, bench.asking(url) as store:
        for _ in range(3):
            with pytest.raises(ProviderError):
                await store.find_lifecycle(ACME)


async def test_a_server_that_does_not_speak_grpc_is_no_answer() -> None:
    async with listening(speak_of_other_things) as url, bench.asking(url) as store:
        with pytest.raises(ProviderError):
            await store.find_lifecycle(ACME)


# Servers that end


async def test_a_server_that_is_gone_and_comes_back() -> None:
    behind = MemoryStore()
    await behind.create_tenant(a_tenant(), a_change())
    first = ProviderServer(bench.LISTEN, bench.state(behind), policy=bench.AT_ONCE)
    await first.start()
    async with bench.asking(bench.url(first)) as store:
        assert await store.find_lifecycle(ACME) == RECORD
        await first.stop()
        for _ in range(3):
            with pytest.raises(ProviderError):
                await store.find_lifecycle(ACME)
        async with ProviderServer(first.address, bench.state(behind), policy=bench.AT_ONCE):
            await until_it_works(store)


async def test_a_server_that_was_never_there_is_no_answer_until_it_is() -> None:
    async with ProviderServer(bench.LISTEN, Backends(), policy=bench.AT_ONCE) as server:
        address = server.address
    behind = MemoryStore()
    await behind.create_tenant(a_tenant(), a_change())
    async with bench.asking(f"grpc://{address}") as store:
        with pytest.raises(ProviderError):
            await store.find_lifecycle(ACME)
        async with ProviderServer(address, bench.state(behind), policy=bench.AT_ONCE):
            await until_it_works(store)


async def test_connections_that_end_under_load_are_not_noticed() -> None:
    """GOAWAY: what is under way ends well, what comes goes over a new connection."""
    age = (("grpc.max_connection_age_ms", 60), ("grpc.max_connection_age_grace_ms", 10_000))
    async with bench.raw_server(found, *age) as (server, url), bench.asking(url) as store, asyncio.timeout(PATIENCE):
        while len(set(server.peers)) < 5:
            answers = await asyncio.gather(*(store.find_lifecycle(ACME) for _ in range(20)))
            assert answers == [RECORD] * 20


async def test_calls_under_way_when_a_server_ends_are_no_answer() -> None:
    async with bench.asking(await ended_under_way()) as store:
        with pytest.raises(ProviderError):
            await store.find_lifecycle(ACME)


async def ended_under_way() -> str:
    begun = asyncio.Event()

    async def begin_and_hang(_message: bytes, _context: Context) -> bytes:
        begun.set()
        return await hang(b"", _context)

    raw = bench.Raw(begin_and_hang)
    server = grpc.aio.server(handlers=[raw], options=[("grpc.so_reuseport", 0)])
    url = f"grpc://127.0.0.1:{server.add_insecure_port(bench.LISTEN)}"
    await server.start()
    async with bench.asking(url) as store:
        asked = [asyncio.ensure_future(store.find_lifecycle(ACME)) for _ in range(5)]
        await begun.wait()
        await server.stop(0)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ProviderError}
    return url


async def with_a_tenant(folder: Path) -> Path:
    """A file with one tenant in it."""
    file = folder / "state.db"
    store = SqliteStore(file)
    await store.start()
    await store.create_tenant(a_tenant(), a_change())
    await store.close()
    return file


async def test_a_server_that_freezes_is_bounded_and_one_that_thaws_answers(tmp_path: Path) -> None:
    file = await with_a_tenant(tmp_path)
    async with another_process(file) as (process, port), bench.asking(f"grpc://127.0.0.1:{port}", SOON) as store:
        await until_it_works(store)
        os.kill(process.pid, signal.SIGSTOP)
        outcomes = await asyncio.gather(*(store.find_lifecycle(ACME) for _ in range(50)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ProviderTimeout}
        os.kill(process.pid, signal.SIGCONT)
        await until_it_works(store)


async def test_a_server_that_is_killed_under_load_is_no_answer_and_its_successor_answers(tmp_path: Path) -> None:
    file = await with_a_tenant(tmp_path)
    async with another_process(file) as (process, port), bench.asking(f"grpc://127.0.0.1:{port}") as store:
        await until_it_works(store)
        asked = [asyncio.ensure_future(store.find_lifecycle(ACME)) for _ in range(50)]
        process.kill()
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert outcome == RECORD or type(outcome) is ProviderError
        await process.wait()
        with pytest.raises(ProviderError):
            await store.find_lifecycle(ACME)
        async with another_process(file, port):
            await until_it_works(store)


# Servers that talk nonsense


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xff", id="no message"),
        pytest.param(b"\x0a\x02\x10\x02", id="no state"),
        pytest.param(b"\x0a\x04\x08\x63\x10\x02", id="state 99"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_the_tenants_fault_alone(answer: bytes) -> None:
    async def nonsense(_message: bytes, _context: Context) -> bytes:
        return answer

    async with bench.raw_server(nonsense) as (_, url), bench.asking(url) as store:
        with pytest.raises(InvalidRecord):
            await store.find_lifecycle(ACME)


async def test_an_answer_above_the_limit_is_none() -> None:
    async def endless(_message: bytes, _context: Context) -> bytes:
        return b"\x12\x00" * (9 * 1024 * 1024)

    async with bench.raw_server(endless, ("grpc.max_send_message_length", -1)) as (_, url), bench.asking(url) as store:
        with pytest.raises(ProviderError, match="RESOURCE_EXHAUSTED"):
            await store.find_lifecycle(ACME)


@pytest.mark.parametrize("status", ["5", "12", "16", "17", "99", "-1", "nonsense", ""])
async def test_a_status_that_no_lookup_has_is_no_answer(status: str) -> None:
    async with answering(status) as url, bench.asking(url) as store:
        with pytest.raises(ProviderError):
            await store.find_lifecycle(ACME)


async def test_the_text_of_a_status_is_cut() -> None:
    async def talk(_message: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.INTERNAL, "x" * 3_000)

    async with bench.raw_server(talk) as (_, url), bench.asking(url) as store:
        with pytest.raises(ProviderError) as refused:
            await store.find_lifecycle(ACME)
    assert len(str(refused.value)) < 400


# Servers that serve little


async def test_what_is_not_served_cannot_be_changed_from_here_and_look_ups_fail() -> None:
    async with bench.remote_store(Backends(lifecycle=MemoryStore())) as store:
        assert await store.find_lifecycle(ACME) is None
        for call in (
            store.get_tenant(ACME),
            store.create_tenant(a_tenant(), a_change()),
            store.history(ACME),
            store.last_change(),
            store.changes_after(0),
            store.renew_lease("one", 0, 3.0),
            RemoteProtection(store._channel).usage(ACME),
        ):
            with pytest.raises(NotSupported):
                await call
        with pytest.raises(ProviderError, match="UNIMPLEMENTED"):
            await store.find_billing(ACME)
        await store.wait_for_change(0.01)


# Waiting for changes


async def test_a_change_made_before_the_wait_arrived_ends_it_at_once() -> None:
    """The server looks at what there is as well as at what comes."""
    log = Log()
    async with bench.remote_store(Backends(changes=log)) as store, asyncio.timeout(PATIENCE):
        assert await store.last_change() == 0
        log.newest = 1
        await store.wait_for_change(PATIENCE * 10)
        assert await store.last_change() == 1
        waiting = asyncio.ensure_future(store.wait_for_change(PATIENCE * 10))
        await log.waited.wait()
        log.woken.set()
        await waiting
    assert log.waits == 0


async def test_a_server_that_stops_lets_go_who_waits_for_a_change() -> None:
    log = Log()
    async with ProviderServer(bench.LISTEN, Backends(changes=log)) as server, bench.asking(bench.url(server)) as store:
        waiting = asyncio.ensure_future(store.wait_for_change(PATIENCE * 10))
        await log.waited.wait()
        async with asyncio.timeout(PATIENCE):
            await server.stop()
            await waiting
    assert log.waits == 0


class Log:
    """A change log that is told when to wake."""

    def __init__(self) -> None:
        self.newest = 0
        self.waits = 0
        self.waited = asyncio.Event()
        self.woken = asyncio.Event()

    async def last_change(self) -> int:
        return self.newest

    async def changes_after(self, seq: int, limit: int = 1000) -> list[StoredChange]:
        raise NotImplementedError

    async def wait_for_change(self, seconds: float) -> None:  # noqa: ARG002 - as the protocol has it
        self.waits += 1
        self.waited.set()
        try:
            await self.woken.wait()
        finally:
            self.waits -= 1


# One connection for several


async def test_a_shared_connection_ends_with_its_last_user() -> None:
    async with bench.raw_server(found) as (server, url):
        channel = RemoteChannel(url)
        one, two = RemoteStore(channel), RemoteStore(channel)
        await one.start()
        await two.start()
        assert await one.find_lifecycle(ACME) == RECORD
        await one.close()
        assert await two.find_lifecycle(ACME) == RECORD
        assert len(set(server.peers)) == 1
        await two.close()
        with pytest.raises(ProviderError, match="not open"):
            await two.find_lifecycle(ACME)
        await two.close()
        await one.start()
        assert await one.find_lifecycle(ACME) == RECORD
        await one.close()


async def test_calls_under_way_when_the_connection_is_closed_are_no_answer() -> None:
    async with bench.raw_server(hang) as (server, url):
        store = RemoteStore(url, timeouts=bench.PATIENT_TIMEOUTS)
        await store.start()
        asked = asyncio.ensure_future(store.find_lifecycle(ACME))
        async with asyncio.timeout(PATIENCE):
            await server.begun.wait()
            await store.close()
            with pytest.raises(ProviderError, match="closed"):
                await asked


@pytest.mark.parametrize("steps", range(4))
async def test_a_connection_closed_at_any_moment_of_a_call_is_no_answer(steps: int) -> None:
    async with bench.raw_server(hang) as (_, url), asyncio.timeout(PATIENCE):
        store = RemoteStore(url, timeouts=bench.PATIENT_TIMEOUTS)
        await store.start()
        asked = asyncio.ensure_future(store.find_lifecycle(ACME))
        for _step in range(steps):
            await asyncio.sleep(0)
        await store.close()
        with pytest.raises(ProviderError):
            await asked


async def test_a_caller_that_leaves_leaves_the_server_too() -> None:
    async with bench.raw_server(hang) as (server, url), bench.asking(url) as store, asyncio.timeout(PATIENCE):
        asked = asyncio.ensure_future(store.find_lifecycle(ACME))
        await server.begun.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await server.ended.wait()


async def test_a_bad_address_is_told_before_anything_is_opened() -> None:
    with pytest.raises(ConfigError):
        RemoteStore("grpc://nowhere")
