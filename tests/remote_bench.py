"""Backends reached over gRPC: a provider server on a port of its own, and remote providers that ask it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from extauthz.ports import EventStore, ProtectionProvider
from extauthz.providers.remote import RemoteEvents, RemoteProtection, RemoteStore, RemoteTimeouts
from extauthz.providers.serve import Backends, ProviderServer, ServePolicy
from extauthz.providers.serve_state import AdministeredStore
from extauthz.testing.contracts_changes import SharedStore

LISTEN = "127.0.0.1:0"
AT_ONCE = ServePolicy(grace=0.0)

PATIENT = 30.0
PATIENT_TIMEOUTS = RemoteTimeouts(lifecycle=PATIENT, billing=PATIENT, credentials=PATIENT, changes=PATIENT)
"""Contracts are about answers, not about how fast a busy machine gives them."""


def url(server: ProviderServer) -> str:
    return f"grpc://{server.address}"


def state(store: AdministeredStore) -> Backends:
    return Backends(lifecycle=store, billing=store, credentials=store, store=store)


def shared_state(store: SharedStore) -> Backends:
    return Backends(lifecycle=store, billing=store, credentials=store, store=store, changes=store, leases=store)


@asynccontextmanager
async def serving(backends: Backends) -> AsyncIterator[ProviderServer]:
    async with ProviderServer(LISTEN, backends, policy=AT_ONCE) as server:
        yield server


@asynccontextmanager
async def remote_store(backends: Backends, timeouts: RemoteTimeouts = PATIENT_TIMEOUTS) -> AsyncIterator[RemoteStore]:
    async with serving(backends) as server:
        store = RemoteStore(url(server), timeouts=timeouts)
        await store.start()
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def remote_protection(provider: ProtectionProvider) -> AsyncIterator[RemoteProtection]:
    async with serving(Backends(protection=provider)) as server:
        remote = RemoteProtection(url(server), timeout=PATIENT, changes=PATIENT)
        await remote.start()
        try:
            yield remote
        finally:
            await remote.close()


@asynccontextmanager
async def remote_events(store: EventStore) -> AsyncIterator[RemoteEvents]:
    async with serving(Backends(events=store)) as server:
        remote = RemoteEvents(url(server), emit_timeout=PATIENT, query_timeout=PATIENT)
        await remote.start()
        try:
            yield remote
        finally:
            await remote.close()
