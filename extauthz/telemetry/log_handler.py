"""A log handler that nobody waits for: a thread writes, so that a reader who stopped reading cannot stop the service."""

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Final, TextIO

MAX_LINES: Final = 10_000
CLOSE_TIMEOUT: Final = 1.0
"""Seconds that the end of the process waits for lines not yet written."""


class BackgroundHandler(logging.Handler):
    """Writes to `stream` from a thread. At most `max_lines` wait; more are lost and counted in `lost`."""

    def __init__(self, stream: TextIO, max_lines: int = MAX_LINES) -> None:
        super().__init__()
        self.lost = 0
        self._lines: queue.Queue[str | None] = queue.Queue(max_lines)
        self._put = _writer(stream)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one line. It is made here, because what it shows may be different later."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.lost += 1
        except Exception:  # noqa: BLE001 - the way of the logging module: an argument that cannot be shown is no reason to fail
            self.handleError(record)

    def close(self) -> None:
        """Write what waits, for at most a second, and let the thread go."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            self.lost += 1  # the reader is stuck: the thread is a daemon and ends with the process
        else:
            self._thread.join(CLOSE_TIMEOUT)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._put(line + "\n")
            except (OSError, ValueError):
                self.lost += 1  # the reader is gone


def _writer(stream: TextIO) -> Callable[[str], None]:
    """How to write to `stream`: to its descriptor where it has one.

    A thread that hangs in a stream's `write` holds the lock that the interpreter wants when it ends.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return lambda text: _write_and_flush(stream, text)

    def write(text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(descriptor, data) :]

    return write


def _write_and_flush(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
