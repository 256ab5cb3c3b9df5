"""`rediss://`: the server's certificate is checked, and ours is shown. A proxy does TLS for a server built without it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from extauthz.errors import ProviderError
from extauthz.model.billing import Limits
from extauthz.model.protection import CHARGED, Charge
from extauthz.providers.redis_protection import RedisProtection
from tests.redis_server import HOST, RedisServer, single

CERTS = Path(__file__).parent.parent / "certs"
CA = CERTS / "ca.pem"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with single() as started:
        yield started


@asynccontextmanager
async def over_tls(server: RedisServer, *, asks_for_a_certificate: bool = False) -> AsyncIterator[int]:
    """The port of a proxy in front of the server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CA)
    context.load_cert_chain(CERTS / "server.pem", CERTS / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED if asks_for_a_certificate else ssl.CERT_NONE

    async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(HOST, server.port)
        await asyncio.gather(forward(reader, to_server[1]), forward(to_server[0], writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "0.0.0.0", 0, ssl=context) as proxy:
        yield proxy.sockets[0].getsockname()[1]


async def charged(url: str) -> bool:
    provider = RedisProtection(url, timeout=5.0)
    try:
        result = await provider.charge(Charge(tenant_id="acme", limits=Limits(), blocking=frozenset(CHARGED)))
    finally:
        await provider.close()
    return result.charged


async def test_a_server_with_a_certificate_of_our_authority_is_trusted(server: RedisServer) -> None:
    async with over_tls(server) as port:
        assert await charged(f"rediss://{HOST}:{port}?ssl_ca_certs={CA}")


async def test_another_authority_another_name_or_no_tls_is_refused(server: RedisServer) -> None:
    async with over_tls(server) as port:
        for url in (
            f"rediss://{HOST}:{port}",
            f"rediss://127.0.0.2:{port}?ssl_ca_certs={CA}",
            f"redis://{HOST}:{port}",
        ):
            with pytest.raises(ProviderError):
                await charged(url)


async def test_our_own_certificate_is_shown_where_it_is_asked_for(server: RedisServer) -> None:
    async with over_tls(server, asks_for_a_certificate=True) as port:
        with_ca = f"rediss://{HOST}:{port}?ssl_ca_certs={CA}"
        own = f"&ssl_certfile={CERTS / 'client.pem'}&ssl_keyfile={CERTS / 'client.key'}"
        assert await charged(with_ca + own)
        with pytest.raises(ProviderError):
            await charged(with_ca)


async def test_a_file_that_is_not_there_is_an_error_that_says_so(server: RedisServer) -> None:
    async with over_tls(server) as port:
        with pytest.raises(ProviderError, match="No such file"):
            await charged(f"rediss://{HOST}:{port}?ssl_ca_certs=/nowhere/ca.pem")
