"""The process that the outage demo freezes: providers served over gRPC, as a company would serve its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from extauthz.errors import ExtauthzError

KINDS: Final = ("lifecycle", "billing", "protection")
"""What the service asks it. Keys it reads from the file itself: nobody is let in whose key can't be verified."""

_SERVED: Final = (*KINDS, "credentials")
"""Tenants are made in one transaction with their keys and standing, so whoever makes them serves all of that."""

START_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05

_CONFIGURATION: Final = """\
providers:
  credentials: {{url: "sqlite:///{directory}/demo.db"}}
  lifecycle:  {{url: "sqlite:///{directory}/demo.db"}}
  billing:    {{url: "sqlite:///{directory}/demo.db"}}
  protection: {{url: "memory:", snapshot: null}}
"""


class ProviderProcess:
    """`extauthz provider serve` as a child process; `url` is where the service finds it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered any more. The worst way to fail, for nobody is told."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if nothing had been."""
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def provider_process(directory: Path) -> AsyncIterator[ProviderProcess]:
    """Serve lifecycle, billing and protection from `directory` for as long as the context lasts.

    Raises:
        ExtauthzError: it did not start.
    """
    file, socket = directory / "providers.yaml", directory / "providers.sock"
    file.write_text(_CONFIGURATION.format(directory=directory))
    only = [word for kind in _SERVED for word in ("--only", kind)]
    command = ["-m", "extauthz", "provider", "serve", "--config", str(file), "--listen", f"unix:{socket}", *only]
    env = {name: value for name, value in os.environ.items() if not name.startswith("EXTAUTHZ_")}
    log = directory / "providers.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal is for us, who end it in order
        )
    try:
        await _until_serving(process, socket, log)
        yield ProviderProcess(process, f"grpc://{socket}")
    finally:
        await _end(process)


async def _until_serving(process: asyncio.subprocess.Process, socket: Path, log: Path) -> None:
    for _ in range(int(START_SECONDS / POLL_SECONDS)):
        if socket.exists():  # noqa: ASYNC240 - a look into a local folder, before anything else runs
            return
        if process.returncode is not None:
            break
        await asyncio.sleep(POLL_SECONDS)
    said = log.read_text(errors="replace")[-1000:]  # noqa: ASYNC240 - nothing runs any more
    raise ExtauthzError(f"the process of the providers did not start:\n{said}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()  # it may be frozen, and what it keeps is thrown away
        await process.wait()
