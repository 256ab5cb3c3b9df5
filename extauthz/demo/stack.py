"""Everything at once on one machine: upstream, service, Envoy, with tenants made through the admin port as anybody would."""

import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from extauthz import config, wiring
from extauthz.bootstrap import BootstrapOptions, to_yaml
from extauthz.demo.envoy import envoy
from extauthz.demo.upstream import echo_upstream
from extauthz.errors import ExtauthzError

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The five ports of the stack, all on the loopback address."""

    checks: int = 9191
    admin: int = 9190
    edge: int = 10000
    envoy_admin: int = 9901
    upstream: int = 8080


def free_ports(wanted: Ports | None = None) -> Ports:
    """`wanted` with every port that is taken (all of them for None) replaced by a free one."""
    names = ("checks", "admin", "edge", "envoy_admin", "upstream")
    held: list[socket.socket] = []
    chosen: dict[str, int] = {}
    try:
        for name in names:
            held.append(_bind(0 if wanted is None else getattr(wanted, name)))
            chosen[name] = held[-1].getsockname()[1]
    finally:
        for sock in held:
            sock.close()
    return Ports(**chosen)


def _bind(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError:
        sock.bind((HOST, 0))
    return sock


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What is running. `http` sends requests; `admin` calls the admin port with its token."""

    ports: Ports
    token: str = field(repr=False)
    http: aiohttp.ClientSession
    directory: Path
    envoy_log: Path

    @property
    def edge_url(self) -> str:
        """Where Envoy listens."""
        return f"http://{HOST}:{self.ports.edge}"

    @property
    def admin_url(self) -> str:
        """Where the service's admin port listens."""
        return f"http://{HOST}:{self.ports.admin}"

    async def admin(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Call the admin port.

        Raises:
            ExtauthzError: the answer is not 2xx.
        """
        headers = {"authorization": f"Bearer {self.token}"}
        data = None if body is None else orjson.dumps(body)
        async with self.http.request(method, self.admin_url + path, data=data, headers=headers) as answer:
            content: dict[str, Any] = orjson.loads(await answer.read())
            if answer.status >= HTTPStatus.BAD_REQUEST:
                raise ExtauthzError(f"{method} {path}: {answer.status} {content}")
            return content


@asynccontextmanager
async def running_stack(
    configuration: str,
    directory: Path,
    ports: Ports,
    *,
    env: Mapping[str, str] | None = None,
    check_timeout: float = 1.0,
) -> AsyncIterator[Stack]:
    """Run the stack with the YAML `configuration`, whose files land in `directory`.

    `check_timeout` is how long Envoy waits for a check, in seconds. The listening addresses of `configuration` are replaced.

    Raises:
        ConfigError: the configuration is not valid.
        ExtauthzError: something could not be started.
    """
    token = secrets.token_urlsafe(24)
    file = directory / "extauthz.yaml"
    file.write_text(configuration)
    overrides = {
        "server.listen": f"{HOST}:{ports.checks}",
        "admin.listen": f"{HOST}:{ports.admin}",
        "providers.protection.snapshot": str(directory / "extauthz.counts"),
    }
    loaded = config.load(file, env or {}, overrides)
    bootstrap = to_yaml(
        BootstrapOptions(
            listen=f"{HOST}:{ports.edge}",
            admin=f"{HOST}:{ports.envoy_admin}",
            checks=(f"{HOST}:{ports.checks}",),
            upstream=f"{HOST}:{ports.upstream}",
            timeout=check_timeout,
        )
    )
    secrets_env = {"EXTAUTHZ_ADMIN_TOKEN": token} | dict(env or {})
    async with (
        echo_upstream(HOST, ports.upstream),
        wiring.service(loaded.config, secrets_env),
        envoy(bootstrap, f"http://{HOST}:{ports.envoy_admin}", directory) as log,
        aiohttp.ClientSession(auto_decompress=False) as http,
    ):
        yield Stack(ports=ports, token=token, http=http, directory=directory, envoy_log=log)
