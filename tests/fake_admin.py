"""An admin port that answers what it is told to and remembers what it was asked, for tests of the command line."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = tuple[int, object]
"""A status and what the body says."""


@dataclass(slots=True)
class FakeAdmin:
    """`answer`, where set, is called with method, path and body, and decides; else `status` and `body` do."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    location: str = ""
    answer: Callable[[str, str, object], Answer] | None = None
    asked: list[tuple[str, str, object, str]] = field(default_factory=list)
    hangs: bool = False
    was_asked: threading.Event = field(default_factory=threading.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def answers(self, content: object, status: int = 200) -> None:
        self.status, self.body = status, json.dumps(content).encode()

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        token = request.headers.get("authorization", "")
        self.asked.append((request.method, request.raw_path, body, token))
        if self.answer is not None:
            status, content = self.answer(request.method, request.raw_path, body)
            self.answers(content, status)
        self.was_asked.set()
        if self.hangs:
            await self.stop.wait()
        headers = {"location": self.location} if self.location else None
        return web.Response(status=self.status, body=self.body, headers=headers)


@contextmanager
def fake_admin() -> Iterator[FakeAdmin]:
    """The port runs in a thread of its own: the commands bring their own event loop."""
    fake, loop, started = FakeAdmin(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", fake.handle)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await fake.stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield fake
    finally:
        loop.call_soon_threadsafe(fake.stop.set)
        thread.join(10)
        loop.close()
