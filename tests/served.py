"""`extauthz serve` as a process of its own, asked over real connections: what a test of several replicas or of failures needs."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import orjson
from prometheus_client.parser import text_string_to_metric_families

from tests import oracle

METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
TOKEN: Final = "a-token-for-tests"
PEPPER: Final = "a-pepper-for-tests-a-pepper-for-tests"
_ENV: Final = {key: value for key, value in os.environ.items() if not key.startswith("EXTAUTHZ_")} | {
    "EXTAUTHZ_ADMIN_TOKEN": TOKEN,
    "EXTAUTHZ_PEPPER": PEPPER,
    "EXTAUTHZ_SERVER__LISTEN": "127.0.0.1:0",
    "EXTAUTHZ_ADMIN__LISTEN": "127.0.0.1:0",
    "EXTAUTHZ_SERVER__DRAIN": "0s",
    "LOG_FORMAT": "json",
}


def signalled(process: asyncio.subprocess.Process, *numbers: signal.Signals) -> None:
    """Send these to a process that may be ending.

    `process.send_signal` would ask first how it ended, and asyncio, that waits for it too, would never hear the exit code.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            for number in numbers:
                os.kill(process.pid, number)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """An answer, and how long it took in seconds."""

    answer: oracle.Answer
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Served:
    """One replica. `checks` is its gRPC address. `log` are the lines of its log so far."""

    process: asyncio.subprocess.Process
    checks: str
    admin_url: str
    http: aiohttp.ClientSession
    channel: grpc.aio.Channel
    log: list[dict[str, Any]] = field(repr=False)

    async def check(self, key: str, *, path: str = "/api/v1/runs", method: str = "POST", within: float = 5.0) -> Timed:
        """One Check, whose caller waits `within` seconds."""
        message = oracle.message({"x-api-key": key}, method=method, path=path)
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(METHOD)
        started = time.monotonic()
        raw = await call(message, timeout=within)
        return Timed(seconds=time.monotonic() - started, answer=oracle.read(raw))

    async def admin(self, method: str, path: str, body: Mapping[str, object] | None = None) -> tuple[int, Any]:
        """One call of the admin port: status and content."""
        data = None if body is None else orjson.dumps(body)
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with self.http.request(method, self.admin_url + path, data=data, headers=headers) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def tenant(self, tenant_id: str) -> str:
        """A new tenant in good standing; its key."""
        new = {"id": tenant_id, "onboarding": "COMPLETE", "billing_state": "ACTIVE", "reason": "test"}
        status, content = await self.admin("POST", "/tenants", new)
        assert status == 201, content
        status, content = await self.admin("POST", f"/tenants/{tenant_id}/keys", {"reason": "test"})
        assert status == 201, content
        return str(content["key"])

    async def circuit(self, provider: str) -> str:
        """The state of one breaker."""
        _, content = await self.admin("GET", "/health")
        return str(content["components"][provider]["breaker"])

    async def metric(self, name: str, **labels: str) -> float:
        """One sample."""
        async with self.http.get(f"{self.admin_url}/metrics") as answer:
            text = await answer.text()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        (value,) = (sample.value for sample in samples if sample.name == name and sample.labels == labels)
        return float(value)


@asynccontextmanager
async def served(
    folder: Path,
    configuration: str,
    env: Mapping[str, str] | None = None,
    *,
    ends: signal.Signals = signal.SIGTERM,
) -> AsyncIterator[Served]:
    """Run a replica for as long as the context lasts; it must end well. `ends` is how it is told to."""
    async with (
        _running(folder, configuration, ["serve"], env or {}, ends) as (process, log, where),
        aiohttp.ClientSession() as http,
        grpc.aio.insecure_channel(where["grpc"]) as channel,
    ):
        yield Served(
            process=process,
            checks=where["grpc"],
            admin_url=f"http://{where['admin']}",
            http=http,
            channel=channel,
            log=log,
        )


@asynccontextmanager
async def provided(folder: Path, configuration: str, *arguments: str) -> AsyncIterator[str]:
    """Run `extauthz provider serve` for as long as the context lasts; its address."""
    command = ["provider", "serve", "--listen", "127.0.0.1:0", *arguments]
    async with _running(folder, configuration, command, {}) as (_, _, where):
        yield str(where["grpc"])


@asynccontextmanager
async def _running(
    folder: Path,
    configuration: str,
    command: list[str],
    env: Mapping[str, str],
    ends: signal.Signals = signal.SIGTERM,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[dict[str, Any]], dict[str, Any]]]:
    """The process, its log, and the line in which it said where it serves."""
    file = folder / "extauthz.yaml"
    file.write_text(configuration)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "extauthz",
        *command,
        "--config",
        str(file),
        cwd=folder,
        env=_ENV | dict(env),
        stderr=asyncio.subprocess.PIPE,
    )
    log: list[dict[str, Any]] = []
    serving: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read_log(process, log, serving))
    try:
        async with asyncio.timeout(30):
            where = await serving
        yield process, log, where
    finally:
        signalled(process, signal.SIGCONT, ends)
        code = await process.wait()
        await reading
    assert code in (0, -signal.SIGKILL), log[-5:]


async def _read_log(
    process: asyncio.subprocess.Process, log: list[dict[str, Any]], serving: "asyncio.Future[dict[str, Any]]"
) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        if line.startswith(b"{"):
            log.append(json.loads(line))
        else:
            log.append({"event": line.decode()})
        if log[-1]["event"] == "serving":
            serving.set_result(log[-1])
    if not serving.done():
        serving.set_exception(RuntimeError(f"it ended before it served: {log}"))


async def eventually(holds: Any, seconds: float = 10.0) -> float:
    """Ask `holds()` (a coroutine function) until it is true; how many seconds it took. Fails after `seconds`."""
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() - started < seconds, "it never came true"
        await asyncio.sleep(0.02)
    return time.monotonic() - started
