"""Tenants' standing from ACME's own CRM, as a billing provider of extauthz.

The CRM answers `GET /customers/<id>` with `{"status": "paying", "plan": "pro"}`, and for a customer it does not know with 404 and
`{"error": "no_such_customer"}`.
"""

from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from extauthz.errors import InvalidRecord, ProviderError, ProviderTimeout
from extauthz.model.billing import BillingRecord, BillingState

STATES: Final = {
    "trial": BillingState.TRIAL,
    "paying": BillingState.ACTIVE,
    "overdue": BillingState.PAST_DUE,
    "blocked": BillingState.SUSPENDED,
}
NOT_FOUND: Final = 404
OK: Final = 200


def provider(url: str, *, timeout: float) -> "CrmBilling":
    """What the entry point is: `acme-crm://host:port`, and how many seconds a look-up has at most."""
    return CrmBilling(f"http://{urlsplit(url).netloc}", timeout=timeout)


class CrmBilling:
    """Asks the CRM. Keeps no cache, counts no failures, tries nothing twice: extauthz does all that around it."""

    def __init__(self, base: str, *, timeout: float) -> None:
        self._base = base
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._http: aiohttp.ClientSession

    async def start(self) -> None:
        """Called once, before anything is asked. A CRM that is down is no error here."""
        self._http = aiohttp.ClientSession(timeout=self._timeout)

    async def close(self) -> None:
        """Called once, at the end."""
        await self._http.close()

    async def find_billing(self, tenant_id: str) -> BillingRecord | None:
        """The tenant's record; None where the CRM says that there is none.

        Raises:
            ProviderTimeout: no answer in time.
            ProviderError: no answer that can be used. It counts for the circuit breaker.
            InvalidRecord: this one record cannot be read. It does not.
        """
        try:
            async with self._http.get(
                URL(f"{self._base}/customers/{quote(tenant_id, safe='')}", encoded=True)
            ) as answer:
                return _read(answer.status, await answer.json())
        except TimeoutError:
            raise ProviderTimeout("the CRM did not answer in time") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ProviderError(f"the CRM gave no answer: {type(error).__name__}") from error


def _read(status: int, content: Any) -> BillingRecord | None:
    if status == NOT_FOUND and content == {"error": "no_such_customer"}:
        return None  # a 404 of anybody else, such as a proxy, is no answer
    if status != OK:
        raise ProviderError(f"the CRM answered {status}")
    try:
        return BillingRecord(state=STATES[content["status"]], plan_id=content.get("plan"))
    except (KeyError, TypeError, AttributeError):
        raise InvalidRecord("the CRM's record has no status that is known here") from None
