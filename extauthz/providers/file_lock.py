"""One process at a time has a file: two that wrote the same one would overwrite each other's.

The file itself cannot be locked, because it is replaced as a whole; a file beside it is, which is empty and stays where it is.
The lock ends with the process, however that ends.
"""

import fcntl
import glob
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class FileLock:
    """The lock on `path`, on the file `path`.lock (mode 0600). `take` may wait for the disk; `flock` is the system's."""

    def __init__(self, path: Path, flock: Callable[[int, int], None] = fcntl.flock) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._flock = flock
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._handle is not None

    def take(self) -> bool:
        """Take it, or know that another process has it.

        Raises:
            OSError: there can be no lock: the folder is missing or cannot be written.
        """
        if self._handle is None:
            handle = os.open(
                self._path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600
            )  # read-only disks can be locked
            try:
                self._flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            except OSError:
                pass  # a file system without locks can keep nobody out: better a file that may be overwritten than none
            self._handle = handle
        return True

    def give_back(self) -> None:
        """Let the next one have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def draft_of(path: Path) -> Path:
    """Where this process writes what then becomes `path`."""
    return path.with_name(f"{path.name}.{os.getpid()}.new")


def remove_drafts(path: Path) -> None:
    """Drop what crashed processes left half written. For who has the lock: nobody else writes then."""
    with suppress(OSError):
        for draft in path.parent.glob(f"{glob.escape(path.name)}.*.new"):
            if draft.name.removeprefix(f"{path.name}.").removesuffix(".new").isdecimal():
                draft.unlink(missing_ok=True)
