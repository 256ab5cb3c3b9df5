"""What the parts of scripts/bench share: a server on one core, a load on the other, and a tenant to load it with."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import orjson

from extauthz._gen.wire.v3 import external_auth_pb2 as wire
from extauthz.demo.stack import free_ports
from scripts.load import METHOD

SERVER_CORE, LOAD_CORE = 0, 1

CONFIGURATION = """\
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "memory:"}
  protection: {snapshot: null}
  events: {url: "memory:"}
plans:
  big: {name: Big, tier: ENTERPRISE, limits: {rate: 100000000, burst: 100000000, max_requests_per_day: 1000000000, max_cost_per_day: 1000000000}}
default_plan: big
"""


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    rounds: int
    seconds: float


@contextmanager
def process(command: list[str], env: dict[str, str], core: int) -> Iterator[subprocess.Popen[bytes]]:
    """A child on one core, ended with the context."""
    child = subprocess.Popen(["taskset", "-c", str(core), *command], env=os.environ | env, stdout=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)


def until(ready: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise SystemExit("a server did not get ready")
        time.sleep(0.1)


def answers(port: int, message: bytes) -> bool:
    """Whether a Check on that port is answered and allowed."""
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            raw = call(message, timeout=2.0)
    except grpc.RpcError:
        return False
    response = wire.CheckResponse.FromString(raw)
    if response.status.code != 0:
        raise SystemExit(f"the service denied the benchmark's request: {response}")
    return True


@dataclass(frozen=True)
class Served:
    """A service that answers: its two ports and its admin token."""

    checks: int
    admin: int
    token: str


@contextmanager
def serve(configuration: str, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`extauthz serve` on the server's core."""
    ports = free_ports()
    file = folder / f"{ports.checks}.yaml"
    file.write_text(configuration)
    served = Served(ports.checks, ports.admin, secrets.token_urlsafe(24))
    command = [sys.executable, "-m", "extauthz", "serve", "--config", str(file)]
    command += ["--listen", f"127.0.0.1:{ports.checks}", "--admin-listen", f"127.0.0.1:{ports.admin}"]
    secret = {"EXTAUTHZ_ADMIN_TOKEN": served.token, "LOG_LEVEL": "error"}
    with process(command, secret | dict(env or {}), SERVER_CORE):
        until(lambda: ready(ports.admin))
        yield served


async def make_tenants(served: Served, count: int) -> list[str]:
    """So many tenants in good standing; a key of each."""
    headers = {"authorization": f"Bearer {served.token}"}
    keys: list[str] = []
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{served.admin}", headers=headers, raise_for_status=True
    ) as http:
        for number in range(count):
            tenant = {"id": f"bench-{number}", "onboarding": "COMPLETE", "billing_state": "ACTIVE", "reason": "bench"}
            await http.post("/tenants", json=tenant)
            async with http.post(f"/tenants/bench-{number}/keys", json={"reason": "bench"}) as answer:
                keys.append(orjson.loads(await answer.read())["key"])
    return keys


def spread(served: Served, keys: Path, seconds: float, *more: str) -> float:
    """Checks a second over the tenants of `keys`, sent by a process on the load's core."""
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, str(Path(__file__).parent / "load.py")]
    command += ["--port", str(served.checks), "--keys", str(keys), "--seconds", f"{seconds:g}", *more]
    found = orjson.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if found["denied"]:
        print(f"  {found['denied']} checks of this round were denied", flush=True)
    return float(found["rate"])


def ready(port: int) -> bool:
    """Whether the admin port says that the service is ready."""

    async def ask() -> bool:
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status == 200  # noqa: PLR2004 - HTTP's OK
        except aiohttp.ClientError:
            return False

    return asyncio.run(ask())
