"""Clearing all tenants' counts: beside the charges, never in their way, and for as long as it takes."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError

from extauthz.errors import ProviderError
from extauthz.providers.redis_errors import translated
from extauthz.providers.redis_link import Link, Reply
from extauthz.providers.redis_pack import packed
from extauthz.providers.redis_servers import Servers
from extauthz.resilience.bounded import within

log = logging.getLogger(__name__)

LOOKED_AT: Final = 1000
"""Keys that a server looks at in one step."""

CLEARED_AT_ONCE: Final = 100
"""Keys that are cleared in one step: a charge that comes meanwhile waits for no more than that."""


class Sweeper:
    """Removes every key of a pattern from every primary.

    Each sweep has connections of its own, so that it takes no room from charges and delays none by what it is told. It is a
    task of its own: who leaves does not end it. It ends by itself when a step takes longer than `patience`, or everything is
    swept; any number may be under way, and what one has removed another does not find.

    Args:
        where: the servers' names in errors.
        patience: seconds for one step.
    """

    def __init__(self, servers: Servers, *, where: str, pattern: bytes, patience: float) -> None:
        self._servers = servers
        self._where = where
        self._pattern = pattern
        self._patience = patience
        self._sweeping: set[asyncio.Task[None]] = set()

    async def sweep(self) -> None:
        """Remove what is there now.

        Raises:
            ProviderError: a server did not do it; what could be removed is.
        """
        task = asyncio.get_running_loop().create_task(self._everywhere())
        self._sweeping.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task})
        if task.cancelled():
            raise ProviderError(f"Redis at {self._where}: closed")
        task.result()

    async def close(self) -> None:
        """Leave off."""
        sweeping = tuple(self._sweeping)
        for task in sweeping:
            task.cancel()
        if sweeping:
            await asyncio.wait(sweeping, timeout=self._patience)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Whoever asked may have left: the log is told too."""
        self._sweeping.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("not everything is cleared: %s", error)

    async def _everywhere(self) -> None:
        links = await within(self._patience, self._servers.fresh_links(self._patience))
        try:
            told = await asyncio.gather(*(self._sweep(link) for link in links), return_exceptions=True)
        finally:
            await asyncio.gather(*(link.close() for link in links))
        for error in told:
            if error is not None:
                raise error

    async def _sweep(self, link: Link) -> None:
        cursor = b"0"
        try:
            while True:
                scan = packed(b"SCAN", cursor, b"MATCH", self._pattern, b"COUNT", LOOKED_AT)
                ((cursor, keys),) = await self._step(link, [scan])
                for first in range(0, len(keys), CLEARED_AT_ONCE):
                    await self._step(link, self._unlinking(keys[first : first + CLEARED_AT_ONCE]))
                if cursor == b"0":
                    return
        except RedisError as error:
            raise translated(error, self._where) from None

    async def _step(self, link: Link, commands: Sequence[bytes]) -> list[Reply]:
        """Have commands run together. The next step waits for it, so those of charges get in between."""
        return await within(self._patience, _answers(link, commands))

    def _unlinking(self, keys: Sequence[bytes]) -> list[bytes]:
        """Keys of different slots cannot be named in one command of a cluster."""
        if self._servers.many_keys:
            return [packed(b"UNLINK", *keys)]
        return [packed(b"UNLINK", key) for key in keys]


async def _answers(link: Link, commands: Sequence[bytes]) -> list[Reply]:
    return await asyncio.gather(*(link.ask(command) for command in commands))
