"""A real Envoy as a child process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import aiohttp

from extauthz.bootstrap.binary import envoy_binary
from extauthz.errors import ExtauthzError

START_SECONDS = 30.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.05


@asynccontextmanager
async def envoy(bootstrap: str, admin_url: str, directory: Path, *, await_healthy: bool = True) -> AsyncIterator[Path]:
    """Run Envoy with the YAML `bootstrap` until the context ends; yields the file of its log.

    Entered once its listener is up and, with `await_healthy`, every cluster's hosts were found healthy. `admin_url` is where its own admin port answers.

    Raises:
        ExtauthzError: there is no Envoy, it refused the bootstrap, or it didn't get ready.
    """
    config, log = directory / "envoy.yaml", directory / "envoy.log"
    config.write_text(bootstrap)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            envoy_binary(),
            "-c",
            config,
            "--concurrency",
            "1",
            "--use-dynamic-base-id",
            "--log-level",
            "warning",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for us, who end it in order
        )
    try:
        await _until_ready(process, admin_url, log, await_healthy=await_healthy)
        yield log
    finally:
        await _stop(process)


async def _until_ready(process: asyncio.subprocess.Process, admin_url: str, log: Path, *, await_healthy: bool) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while process.returncode is None:
                if await _ready(session, admin_url, await_healthy=await_healthy):
                    return
                await asyncio.sleep(POLL_SECONDS)
    raise ExtauthzError("Envoy did not start:\n" + _last_words(log))


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-5:])


async def _ready(session: aiohttp.ClientSession, admin_url: str, *, await_healthy: bool) -> bool:
    """Listening, and no host of any cluster still waits for its first health check."""
    with suppress(aiohttp.ClientError):
        async with session.get(f"{admin_url}/ready") as ready:
            if ready.status != HTTPStatus.OK:
                return False
        if not await_healthy:
            return True
        async with session.get(f"{admin_url}/clusters") as clusters:
            return "failed_active_hc" not in await clusters.text()
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
