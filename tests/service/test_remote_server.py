"""The provider server as its clients meet it: health, limits, TLS, backends that misbehave, and its end."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from extauthz._gen.provider.v1 import lifecycle_pb2 as pb
from extauthz.errors import AlreadyExists, ConfigError, InvalidRecord, ProviderError, ProviderTimeout
from extauthz.model.lifecycle import LifecycleRecord
from extauthz.providers import remote_rpc as rpc
from extauthz.providers.memory import MemoryStore
from extauthz.providers.memory_events import MemoryEvents
from extauthz.providers.remote import RemoteEvents, RemoteStore, RemoteTimeouts
from extauthz.providers.serve import Backends, ProviderServer, ServePolicy, ServeTls
from extauthz.testing.contracts_events import make_events
from extauthz.testing.contracts_values import ACME, a_change, a_tenant
from tests import remote_bench as bench

CERTS = Path(__file__).parent.parent / "certs"
LIFECYCLE = "extauthz.provider.v1.LifecycleService"
SERVING, NOT_SERVING = 1, 2
PATIENCE = 30.0


class Broken:
    """A lifecycle provider that ends every call in its own way."""

    def __init__(self, *, error: BaseException | None = None, hangs: bool = False) -> None:
        self._error = error
        self._hangs = hangs

    async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:  # noqa: ARG002 - it says the same of all
        if self._hangs:
            await asyncio.Event().wait()
        if self._error is not None:
            raise self._error
        return None


async def call(address: str, path: str, message: bytes, seconds: float | None = PATIENCE) -> bytes:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        return await stub(message, timeout=seconds)


async def refused(address: str, path: str, message: bytes) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(address, path, message)
    return error.value


# Health


async def test_health_tells_of_each_service_that_is_served() -> None:
    async with bench.serving(Backends(lifecycle=MemoryStore())) as server:
        for service in ("", LIFECYCLE):
            request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
            answer = await call(server.address, "/grpc.health.v1.Health/Check", request)
            assert health_pb2.HealthCheckResponse.FromString(answer).status == SERVING
        other = health_pb2.HealthCheckRequest(service="extauthz.provider.v1.BillingService").SerializeToString()
        error = await refused(server.address, "/grpc.health.v1.Health/Check", other)
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_who_watches_is_told_of_the_end() -> None:
    server = ProviderServer(bench.LISTEN, Backends(), policy=bench.AT_ONCE)
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel, asyncio.timeout(PATIENCE):
        stub: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watch = aiter(stub(b""))
        first = await anext(watch)
        stopping = asyncio.ensure_future(server.stop())
        second = await anext(watch)
        await stopping
    told = [health_pb2.HealthCheckResponse.FromString(each).status for each in (first, second)]
    assert told == [SERVING, NOT_SERVING]


# Requests


async def test_bytes_that_are_no_request_are_an_invalid_argument() -> None:
    async with bench.serving(Backends(lifecycle=MemoryStore())) as server:
        error = await refused(server.address, rpc.FIND_LIFECYCLE.path, b"\xff\xff")
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        other = await refused(server.address, rpc.FIND_BILLING.path, b"")
        assert other.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_refusal_says_its_word_in_the_trailing_metadata() -> None:
    store = MemoryStore()
    await store.create_tenant(a_tenant(), a_change())
    async with bench.remote_store(bench.state(store)) as remote:
        with pytest.raises(AlreadyExists, match="'acme' exists already"):
            await remote.create_tenant(a_tenant(), a_change())


async def test_a_request_above_the_limit_is_refused_and_one_below_is_not() -> None:
    policy = ServePolicy(max_message_bytes=20_000, grace=0.0)
    async with ProviderServer(bench.LISTEN, Backends(events=MemoryEvents()), policy=policy) as server:
        events = RemoteEvents(bench.url(server), emit_timeout=PATIENCE)
        await events.start()
        try:
            await events.append(make_events(30))
            with pytest.raises(ProviderError, match="RESOURCE_EXHAUSTED"):
                await events.append(make_events(300))
        finally:
            await events.close()


async def test_a_call_without_a_deadline_is_answered() -> None:
    async with bench.serving(Backends(lifecycle=MemoryStore())) as server:
        answer = await call(server.address, rpc.FIND_LIFECYCLE.path, b"", None)
    assert pb.FindLifecycleResponse.FromString(answer).WhichOneof("answer") == "no_such_tenant"


# Backends that misbehave


async def test_a_backend_that_hangs_hangs_nobody() -> None:
    timeouts = RemoteTimeouts(lifecycle=0.05, billing=PATIENCE)
    hung = Backends(lifecycle=Broken(hangs=True), billing=MemoryStore())
    async with bench.remote_store(hung, timeouts) as remote:
        asked = [asyncio.ensure_future(remote.find_lifecycle(ACME)) for _ in range(50)]
        assert await remote.find_billing(ACME) is None
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ProviderTimeout}


@pytest.mark.parametrize("error", [ZeroDivisionError("secret text"), asyncio.CancelledError("secret text")])
async def test_an_error_of_a_backend_is_told_to_the_log_and_not_to_the_caller(error: BaseException) -> None:
    """Cancelled by itself, a call would never be answered."""
    async with bench.serving(Backends(lifecycle=Broken(error=error))) as server:
        with capture_logs() as logs:
            refusal = await refused(server.address, rpc.FIND_LIFECYCLE.path, b"")
    assert (refusal.code(), refusal.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    [entry] = logs
    assert entry["event"] == "provider_call_failed"
    assert (entry["method"], entry["error"]) == ("FindLifecycle", type(error).__name__)
    assert "in find_lifecycle" in entry["places"], "where in the backend"
    assert "secret" not in repr(entry)


async def test_a_damaged_record_over_there_is_one_here() -> None:
    async with bench.remote_store(Backends(lifecycle=Broken(error=InvalidRecord("row 7")))) as remote:
        with pytest.raises(InvalidRecord, match="row 7"):
            await remote.find_lifecycle(ACME)


# Where it listens


async def test_a_port_in_use_is_told() -> None:
    async with bench.serving(Backends()) as first:
        with pytest.raises(ConfigError, match="in use"):
            await ProviderServer(first.address, Backends()).start()


async def test_a_unix_socket_serves_and_is_never_taken_from_who_has_it(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/p.sock"
    async with ProviderServer(listen, Backends(lifecycle=MemoryStore()), policy=bench.AT_ONCE) as server:
        assert server.address == listen
        with pytest.raises(ConfigError, match="in use"):
            await ProviderServer(listen, Backends()).start()
        async with bench.asking(f"grpc://{tmp_path}/p.sock") as remote:
            assert await remote.find_lifecycle(ACME) is None


async def test_stopping_ends_the_wait_and_stopping_again_does_nothing() -> None:
    server = ProviderServer(bench.LISTEN, Backends(), policy=bench.AT_ONCE)
    await server.stop()
    await server.wait()
    await server.start()
    waiting = asyncio.ensure_future(server.wait())
    await server.stop()
    async with asyncio.timeout(PATIENCE):
        await waiting
    await server.stop()


async def test_calls_under_way_are_finished_before_the_end() -> None:
    store = MemoryStore()
    begun, release = asyncio.Event(), asyncio.Event()

    class Slow:
        async def find_lifecycle(self, tenant_id: str) -> LifecycleRecord | None:
            begun.set()
            await release.wait()
            return await store.find_lifecycle(tenant_id)

    policy = ServePolicy(grace=PATIENCE)
    server = ProviderServer(bench.LISTEN, Backends(lifecycle=Slow()), policy=policy)
    await server.start()
    async with bench.asking(bench.url(server)) as remote, asyncio.timeout(PATIENCE):
        asked = asyncio.ensure_future(remote.find_lifecycle(ACME))
        await begun.wait()
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        release.set()
        assert await asked is None
        await stopping


# TLS


def tls(*, mutual: bool) -> ServeTls:
    return ServeTls(cert=CERTS / "server.pem", key=CERTS / "server.key", client_ca=CERTS / "ca.pem" if mutual else None)


async def find_over_tls(query: str, *, mutual: bool) -> LifecycleRecord | None:
    backends = Backends(lifecycle=MemoryStore())
    async with ProviderServer(bench.LISTEN, backends, policy=bench.AT_ONCE, tls=tls(mutual=mutual)) as server:
        port = server.address.rpartition(":")[2]
        async with bench.asking(f"grpcs://localhost:{port}{query}") as remote:
            return await remote.find_lifecycle(ACME)


async def test_over_tls_with_a_ca_of_ones_own() -> None:
    assert await find_over_tls(f"?ca={CERTS}/ca.pem", mutual=False) is None


async def test_a_server_whose_ca_is_not_known_is_no_answer() -> None:
    with pytest.raises(ProviderError):
        await find_over_tls("", mutual=False)


async def test_mutual_tls_lets_in_who_has_a_certificate_and_nobody_else() -> None:
    shown = f"&cert={CERTS}/client.pem&key={CERTS}/client.key"
    assert await find_over_tls(f"?ca={CERTS}/ca.pem{shown}", mutual=True) is None
    with pytest.raises(ProviderError):
        await find_over_tls(f"?ca={CERTS}/ca.pem", mutual=True)


async def test_plain_text_to_a_server_that_wants_tls_is_no_answer() -> None:
    async with ProviderServer(bench.LISTEN, Backends(), policy=bench.AT_ONCE, tls=tls(mutual=False)) as server:
        store = RemoteStore(bench.url(server), timeouts=bench.PATIENT_TIMEOUTS)
        await store.start()
        with pytest.raises(ProviderError):
            await store.find_lifecycle(ACME)
        await store.close()
