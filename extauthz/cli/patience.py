"""Calls that are worth a second try."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from extauthz.cli.admin_http import NoAnswer, Refused
from extauthz.cli.screen import Json

DELAYS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try: a service that is restarted is back before the last one."""

PASSING: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)


async def patiently(call: Callable[[], Awaitable[Json]]) -> Json:
    """What `call` gives; it is called again where nobody answered, or the service said that it cannot just now.

    Raises:
        Stop: the last try failed too, or an answer will not change.
    """
    for delay in DELAYS:
        try:
            return await call()
        except NoAnswer:
            pass
        except Refused as refused:
            if refused.status not in PASSING:
                raise
        await asyncio.sleep(delay)
    return await call()
