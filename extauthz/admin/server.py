"""The listening side of the admin port."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestHandler

from extauthz.admin.access import Handler
from extauthz.errors import ExtauthzError

HEADER_SECONDS: Final = 5.0
"""How long a new connection may take until its first request's headers are complete."""


class AdminServer:
    """Serves an application on `host:port`; port 0 picks a free one, which `port` then names."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._host = host
        self.port = port
        self._silent: dict[RequestHandler, asyncio.TimerHandle] = {}
        app.middlewares.insert(0, self._note_spoken())
        # keepalive_timeout bounds slow headers too on every request after a connection's first
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=HEADER_SECONDS * 6, handle_signals=False)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ExtauthzError: the address can't be listened on.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._connection, self._host, self.port)
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host}:{self.port}"
            reason = error.strerror or str(error)
            raise ExtauthzError(f"admin.listen: cannot listen on {where}: {reason}; is something else there?") from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end what is under way."""
        if self._server is not None:
            self._server.close()
        for timer in self._silent.values():
            timer.cancel()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        """One connection, which is cut off when its first request isn't there in time."""
        assert self._runner.server is not None  # made by setup()
        protocol = self._runner.server()
        loop = asyncio.get_running_loop()
        self._silent[protocol] = loop.call_later(HEADER_SECONDS, self._cut_off, protocol)
        return protocol

    def _cut_off(self, protocol: RequestHandler) -> None:
        del self._silent[protocol]
        if protocol.transport is not None:
            protocol.transport.abort()

    def _note_spoken(self) -> Middleware:
        """Outermost: from here on the connection has said what it wants."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            timer = self._silent.pop(request.protocol, None)
            if timer is not None:
                timer.cancel()
            return await handler(request)

        return middleware
