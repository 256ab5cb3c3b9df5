"""The provider against a CRM that can be told what to say, first through the contract that every provider has to pass."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import acme_crm
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extauthz.errors import InvalidRecord, ProviderError, ProviderTimeout
from extauthz.model.billing import BillingRecord
from extauthz.testing.contracts_lookups import BillingLookupContract

WORDS = {state: word for word, state in acme_crm.STATES.items()}
UNKNOWN = {"error": "no_such_customer"}


@asynccontextmanager
async def crm(answers: Mapping[str, Any], *, otherwise: Any = UNKNOWN, seconds: float = 0.0) -> AsyncIterator[str]:
    """A CRM that knows these customers; its URL for extauthz."""

    async def customer(request: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        found = answers.get(request.match_info["id"])
        return web.json_response(otherwise, status=404) if found is None else web.json_response(found)

    app = web.Application()
    app.router.add_get("/customers/{id:.*}", customer)
    async with TestServer(app) as server:
        yield f"acme-crm://127.0.0.1:{server.port}"


@asynccontextmanager
async def provider(url: str, seconds: float = 5.0) -> AsyncIterator[acme_crm.CrmBilling]:
    """As extauthz opens it."""
    opened = acme_crm.provider(url, timeout=seconds)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


class TestContract(BillingLookupContract):
    """The contract of billing providers."""

    @asynccontextmanager
    async def opened(self, records: Mapping[str, BillingRecord]) -> AsyncIterator[acme_crm.CrmBilling]:
        """The provider, over a CRM that knows these records."""
        known = {name: {"status": WORDS[record.state], "plan": record.plan_id} for name, record in records.items()}
        async with crm(known) as url, provider(url) as opened:
            yield opened


@pytest.mark.parametrize("record", [{"status": "bankrupt"}, {}, [], "paying", {"status": ["paying"]}])
async def test_a_record_that_cannot_be_read_is_the_fault_of_that_one(record: Any) -> None:
    """And leaves the circuit closed for all others."""
    async with crm({"acme": record}) as url, provider(url) as opened:
        with pytest.raises(InvalidRecord):
            await opened.find_billing("acme")


async def test_a_404_that_is_not_the_crms_is_no_answer() -> None:
    """Or a wrong route in a proxy would put every tenant on the default plan."""
    async with crm({}, otherwise="no route") as url, provider(url) as opened:
        with pytest.raises(ProviderError):
            await opened.find_billing("acme")


async def test_a_crm_that_is_slow_or_gone_is_no_answer() -> None:
    """In time."""
    async with crm({}, seconds=5.0) as url, provider(url, 0.05) as opened:
        with pytest.raises(ProviderTimeout):
            await opened.find_billing("acme")
    async with provider(url) as opened:
        with pytest.raises(ProviderError):
            await opened.find_billing("acme")
