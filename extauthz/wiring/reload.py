"""Reads the configuration again when it is told to, or when its file has changed."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from extauthz.config import Config, Content, Loaded, WatchedFile, read_content
from extauthz.errors import ConfigError
from extauthz.wiring.aside import aside
from extauthz.wiring.live import Live, Prepared, prepared

POLL: Final = 0.5
"""Seconds between two looks at the file. What has changed is read at the next look if it has come to rest by then."""

REST: Final = 0.1
"""Seconds between two reloads, whatever is asked for: a flood of signals must not cost more than that."""


PATIENCE: Final = 10.0
"""Seconds that one reload may take. A file system that hangs is given up, and asked again with the next reload."""


class Aside(Protocol):
    """Does something slow without holding up the loop."""

    def __call__(self, work: Callable[[], Prepared], /) -> Awaitable[Prepared]:
        """What `work` gives or raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSource:
    """Where a configuration comes from, for reading it again as it was read at the start.

    `load` makes it of the content of `file` (None: there is none), environment and flags, and raises ConfigError. `watched` is the file, as it was before it was read for
    the first time, so that no change is missed in between; None where there is none.
    """

    load: Callable[[Content | None], Loaded]
    file: Path | None = None
    watched: WatchedFile | None = None


class Reloader:
    """Reloads one at a time, and never twice for what was asked while it had not yet begun.

    `wanted` is set by whoever wants a reload. Use: `run` as a task.
    """

    def __init__(self, source: ConfigSource, live: Live, wanted: asyncio.Event, *, do_aside: Aside = aside) -> None:
        self._source = source
        self._live = live
        self._wanted = wanted
        self._aside = do_aside

    async def run(self) -> None:
        """Reload whenever it is wanted, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._reload()
            await asyncio.sleep(REST)

    async def _reload(self) -> None:
        running = self._live.config
        try:
            async with asyncio.timeout(PATIENCE):
                new = await self._aside(lambda: self._read(running))
        except TimeoutError:
            self._live.refuse(ConfigError(f"the configuration could not be read within {PATIENCE:g} s"))
        except ConfigError as error:
            self._live.refuse(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, what is in force stays, and it is said
            self._live.refuse(ConfigError(f"the configuration could not be read ({type(error).__name__})"))
        else:
            self._live.take(new)

    def _read(self, running: Config) -> Prepared:
        if self._source.watched is not None:
            self._source.watched.reading()
        # Before the collector is off: it may hang, and who hangs would leave it off.
        content = None if self._source.file is None else read_content(self._source.file)
        with _uncollected():
            return prepared(running, self._source.load(content).config)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, whose full runs stop the loop for a tenth of a second; a large document sets off several."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
