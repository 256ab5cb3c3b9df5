"""`extauthz demo`, told to end from its terminal at any moment: it ends well and leaves nothing behind."""

import fcntl
import os
import pty
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

PATIENCE: Final = 60.0
ENV: Final = {name: value for name, value in os.environ.items() if not name.startswith("EXTAUTHZ_")}


class Terminal:
    """A demo on a terminal of its own, whose temporary files land in `folder`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "extauthz", "demo", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=ENV | {"TMPDIR": str(folder), "COLUMNS": "150", "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing but one system call
        )
        os.close(slave)
        self.told = ""

    def read(self, until: str) -> str:
        """What it says, until it says that or ends."""
        begun = time.monotonic()
        with suppress(OSError):  # the other end is closed
            while until not in self.told:
                assert time.monotonic() - begun < PATIENCE, self.told[-1000:]
                self.told += os.read(self.master, 65536).decode(errors="replace")
        return self.told

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self.master, b"\x03")

    def hang_up(self) -> None:
        """Somebody closes the window."""
        os.close(self.master)
        self.master = -1

    def left_behind(self) -> list[str]:
        """Files, and processes that name the folder."""
        left = [path.name for path in self.folder.iterdir()]
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended since
                if str(self.folder).encode() in command.read_bytes():
                    left.append(command.read_text())
        return left


@contextmanager
def demo(*arguments: str) -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short enough for a socket in it
        terminal = Terminal(Path(folder), *arguments)
        try:
            yield terminal
        finally:
            if terminal.process.poll() is None:
                terminal.process.kill()
                terminal.process.wait()
            if terminal.master >= 0:
                os.close(terminal.master)


def begun(terminal: Terminal) -> None:
    """Until it has made its first file: everything else is still to come."""
    waiting = time.monotonic()
    while not any(terminal.folder.iterdir()):
        assert time.monotonic() - waiting < PATIENCE
        time.sleep(0.02)


@pytest.mark.parametrize("arguments", [("--outage",), ()], ids=["outage", "tour"])
def test_ctrl_c_ends_it_well_and_no_answer_is_called_wrong_for_it(arguments: tuple[str, ...]) -> None:
    with demo(*arguments) as terminal:
        terminal.read("Ctrl-C ends everything")
        if arguments:
            terminal.read("second by second")
        terminal.interrupt()
        terminal.interrupt()  # as people do
        told = terminal.read("there is no such line")
        assert terminal.process.wait(PATIENCE) == 0, told[-2000:]
        assert "wrong 1" not in told
        assert "Aborted" not in told
        assert "Traceback" not in told
        assert terminal.left_behind() == []


@pytest.mark.parametrize("arguments", [("--outage",), ("--once",)], ids=["outage", "tour"])
def test_ctrl_c_while_it_starts_ends_it_well(arguments: tuple[str, ...]) -> None:
    with demo(*arguments) as terminal:
        begun(terminal)
        terminal.interrupt()
        told = terminal.read("there is no such line")
        assert terminal.process.wait(PATIENCE) == 0, told[-2000:]
        assert told.replace("^C", "").strip() == ""
        assert terminal.left_behind() == []


@pytest.mark.parametrize("arguments", [("--outage",), ()], ids=["outage", "tour"])
def test_a_terminal_that_is_closed_leaves_nothing_behind(arguments: tuple[str, ...]) -> None:
    with demo(*arguments) as terminal:
        terminal.read("Ctrl-C ends everything")
        terminal.hang_up()
        terminal.process.wait(PATIENCE)
        assert terminal.left_behind() == []
