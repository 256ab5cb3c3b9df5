"""The listening side of the admin port."""

import asyncio
from typing import Final
from weakref import WeakSet

from aiohttp import web
from aiohttp.typedefs import Middleware

from extauthz.admin.access import Handler
from extauthz.errors import ExtauthzError

HEADER_SECONDS: Final = 5.0
"""How long a new connection may take until its first request's headers are complete."""


class AdminServer:
    """Serves an application on `host:port`; port 0 picks a free one, which `port` then names."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._host = host
        self.port = port
        self._spoken: WeakSet[asyncio.Protocol] = WeakSet()
        app.middlewares.insert(0, self._note_spoken())
        # keepalive_timeout bounds slow headers too on every request after a connection's first
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=HEADER_SECONDS * 6, handle_signals=False)
        self._server: asyncio.Server | None = None
        self._timers: set[asyncio.TimerHandle] = set()

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
        for timer in self._timers:
            timer.cancel()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        """One connection, which is cut off when its first request isn't there in time."""
        assert self._runner.server is not None  # made by setup()
        protocol = self._runner.server()
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def cut_off() -> None:
            if timer is not None:
                self._timers.discard(timer)
            if protocol not in self._spoken and protocol.transport is not None:
                protocol.transport.abort()

        timer = loop.call_later(HEADER_SECONDS + 0.5, cut_off)
        self._timers.add(timer)
        return protocol

    def _note_spoken(self) -> Middleware:
        """Outermost: from here on the connection has said what it wants."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._spoken.add(request.protocol)
            return await handler(request)

        return middleware
