"""The bundled Envoy in front of replicas, for tests: the product's own bootstrap, with answers that need no upstream.

async with served(folder, configuration) as replica, edge(folder, replica.checks) as envoy:
    answers = await offered(envoy.port, requests, rate=500, seconds=5)
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from extauthz.bootstrap import BootstrapOptions, build
from extauthz.bootstrap.build import to_dict
from extauthz.demo.envoy import envoy
from tests.ports import HOST, free_port

DEGRADED: Final = "x-degraded"
"""The header of an answer that says which gates answered without their provider."""

_SHOWN: Final = {"header": {"key": DEGRADED, "value": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:degraded)%"}}
_FROM_400: Final = {"op": "GE", "value": {"default_value": 400, "runtime_key": "none"}}
_DENIED: Final = {"status_code_filter": {"comparison": _FROM_400}}


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An Envoy that runs. `log` is the file with its access log, one JSON object a line."""

    port: int
    admin_port: int
    log: Path

    async def stats(self, contains: str) -> dict[str, int]:
        """Envoy's own counters and gauges whose name contains that."""
        url = f"http://{HOST}:{self.admin_port}/stats?format=json&filter={contains}"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            stats = (await answer.json())["stats"]
        return {each["name"]: int(each["value"]) for each in stats if "value" in each}


@asynccontextmanager
async def edge(
    folder: Path, *checks: str, patience: float = 1.0, upstream: str = "", max_checks: int = 1024
) -> AsyncIterator[Edge]:
    """Run Envoy in front of the gRPC addresses `checks` of replicas; entered when it has found all of them healthy.

    `patience` is how long it waits for a check, in seconds, `max_checks` what the service has as `server.max_checks`. `upstream` is the address of what is protected; empty: Envoy answers
    allowed requests itself with an empty 200, so that an upstream's share of the machine disturbs no measurement. Answers have
    the header `x-degraded` where a gate answered without its provider.
    """
    port, admin_port = free_port(), free_port()
    options = BootstrapOptions(
        listen=f"{HOST}:{port}",
        admin=f"{HOST}:{admin_port}",
        checks=checks,
        upstream=upstream or f"{HOST}:9",
        timeout=patience,
        max_checks=max_checks,
    )
    tree = to_dict(build(options))
    _show_degraded(tree, answer_itself=not upstream)
    async with envoy(yaml.safe_dump(tree), f"http://{HOST}:{admin_port}", folder) as log:
        yield Edge(port=port, admin_port=admin_port, log=log)


def _show_degraded(tree: dict[str, Any], *, answer_itself: bool) -> None:
    (listener,) = tree["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    host["response_headers_to_add"] = [_SHOWN]
    # A denial is an answer of Envoy's own, which no route has a say in.
    manager["local_reply_config"] = {"mappers": [{"filter": _DENIED, "headers_to_add": [_SHOWN]}]}
    if answer_itself:
        (route,) = host["routes"]
        del route["route"]
        route["direct_response"] = {"status": 200}


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """The demo's upstream in a process of its own; its address."""
    program = f"""
import asyncio
from extauthz.demo.upstream import echo_upstream
async def main():
    async with echo_upstream({HOST!r}, 0) as port:
        print(port, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"{HOST}:{int(await process.stdout.readline())}"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.stdout.read()
        await process.wait()
