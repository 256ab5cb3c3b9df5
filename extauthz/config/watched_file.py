"""A file that others change: when it is another one than before, and has come to rest.

Looked at twice a second rather than listened to: a look costs a few microseconds, and it sees alike an editor that renames, a
swapped symlink of a mounted ConfigMap, and a file system that tells nobody (decision 12).
"""

import os
from pathlib import Path

_State = tuple[int, ...] | None


class WatchedFile:
    """Compares a file with what it was when this was made, or last read; symlinks are followed. Safe to use from two threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = self._seen = _state(file)

    def look(self) -> bool:
        """Whether it is another one than before, and the same as at the last look: half a write is waited out. Told once."""
        before, self._seen = self._seen, _state(self._file)
        if self._seen != before or self._seen == self._known:
            return False
        self._known = self._seen
        return True

    def reading(self) -> None:
        """It is about to be read, for whatever reason: as it is now it is no news any more."""
        self._known = _state(self._file)


def _state(file: Path) -> _State:
    """Everything that a change changes; None where there is no such file."""
    try:
        found = os.stat(file)  # noqa: PTH116 - Path.stat would do no more
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
