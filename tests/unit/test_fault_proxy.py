"""The TCP fault proxy of the fault suite: each mode does to a connection what it says, to existing and to new ones."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress

import pytest
import pytest_asyncio

from tests.fault_proxy import (
    BlackHole,
    Delay,
    Drip,
    Fault,
    FaultProxy,
    FullBacklog,
    Garbage,
    HalfClose,
    Refuse,
    Reset,
    Truncate,
)

PATIENCE = 5.0
SHORT = 0.15


class Client:
    """A client of an echo server: says something, hears the same."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, proxy: FaultProxy) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    def say(self, words: bytes) -> None:
        self._writer.write(words)

    async def hears(self, size: int, within: float = PATIENCE) -> bytes:
        """So many bytes, or what came before the end."""
        async with asyncio.timeout(within):
            try:
                return await self._reader.readexactly(size)
            except asyncio.IncompleteReadError as ended:
                return ended.partial

    async def echoes(self, words: bytes) -> bool:
        self.say(words)
        return await self.hears(len(words)) == words

    async def close(self) -> None:
        self._writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError), closing(writer):
        while words := await reader.read(65536):
            writer.write(words)


@pytest_asyncio.fixture(name="server")
async def echo_server() -> AsyncIterator[int]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(name="proxy")
def proxy_to_it(server: int) -> Iterator[FaultProxy]:
    with FaultProxy(server) as proxy:
        yield proxy


@pytest_asyncio.fixture(name="client")
async def connected_client(proxy: FaultProxy) -> AsyncIterator[Client]:
    client = await Client.of(proxy)
    assert await client.echoes(b"hello")
    yield client
    await client.close()


async def ended(client: Client) -> bool:
    """Whether the other side has ended the connection, in an orderly way or not."""
    try:
        return await client.hears(1) == b""
    except ConnectionResetError:
        return True


async def test_without_a_fault_everything_passes_both_ways(proxy: FaultProxy, client: Client) -> None:
    words = bytes(range(256)) * 4096
    assert await client.echoes(words)
    assert (proxy.accepted, proxy.connections) == (1, 1)
    assert proxy.behind(f"postgresql://a@127.0.0.1:{proxy.port}/b") == f"postgresql://a@{proxy.address}/b"


async def test_refuse_new_connections_are_refused_existing_ones_go_on_and_the_port_comes_back(
    proxy: FaultProxy, client: Client
) -> None:
    proxy.fail(Refuse())
    with pytest.raises(ConnectionRefusedError):
        await Client.of(proxy)
    assert await client.echoes(b"still")
    proxy.heal()
    again = await Client.of(proxy)
    assert await again.echoes(b"back")
    await again.close()


async def test_full_backlog_connecting_hangs_existing_ones_go_on_and_it_ends(proxy: FaultProxy, client: Client) -> None:
    proxy.fail(FullBacklog())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT):
            await Client.of(proxy)
    assert await client.echoes(b"still")
    proxy.heal()
    again = await Client.of(proxy)
    assert await again.echoes(b"back")
    assert proxy.accepted <= 3  # those that filled the queue are not counted
    await again.close()


async def test_black_hole_connects_and_says_nothing_and_what_was_said_arrives_when_it_ends(
    proxy: FaultProxy, client: Client
) -> None:
    proxy.fail(BlackHole())
    new = await Client.of(proxy)
    for each in (client, new):
        each.say(b"anybody?")
        with pytest.raises(TimeoutError):
            await each.hears(1, within=SHORT)
    proxy.heal()
    for each in (client, new):
        assert await each.hears(8) == b"anybody?"
    await new.close()


async def test_a_fault_can_be_of_existing_or_of_new_connections_alone(proxy: FaultProxy, client: Client) -> None:
    proxy.fail(BlackHole(), existing=False)
    new = await Client.of(proxy)
    new.say(b"new")
    assert await client.echoes(b"existing")
    proxy.fail(Fault(), existing=False)
    newest = await Client.of(proxy)
    assert await newest.echoes(b"newest")
    proxy.fail(Reset(), new=False)
    assert [await ended(each) for each in (client, new, newest)] == [True, True, True]
    last = await Client.of(proxy)
    assert await last.echoes(b"last")
    for each in (new, newest, last):
        await each.close()


@pytest.mark.parametrize("delay", [Delay(there=SHORT), Delay(back=SHORT), Delay(there=SHORT / 2, back=SHORT / 2)])
async def test_delay_everything_comes_later_and_in_order_and_what_follows_is_not_later_still(
    proxy: FaultProxy, client: Client, delay: Delay
) -> None:
    proxy.fail(delay)
    started = time.monotonic()
    for number in range(10):
        client.say(b"%d" % number)
        await asyncio.sleep(0.02)
    assert await client.hears(10) == b"0123456789"
    assert SHORT <= time.monotonic() - started < 10 * SHORT


async def test_drip_a_few_bytes_at_a_time_and_the_rest_at_once_when_it_ends(proxy: FaultProxy, client: Client) -> None:
    proxy.fail(Drip(size=2, every=SHORT))
    client.say(b"0123456789")
    started = time.monotonic()
    assert await client.hears(4) == b"0123"
    assert SHORT <= time.monotonic() - started < 5 * SHORT
    proxy.heal()
    assert await client.hears(6) == b"456789"
    assert time.monotonic() - started < 5 * SHORT


async def test_reset_existing_and_new_connections_end_with_a_rst(proxy: FaultProxy, client: Client) -> None:
    proxy.fail(Reset())
    with pytest.raises(ConnectionResetError):
        await client.hears(1)
    with pytest.raises(ConnectionResetError):  # while it is made, or just after
        await (await Client.of(proxy)).hears(1)


async def test_half_close_the_end_is_said_and_the_client_may_go_on_talking(proxy: FaultProxy, client: Client) -> None:
    proxy.fail(HalfClose())
    new = await Client.of(proxy)
    for each in (client, new):
        assert await each.hears(1) == b""
        each.say(b"hello?")
    assert proxy.connections == 2
    await new.close()


async def test_truncate_replies_end_after_so_many_bytes(proxy: FaultProxy, client: Client) -> None:
    proxy.fail(Truncate(after=3))
    new = await Client.of(proxy)
    for each in (client, new):
        each.say(b"0123456789")
        assert await each.hears(10) == b"012"
    await new.close()


async def test_garbage_as_many_bytes_and_quite_others(proxy: FaultProxy, client: Client) -> None:
    proxy.fail(Garbage())
    client.say(b"0123456789" * 10)
    assert await client.hears(100) != b"0123456789" * 10
    proxy.heal()
    assert await client.echoes(b"clear again")


async def test_a_server_that_is_gone_ends_the_connection(proxy: FaultProxy) -> None:
    with FaultProxy(proxy.port) as further:
        proxy.fail(Refuse())
        client = await Client.of(further)
        assert await ended(client)
        await client.close()


async def test_whoever_leaves_is_forgotten(proxy: FaultProxy, client: Client) -> None:
    await client.close()
    give_up = time.monotonic() + PATIENCE
    while proxy.connections and time.monotonic() < give_up:  # noqa: ASYNC110 - it is in another thread
        await asyncio.sleep(0.01)
    assert proxy.connections == 0
