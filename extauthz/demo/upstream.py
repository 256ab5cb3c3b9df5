"""The API behind the demo's Envoy: it answers every request with what arrived."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


async def _echo(request: web.Request) -> web.Response:
    arrived = {
        "method": request.method,
        "path": request.path_qs,
        "headers": [list(pair) for pair in request.headers.items()],
    }
    return web.json_response({"upstream": "echo", "arrived": arrived})


@asynccontextmanager
async def echo_upstream(host: str, port: int) -> AsyncIterator[int]:
    """Serve on `host:port` (0: a free one) for as long as the context lasts; yields the port.

    `headers` of an answer is a list of [name, value], in order and with repeats: a header sent twice shows twice.
    """
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", _echo)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
