"""The contracts of providers that are only asked, held by the stores that can be changed too, and over gRPC."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from extauthz.model.billing import BillingRecord
from extauthz.model.identity import ApiKey
from extauthz.model.lifecycle import LifecycleRecord
from extauthz.ports import BillingProvider, CredentialProvider, LifecycleProvider
from extauthz.providers.memory import MemoryStore
from extauthz.providers.serve import Backends
from extauthz.testing.contracts_lookups import (
    BillingLookupContract,
    CredentialLookupContract,
    LifecycleLookupContract,
)
from extauthz.testing.contracts_values import a_change, a_tenant
from tests import remote_bench as bench


class TestMemoryLifecycle(LifecycleLookupContract):
    @asynccontextmanager
    async def opened(self, records: Mapping[str, LifecycleRecord]) -> AsyncIterator[LifecycleProvider]:
        store = MemoryStore()
        for tenant_id, record in records.items():
            await store.create_tenant(replace(a_tenant(tenant_id), record=record), a_change())
        yield store


class TestMemoryBilling(BillingLookupContract):
    @asynccontextmanager
    async def opened(self, records: Mapping[str, BillingRecord]) -> AsyncIterator[BillingProvider]:
        store = MemoryStore()
        for tenant_id, record in records.items():
            await store.set_billing(tenant_id, a_change(), state=record.state, plan_id=record.plan_id)
        yield store


class TestRemoteCredentials(CredentialLookupContract):
    @asynccontextmanager
    async def opened(self, records: Mapping[str, ApiKey]) -> AsyncIterator[CredentialProvider]:
        store = MemoryStore()
        for key in records.values():
            await store.issue_key(key, a_change(), require_active=False)
        async with bench.remote_store(Backends(credentials=store)) as remote:
            yield remote
